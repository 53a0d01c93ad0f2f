// SPDX-License-Identifier: MIT
/// A bar that shows how far a job is.
#pragma once

#include "../core/progress.hpp"
#include "terminal.hpp"

#include <chrono>
#include <cstdio>
#include <string>

namespace edgequant::inline EDGEQUANT_ABI {

/// Draws progress on one row of a terminal, cut to its width at the time. Plain lines, one at each
/// tenth, where `out` is no terminal or the terminal takes no escape codes (TERM is dumb or empty).
/// Short jobs print nothing. Clears its row at the end of its life.
class progress_bar {
public:
  /// `terminal`: whether `out` is one (isatty of its descriptor). Silent for `quiet` at the
  /// beginning of each stage.
  progress_bar(std::FILE* out, bool terminal,
               std::chrono::milliseconds quiet = std::chrono::seconds(2))
      : out_(out), terminal_(terminal && terminal_has_escapes()), quiet_(quiet) {}
  ~progress_bar() { clear(); }
  progress_bar(const progress_bar&) = delete;
  progress_bar& operator=(const progress_bar&) = delete;

  void operator()(const progress& report);
  /// Removes the drawn row, so that other output starts on a clean one.
  void clear();

private:
  using clock = std::chrono::steady_clock;
  void draw(const progress& report, double seconds);
  void write(const std::string& text);

  std::FILE* out_;
  bool terminal_;
  bool drawn_ = false;
  clock::duration quiet_;
  std::uint64_t tenth_ = 0;
  std::string stage_;
  clock::time_point start_ = clock::now();
  clock::time_point last_ = start_;
};

namespace system::detail {

/// `quantize [####....]  50 %  1.0 MiB of 2.0 MiB, 2 s left  blk.0.ffn_up.weight`.
[[nodiscard]] inline std::string progress_line(const progress& report, double seconds,
                                               std::size_t bar_columns) {
  const double share = static_cast<double>(report.done) / static_cast<double>(report.total);
  const double left = share > 0 ? seconds * (1 - share) / share : 0;
  std::string bar(bar_columns, '.');
  for (std::size_t i = 0; i < bar_columns; ++i)
    if (static_cast<double>(i + 1) <= share * static_cast<double>(bar_columns)) bar[i] = '#';
  const auto amount = [&](std::uint64_t n) {
    return report.unit.empty() ? format_bytes(n)
                               : std::to_string(n) + " " + std::string(report.unit);
  };
  std::string line(report.stage);
  line += " [" + bar + "] " + right_aligned(fixed_text(100 * share, 0), 3) + " %  ";
  line += amount(report.done) + " of " + amount(report.total) + ", ";
  line += fixed_text(left, 0) + " s left  ";
  return line + cut_to_columns(report.item, 40);
}

} // namespace system::detail

inline void progress_bar::operator()(const progress& report) {
  const auto now = clock::now();
  if (report.stage != stage_) { // the rate of one stage says nothing about the next
    stage_ = report.stage;
    start_ = now;
    tenth_ = 0;
  }
  const auto elapsed = now - start_;
  if (elapsed < quiet_ || report.total == 0) return;
  if (terminal_) {
    if (now - last_ < std::chrono::milliseconds(100) && report.done < report.total) return;
  } else {
    const auto tenth = static_cast<std::uint64_t>(10.0 * static_cast<double>(report.done) /
                                                  static_cast<double>(report.total));
    if (tenth == tenth_) return;
    tenth_ = tenth;
  }
  last_ = now;
  draw(report, std::chrono::duration<double>(elapsed).count());
}

inline void progress_bar::draw(const progress& report, double seconds) {
  constexpr std::size_t bar_columns = 28;
  if (!terminal_) {
    const std::string line = system::detail::progress_line(report, seconds, bar_columns);
    return write(cut_to_columns(line, line.size()) + "\n");
  }
  // The last column stays free: a character there makes some terminals begin another row.
  const std::size_t columns = terminal_columns(::fileno(out_)) - 1;
  const std::string line =
      system::detail::progress_line(report, seconds, std::min(bar_columns, columns / 3));
  write("\r\033[K" + cut_to_columns(line, columns));
  drawn_ = true;
  system::detail::line_is_open = true;
}

inline void progress_bar::write(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), out_);
  std::fflush(out_);
}

inline void progress_bar::clear() {
  if (!drawn_) return;
  write("\r\033[K");
  drawn_ = false;
  system::detail::line_is_open = false;
}

} // namespace edgequant::inline EDGEQUANT_ABI
