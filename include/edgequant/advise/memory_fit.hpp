// SPDX-License-Identifier: MIT
/// Whether a model fits a device, with what margin, and the best precision that does.
#pragma once

#include "../core/progress.hpp"
#include "device_profile.hpp"
#include "memory_need.hpp"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

struct fit_options {
  kv_format cache = kv_format::f16;
  window_cache windows = window_cache::window;        ///< window_cache::all for our own engine
  std::uint64_t runtime_bytes = engine_runtime_bytes; ///< built_in_runtime_bytes for our own engine
  std::optional<std::uint64_t> free_ram_bytes = {};   ///< none: free_ram_bytes(device)
};

/// Bytes. A negative margin is what is missing; none: the device's profile does not know the size.
struct memory_fit {
  std::uint64_t context_tokens = 0;
  memory_need need; ///< with that context
  std::optional<std::uint64_t> free_ram_bytes = {};
  std::optional<std::int64_t> ram_margin_bytes = {}, storage_margin_bytes = {};
  bool fits = false;                 ///< no known limit is exceeded
  std::string reason;                ///< why, or why not, in one line
  std::uint64_t largest_context = 0; ///< tokens up to the model's context; 0: none fits
};

/// RAM that a model may take: all but a quarter of it, or all but 2 GiB where that is more; the
/// rest is assumed to be in use by the system and other programs. Nothing if the RAM is unknown.
[[nodiscard]] std::optional<std::uint64_t> free_ram_bytes(const device_profile& device);

/// Whether the model fits with `weight_bytes` of weights, in memory and in storage: a file's size,
/// or tensor_data_bytes() of a precision plan. A context longer than the model's does not fit.
/// bad_argument for a context of 0 tokens, and as parameter_count().
[[nodiscard]] memory_fit fits(const device_profile& device, const model_profile& model,
                              std::uint64_t weight_bytes, std::uint64_t context_tokens,
                              const fit_options& options = {});

/// The same with weights in one format, as quantize_model writes it.
[[nodiscard]] memory_fit fits(const device_profile& device, const model_profile& model, format type,
                              std::uint64_t context_tokens, const fit_options& options = {});

/// A format, and the reason against it.
struct precision_candidate {
  format type = format::f32;
  memory_fit fit;      ///< its need.weights are the bytes of the file's tensors
  std::string against; ///< empty: nothing
};

struct precision_requirement {
  std::uint64_t context_tokens = 2048;
  std::optional<std::uint64_t> max_weight_bytes = {};
  /// A condition of the caller's own, such as a speed. Not called for formats that do not fit.
  std::function<bool(const precision_candidate&)> meets = {};
  /// The best quality first: of these, a format of fewer bits never had the smaller error.
  std::vector<format> formats = {format::f16, format::q8_0, format::q5_0, format::q4_0};
  fit_options fit = {};
};

struct precision_choice {
  std::optional<format> best;                  ///< none: see `against` of each candidate
  std::vector<precision_candidate> candidates; ///< all formats of the requirement, in its order
};

/// The first format of the requirement that fits the device and meets all conditions.
[[nodiscard]] precision_choice best_precision(const device_profile& device,
                                              const model_profile& model,
                                              const precision_requirement& requirement = {});

namespace advisor::detail {

[[nodiscard]] inline memory_need need_of(const model_profile& model, std::uint64_t weight_bytes,
                                         std::uint64_t context, const fit_options& options) {
  return {std::min(weight_bytes, beyond_all),
          kv_cache_bytes(model, context, options.cache, options.windows),
          std::min(activation_bytes(model, context), beyond_all),
          std::min(options.runtime_bytes, beyond_all)};
}

[[nodiscard]] inline std::int64_t margin_of(std::uint64_t there, std::uint64_t needed) noexcept {
  return static_cast<std::int64_t>(std::min(there, beyond_all)) -
         static_cast<std::int64_t>(needed); // at most four parts of 2^60
}

/// Memory grows with the context: bisection finds the largest that fits.
[[nodiscard]] inline std::uint64_t largest_context(const model_profile& model,
                                                   std::uint64_t weight_bytes,
                                                   std::optional<std::uint64_t> free_bytes,
                                                   const fit_options& options) {
  std::uint64_t fitting = 0, too_large = model.context_tokens + 1;
  while (free_bytes && too_large - fitting > 1) {
    const std::uint64_t middle = fitting + (too_large - fitting) / 2;
    const bool fit = need_of(model, weight_bytes, middle, options).total() <= *free_bytes;
    (fit ? fitting : too_large) = middle;
  }
  return free_bytes ? fitting : model.context_tokens;
}

[[nodiscard]] inline std::string reason_of(const memory_fit& fit, std::uint64_t model_context) {
  const auto lack = [](std::int64_t margin) {
    return format_bytes(static_cast<std::uint64_t>(-margin));
  };
  if (fit.context_tokens > model_context)
    return "the model's context is " + std::to_string(model_context) + " tokens";
  if (fit.storage_margin_bytes.value_or(0) < 0)
    return "short of storage by " + lack(*fit.storage_margin_bytes);
  const auto needed = "takes " + format_bytes(fit.need.total());
  if (!fit.ram_margin_bytes) return needed + "; the device's RAM is not known";
  const auto there = needed + " of " + format_bytes(*fit.free_ram_bytes) + " of free RAM";
  if (*fit.ram_margin_bytes >= 0) return there;
  return "short of RAM by " + lack(*fit.ram_margin_bytes) + ": " + there;
}

[[nodiscard]] inline std::string against(const precision_candidate& c,
                                         const precision_requirement& requirement) {
  if (requirement.max_weight_bytes && c.fit.need.weights > *requirement.max_weight_bytes)
    return format_bytes(c.fit.need.weights) + " of weights, at most " +
           format_bytes(*requirement.max_weight_bytes) + " are required";
  if (!c.fit.fits) return c.fit.reason;
  if (requirement.meets && !requirement.meets(c)) return "does not meet the requirement";
  return {};
}

} // namespace advisor::detail

inline std::optional<std::uint64_t> free_ram_bytes(const device_profile& device) {
  if (device.ram_mib == 0) return std::nullopt;
  const std::uint64_t ram = advisor::detail::product_of({device.ram_mib, 1 << 20});
  return ram - std::min(ram / 4, std::uint64_t{2} << 30);
}

inline memory_fit fits(const device_profile& device, const model_profile& model,
                       std::uint64_t weight_bytes, std::uint64_t context_tokens,
                       const fit_options& options) {
  (void)parameter_count(model); // refuses sizes that no sum below could take
  if (context_tokens == 0)
    fail(error_code::bad_argument, advisor::detail::place_of_model(model),
         "a context of no tokens");
  memory_fit fit;
  fit.context_tokens = context_tokens;
  fit.need = advisor::detail::need_of(model, weight_bytes, context_tokens, options);
  fit.free_ram_bytes = options.free_ram_bytes ? options.free_ram_bytes : free_ram_bytes(device);
  if (fit.free_ram_bytes)
    fit.ram_margin_bytes = advisor::detail::margin_of(*fit.free_ram_bytes, fit.need.total());
  if (device.storage_gib)
    fit.storage_margin_bytes = advisor::detail::margin_of(
        static_cast<std::uint64_t>(std::clamp(*device.storage_gib * 0x1p30, 0.0, 0x1p60)),
        fit.need.weights);
  const bool stored = fit.storage_margin_bytes.value_or(0) >= 0;
  fit.fits =
      stored && fit.ram_margin_bytes.value_or(0) >= 0 && context_tokens <= model.context_tokens;
  fit.reason = advisor::detail::reason_of(fit, model.context_tokens);
  if (stored)
    fit.largest_context =
        advisor::detail::largest_context(model, weight_bytes, fit.free_ram_bytes, options);
  return fit;
}

inline memory_fit fits(const device_profile& device, const model_profile& model, format type,
                       std::uint64_t context_tokens, const fit_options& options) {
  return fits(device, model, tensor_data_bytes(model, type), context_tokens, options);
}

inline precision_choice best_precision(const device_profile& device, const model_profile& model,
                                       const precision_requirement& requirement) {
  precision_choice choice;
  for (const format type : requirement.formats) {
    precision_candidate candidate{
        type, fits(device, model, type, requirement.context_tokens, requirement.fit), {}};
    candidate.against = advisor::detail::against(candidate, requirement);
    if (!choice.best && candidate.against.empty()) choice.best = type;
    choice.candidates.push_back(std::move(candidate));
  }
  return choice;
}

} // namespace edgequant::inline EDGEQUANT_ABI
