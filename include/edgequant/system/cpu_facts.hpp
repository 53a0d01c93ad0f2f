// SPDX-License-Identifier: MIT
/// What Linux says of the processor in /proc/cpuinfo.
#pragma once

#include "../config.hpp"

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

struct cpu_facts {
  std::string name;             ///< empty where ARM's kernel does not say it
  unsigned processors = 0;      ///< logical ones
  std::vector<std::string> isa; ///< instruction sets that matter here, in the table's order
};

/// Linux's name of an instruction set, and that of the profiles.
struct isa_row {
  std::string_view flag, name;
};

/// Source: Linux, arch/x86/include/asm/cpufeatures.h and Documentation/arm64/elf_hwcaps.rst.
inline constexpr isa_row isa_table[] = {
    {"sse4_2", "sse4_2"},
    {"avx", "avx"},
    {"avx2", "avx2"},
    {"f16c", "f16c"},
    {"fma", "fma"},
    {"avx_vnni", "avx_vnni"},
    {"avx512f", "avx512f"},
    {"avx512bw", "avx512bw"},
    {"avx512vl", "avx512vl"},
    {"avx512_vnni", "avx512_vnni"},
    {"avx512_bf16", "avx512_bf16"},
    {"amx_int8", "amx_int8"},
    {"asimd", "neon"},
    {"neon", "neon"}, // 32-bit kernels
    {"asimddp", "dotprod"},
    {"i8mm", "i8mm"},
    {"asimdhp", "fp16"},
    {"bf16", "bf16"},
    {"sve", "sve"},
    {"sve2", "sve2"},
    {"sme", "sme"},
};

/// Reads the text of /proc/cpuinfo; of cores that differ an instruction set counts if all have it.
[[nodiscard]] cpu_facts parse_cpuinfo(std::string_view text);

namespace system::detail {

[[nodiscard]] inline std::string_view trimmed(std::string_view text) noexcept {
  constexpr std::string_view space = " \t\r\n";
  text.remove_prefix(std::min(text.find_first_not_of(space), text.size()));
  return text.substr(0, text.find_last_not_of(space) + 1);
}

[[nodiscard]] inline bool has_word(std::string_view words, std::string_view word) noexcept {
  for (std::size_t at = 0; (at = words.find(word, at)) != words.npos; ++at) {
    const std::size_t end = at + word.size();
    if ((at == 0 || words[at - 1] == ' ') && (end == words.size() || words[end] == ' '))
      return true;
  }
  return false;
}

[[nodiscard]] inline std::vector<std::string> known_isas(std::string_view flags) {
  std::vector<std::string> names;
  for (const auto& row : isa_table)
    if (has_word(flags, row.flag) && (names.empty() || names.back() != row.name))
      names.emplace_back(row.name);
  return names;
}

} // namespace system::detail

inline cpu_facts parse_cpuinfo(std::string_view text) {
  cpu_facts facts;
  bool first = true;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    const auto colon = line.find(':');
    if (colon == line.npos) continue;
    const auto key = system::detail::trimmed(line.substr(0, colon));
    const auto value = system::detail::trimmed(line.substr(colon + 1));
    if (key == "processor") ++facts.processors;
    if (facts.name.empty() && (key == "model name" || key == "Hardware" || key == "Model"))
      facts.name = value;
    if (key != "flags" && key != "Features") continue;
    const auto isa = system::detail::known_isas(value);
    if (first) facts.isa = isa;
    first = false;
    std::erase_if(facts.isa, [&](const std::string& name) {
      return std::find(isa.begin(), isa.end(), name) == isa.end();
    });
  }
  return facts;
}

} // namespace edgequant::inline EDGEQUANT_ABI
