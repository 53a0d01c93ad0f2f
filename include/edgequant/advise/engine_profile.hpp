// SPDX-License-Identifier: MIT
/// An inference engine as a row of data: where it runs, what it reads, which accelerators it
/// reaches.
#pragma once

#include "../core/precision.hpp"
#include "device_profile.hpp"

#include <algorithm>

namespace edgequant::inline EDGEQUANT_ABI {

/// The name of the engine that is part of this library.
inline constexpr std::string_view built_in_engine_name = "EdgeQuant";

enum class engine_status {
  active,
  deprecated, ///< its makers name a successor
  archived,   ///< no longer maintained
};

struct engine_status_row {
  engine_status id;
  std::string_view name; ///< as in files
};

inline constexpr engine_status_row engine_status_table[] = {
    {engine_status::active, "active"},
    {engine_status::deprecated, "deprecated"},
    {engine_status::archived, "archived"},
};

/// Every enumerator has a row.
[[nodiscard]] constexpr std::string_view name_of(engine_status id) noexcept {
  for (const auto& row : engine_status_table)
    if (row.id == id) return row.name;
  return {};
}

/// A programming interface by which an engine reaches GPUs.
struct gpu_support {
  std::string api;                        ///< "metal", "cuda", "vulkan": of gpu_family_table
  std::vector<std::string> families = {}; ///< such as "adreno"; empty: all that have the API
  std::string note = {};
  friend bool operator==(const gpu_support&, const gpu_support&) = default;
};

/// A vendor whose NPUs an engine reaches.
struct npu_support {
  std::string vendor;                  ///< as in npu_profile: "qualcomm", "apple" ...
  std::vector<std::string> chips = {}; ///< words, one of which names the chip; empty: all
  std::string note = {};
  friend bool operator==(const npu_support&, const npu_support&) = default;
};

/// An empty list or optional means that nothing is published: no rule excludes an engine for it.
struct engine_profile {
  std::string name;
  std::vector<platform> platforms = {};
  std::vector<precision> precisions = {};           ///< of weights: fp16, int8, int4
  std::vector<std::string> weight_formats = {};     ///< for people, as the makers call them
  std::vector<std::string> quantization_types = {}; ///< likewise
  /// Kinds of model files that it opens, as model_profile::file_kind names them: "gguf", or others.
  std::vector<std::string> files = {};
  /// Names of format_table that it opens in a GGUF; empty with "gguf" in `files`: all.
  std::vector<std::string> gguf_formats = {};
  std::vector<std::string> architectures = {}; ///< as GGUF names them; empty: not known
  std::optional<bool> experts = {};            ///< whether it runs mixtures of experts
  std::vector<std::string> cpu_isas = {};
  std::vector<gpu_support> gpus = {};
  std::vector<npu_support> npus = {};
  std::vector<std::string> chips =
      {}; ///< words, one of which a device must have in its names; empty: it runs on any
  std::optional<std::uint64_t> min_ram_mib = {};
  std::string ram_note = {}; ///< what is said of memory instead
  std::vector<std::string> features = {};
  std::string licence = {}; ///< parts that differ are apart by "; "
  std::vector<std::string> languages = {};
  engine_status status = engine_status::active;
  std::string status_note = {};
  std::optional<bool> offline = {}; ///< whether it runs without a network
  std::string source = {};
  std::string confidence = {}; ///< "high", "medium", "low"
  friend bool operator==(const engine_profile&, const engine_profile&) = default;
};

[[nodiscard]] inline bool runs_on(const engine_profile& engine, platform os) {
  return std::find(engine.platforms.begin(), engine.platforms.end(), os) != engine.platforms.end();
}

[[nodiscard]] inline bool supports(const engine_profile& engine, precision weights) {
  return std::find(engine.precisions.begin(), engine.precisions.end(), weights) !=
         engine.precisions.end();
}

} // namespace edgequant::inline EDGEQUANT_ABI
