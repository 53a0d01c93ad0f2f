// SPDX-License-Identifier: MIT
/// Drawings as SVG inside a page, and the axes of charts.
#pragma once

#include "html_text.hpp"

#include <span>

namespace edgequant::inline EDGEQUANT_ABI {

namespace report::detail {

/// Values along an edge of a chart and where they lie in the drawing.
struct chart_axis {
  double low = 0, high = 1; ///< low < high; above 0 where logarithmic
  double from = 0, to = 1;  ///< where low and high lie
  bool logarithmic = false;

  /// Values beyond the ends lie at the ends: so does 0 on a logarithmic axis.
  [[nodiscard]] double at(double value) const {
    const double v = std::clamp(value, low, high);
    const double share =
        logarithmic ? std::log(v / low) / std::log(high / low) : (v - low) / (high - low);
    return from + (to - from) * share;
  }
};

/// Beyond these, values lie at the ends of an axis, which could not hold them with its margins.
inline constexpr double least_shown = 1e-300, most_shown = 1e300;

/// An axis for values from 0 on: it begins at 0, or is logarithmic where the largest is more than
/// `most_ratio` times the smallest that is above 0. What is not finite does not count.
[[nodiscard]] inline chart_axis fit_axis(std::span<const double> values, double from, double to,
                                         double most_ratio) {
  double least = 0, most = 0;
  for (const double v : values) {
    if (!(v >= least_shown && v <= most_shown)) continue;
    least = least == 0 ? v : std::min(least, v);
    most = std::max(most, v);
  }
  if (most == 0) return {0, 1, from, to, false};
  if (most / most_ratio <= least) return {0, most * 1.08, from, to, false};
  return {least / 1.3, most * 1.3, from, to, true};
}

struct axis_tick {
  double value;
  std::string label;
};

/// Round numbers (1, 2 or 5 times a power of 10) at one distance, about `most` or fewer.
[[nodiscard]] inline std::vector<axis_tick> linear_ticks(double low, double high, int most) {
  const double rough = (high - low) / most;
  int exponent = static_cast<int>(std::floor(std::log10(rough)));
  double step = 0;
  for (const double factor : {1.0, 2.0, 5.0, 10.0}) {
    step = factor * std::pow(10.0, exponent);
    if (factor == 10.0) ++exponent;
    if (step >= rough * 0.999) break;
  }
  std::vector<axis_tick> ticks;
  for (double i = std::ceil(low / step - 1e-9); i * step <= high + step * 1e-9; ++i)
    ticks.push_back({i * step, exponent < -4 || exponent > 6
                                   ? short_text(i * step)
                                   : figure_text(i * step, std::max(0, -exponent))});
  return ticks;
}

/// Ticks of an axis, about `most` or fewer.
[[nodiscard]] inline std::vector<axis_tick> ticks_of(const chart_axis& axis, int most) {
  if (!axis.logarithmic) return linear_ticks(axis.low, axis.high, most);
  const int first = static_cast<int>(std::floor(std::log10(axis.low)));
  const int last = static_cast<int>(std::ceil(std::log10(axis.high)));
  const int stride = (last - first + most - 1) / most;
  constexpr std::array<std::array<double, 3>, 3> patterns{{{1, 2, 5}, {1, 3, 0}, {1, 0, 0}}};
  std::vector<axis_tick> ticks;
  for (const auto& pattern : patterns) {
    if (stride > 1 && pattern[1] != 0) continue;
    ticks.clear();
    for (int e = first; e <= last; e += stride)
      for (const double m : pattern) {
        const double v = m * std::pow(10.0, e);
        if (v >= axis.low && v <= axis.high) ticks.push_back({v, short_text(v)});
      }
    if (ticks.size() <= static_cast<std::size_t>(most)) break;
  }
  return ticks.size() < 2 ? linear_ticks(axis.low, axis.high, most) : ticks;
}

/// Letters of a UTF-8 text.
[[nodiscard]] inline std::size_t letters_of(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  }));
}

/// Numbers of layers to write along an axis of `count` places with room for `most` labels.
[[nodiscard]] inline std::size_t label_stride(std::size_t count, std::size_t most) {
  for (std::size_t power = 1;; power *= 10)
    for (const std::size_t factor : {1u, 2u, 5u})
      if ((count + factor * power - 1) / (factor * power) <= most) return factor * power;
}

/// Shapes one after the other. Kinds are classes of the page's style; texts are any bytes.
class svg_drawing {
public:
  svg_drawing(double width, double height) : width_(width), height_(height) {}

  void line(double x1, double y1, double x2, double y2, const char* kind) {
    body_ += "<line class=\"" + std::string(kind) + '"' + number("x1", x1) + number("y1", y1) +
             number("x2", x2) + number("y2", y2) + "/>";
  }
  void text(double x, double y, const char* kind, const std::string& words) {
    body_ += "<text class=\"" + std::string(kind) + '"' + number("x", x) + number("y", y) + '>' +
             html_line(words) + "</text>";
  }
  /// `fill`: a colour, or empty for that of the kind.
  void circle(double x, double y, double radius, const char* kind, const std::string& fill,
              const std::string& tip) {
    body_ += "<circle class=\"" + std::string(kind) + '"' + number("cx", x) + number("cy", y) +
             number("r", radius) + paint(fill) + tipped("circle", tip);
  }
  void rectangle(double x, double y, double width, double height, const char* kind,
                 const std::string& fill, const std::string& tip) {
    body_ += "<rect class=\"" + std::string(kind) + '"' + number("x", x) + number("y", y) +
             number("width", width) + number("height", height) + paint(fill) + tipped("rect", tip);
  }
  void path(std::span<const std::array<double, 2>> points, const char* kind) {
    std::string d;
    for (const auto& p : points)
      d += (d.empty() ? "M" : "L") + coordinate(p[0]) + ' ' + coordinate(p[1]);
    body_ += "<path class=\"" + std::string(kind) + "\" d=\"" + d + "\"/>";
  }
  /// The whole element. Where `scales`, it fills the width that there is.
  [[nodiscard]] std::string finish(const std::string& label, bool scales) const {
    const std::string size = scales ? "" : number("width", width_) + number("height", height_);
    return "<svg role=\"img\" aria-label=\"" + html_line(label) + "\" viewBox=\"0 0 " +
           coordinate(width_) + ' ' + coordinate(height_) + '"' + size + '>' + body_ + "</svg>\n";
  }

private:
  static std::string coordinate(double value) { return without_zeros(figure_text(value, 1)); }
  static std::string number(const char* name, double value) {
    return ' ' + std::string(name) + "=\"" + coordinate(value) + '"';
  }
  static std::string paint(const std::string& fill) {
    return fill.empty() ? "" : " style=\"fill:" + fill + '"';
  }
  static std::string tipped(const std::string& element, const std::string& tip) {
    return tip.empty() ? "/>" : "><title>" + html_text(tip) + "</title></" + element + ">";
  }

  double width_, height_;
  std::string body_;
};

} // namespace report::detail

} // namespace edgequant::inline EDGEQUANT_ABI
