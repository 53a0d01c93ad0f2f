// SPDX-License-Identifier: MIT
/// How far a long job is, and a bar that shows it.
#pragma once

#include "../config.hpp"

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <string>
#include <string_view>

namespace edgequant::inline EDGEQUANT_ABI {

/// One report from a running job.
struct progress {
  std::string_view stage; ///< what is being done: "check", "quantize"
  std::string_view item;  ///< what it is being done to: a tensor's name
  std::uint64_t done = 0;
  std::uint64_t total = 0;
  std::string_view unit = {}; ///< of done and total; empty: bytes of input
};

/// Receives reports, from one thread at a time. Empty: nobody listens.
using progress_callback = std::function<void(const progress&)>;

/// `1.5 MiB`: bytes with a binary unit and, above 1 KiB, one decimal.
[[nodiscard]] std::string format_bytes(std::uint64_t bytes);

/// Draws progress on a terminal, or a plain line at each tenth where `out` is none. It stays silent
/// for the first two seconds, so short jobs print nothing. Clears its line at the end of its life.
class progress_bar {
public:
  /// `terminal`: whether `out` understands a carriage return (isatty of its descriptor).
  progress_bar(std::FILE* out, bool terminal) : out_(out), terminal_(terminal) {}
  ~progress_bar() { clear(); }
  progress_bar(const progress_bar&) = delete;
  progress_bar& operator=(const progress_bar&) = delete;

  void operator()(const progress& report);
  /// Removes the drawn line, so that other output starts on a clean one.
  void clear();

private:
  using clock = std::chrono::steady_clock;
  void draw(const progress& report, double seconds);

  std::FILE* out_;
  bool terminal_;
  bool drawn_ = false;
  std::uint64_t tenth_ = 0;
  std::string stage_;
  clock::time_point start_ = clock::now();
  clock::time_point last_ = start_;
};

inline std::string format_bytes(std::uint64_t bytes) {
  constexpr const char* units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  if (bytes < 1024) return std::to_string(bytes) + " B";
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1024 && unit < 4) value /= 1024, ++unit;
  char text[32];
  std::snprintf(text, sizeof text, "%.1f %s", value, units[unit]);
  return text;
}

inline void progress_bar::operator()(const progress& report) {
  const auto now = clock::now();
  if (report.stage != stage_) { // the rate of one stage says nothing about the next
    stage_ = report.stage;
    start_ = now;
    tenth_ = 0;
  }
  const std::chrono::duration<double> elapsed = now - start_;
  if (elapsed.count() < 2.0 || report.total == 0) return;
  if (terminal_) {
    if (now - last_ < std::chrono::milliseconds(100) && report.done < report.total) return;
  } else {
    const auto tenth = static_cast<std::uint64_t>(10.0 * static_cast<double>(report.done) /
                                                  static_cast<double>(report.total));
    if (tenth == tenth_) return;
    tenth_ = tenth;
  }
  last_ = now;
  draw(report, elapsed.count());
}

inline void progress_bar::draw(const progress& report, double seconds) {
  constexpr int width = 28;
  const double share = static_cast<double>(report.done) / static_cast<double>(report.total);
  const double left = share > 0 ? seconds * (1 - share) / share : 0;
  std::string bar(static_cast<std::size_t>(width), '.');
  for (int i = 0; i < static_cast<int>(share * width); ++i) bar[static_cast<std::size_t>(i)] = '#';
  const auto amount = [&](std::uint64_t n) {
    return report.unit.empty() ? format_bytes(n)
                               : std::to_string(n) + " " + std::string(report.unit);
  };
  std::fprintf(out_, "%s%s [%s] %3.0f %%  %s of %s, %.0f s left  %.40s%s",
               terminal_ ? "\r\033[K" : "", std::string(report.stage).c_str(), bar.c_str(),
               100 * share, amount(report.done).c_str(), amount(report.total).c_str(), left,
               std::string(report.item).c_str(), terminal_ ? "" : "\n");
  std::fflush(out_);
  drawn_ = terminal_;
}

inline void progress_bar::clear() {
  if (drawn_) std::fputs("\r\033[K", out_), std::fflush(out_);
  drawn_ = false;
}

} // namespace edgequant::inline EDGEQUANT_ABI
