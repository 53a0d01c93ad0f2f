// SPDX-License-Identifier: MIT
/// The page's view of a budget: file size against predicted loss, all best plans and the chosen.
#pragma once

#include "../plan/budget.hpp"
#include "svg_chart.hpp"

namespace edgequant::inline EDGEQUANT_ABI {

namespace report::detail {

struct frontier_point {
  std::uint64_t bytes = 0; ///< of the file
  double loss = 0;
  std::string label;
  format type = format::f32; ///< of a uniform plan
};

/// What the chart shows.
struct frontier_view {
  std::vector<frontier_point> best; ///< rising bytes
  bool complete = false;
  std::vector<frontier_point> uniform;  ///< one format wherever there is a choice
  std::optional<frontier_point> chosen; ///< none where its loss is not finite
  std::uint64_t budget_bytes = 0;
};

/// What a group gets where everything gets `type`: f16 where that does not fit, as plan_formats()
/// does; null where there is neither.
[[nodiscard]] inline const choice* uniform_choice(const choice_group& group, format type) {
  for (const format wanted : {type, format::f16})
    for (const auto& c : group.choices)
      if (c.type == wanted) return &c;
  return nullptr;
}

/// One plan for each format that any group can have.
[[nodiscard]] inline std::vector<frontier_point> uniform_plans(const budget_plan& plan,
                                                               std::uint64_t fixed) {
  std::vector<frontier_point> points;
  for (const auto& row : format_table) {
    frontier_point point{fixed, 0, "all " + std::string(row.name), row.id};
    bool everywhere = true, anywhere = false;
    for (const auto& group : plan.groups) {
      const choice* c = uniform_choice(group, row.id);
      everywhere = everywhere && c != nullptr;
      if (c == nullptr) break;
      anywhere = anywhere || c->type == row.id;
      point.bytes += c->cost, point.loss += c->loss;
    }
    if (everywhere && anywhere) points.push_back(std::move(point));
  }
  return points;
}

/// Errors of pareto_frontier().
[[nodiscard]] inline frontier_view view_of(const budget_plan& plan) {
  const std::uint64_t fixed = plan.file_bytes - std::min(plan.file_bytes, plan.result.cost);
  frontier_view view;
  const plan_frontier all = pareto_frontier(plan.groups);
  for (const auto& p : all.plans) view.best.push_back({fixed + p.cost, p.loss, "", {}});
  view.complete = all.complete;
  view.uniform = uniform_plans(plan, fixed);
  if (std::isfinite(plan.result.loss))
    view.chosen = {plan.file_bytes, plan.result.loss, "chosen", {}};
  view.budget_bytes = plan.budget_bytes;
  return view;
}

/// The chart on its way.
class frontier_chart {
public:
  explicit frontier_chart(const frontier_view& view);
  [[nodiscard]] std::string draw(const std::string& loss_name);

private:
  static constexpr double width = 1000, height = 420, left = 66, right = 96, top = 60, bottom = 46;
  static constexpr std::size_t most_dots = 1000;
  struct box {
    double x, y, width;
    [[nodiscard]] bool meets(const box& o) const {
      return x < o.x + o.width && o.x < x + width && std::abs(y - o.y) < 15;
    }
  };

  void draw_axes(const std::string& loss_name);
  void draw_budget();
  void draw_curve();
  void draw_label(const frontier_point& point, const std::string& words, const char* kind);
  [[nodiscard]] double x(const frontier_point& p) const {
    return interleaved_.at(static_cast<double>(p.bytes) / unit_);
  }
  [[nodiscard]] double y(const frontier_point& p) const { return up_.at(p.loss); }
  [[nodiscard]] std::string tip(const frontier_point& p) const {
    return (p.label.empty() ? "" : p.label + "\n") + grouped_text(p.bytes) + " bytes\ndamage " +
           short_text(p.loss);
  }

  const frontier_view& view_;
  svg_drawing svg_{width, height};
  chart_axis interleaved_, up_;
  double unit_ = 1;
  std::string unit_name_ = "bytes";
  bool zero_ = false; // a loss of 0 on a logarithmic axis lies at its end
  double least_ = 0;  // loss above 0
  std::vector<box> taken_;
};

inline frontier_chart::frontier_chart(const frontier_view& view) : view_(view) {
  std::vector<double> losses;
  std::uint64_t low = view.best.front().bytes, high = low;
  const auto add = [&](const frontier_point& p) {
    low = std::min(low, p.bytes), high = std::max(high, p.bytes);
    losses.push_back(p.loss);
    if (p.loss >= least_shown && (least_ == 0 || p.loss < least_)) least_ = p.loss;
    zero_ = zero_ || p.loss < least_shown;
  };
  for (const auto& p : view.best) add(p);
  for (const auto& p : view.uniform) add(p);
  if (view.chosen) add(*view.chosen);
  for (const char* name : {"KiB", "MiB", "GiB", "TiB"})
    if (static_cast<double>(high) / unit_ >= 1024) unit_ *= 1024, unit_name_ = name;
  const double pad = 0.02 * static_cast<double>(high - low) + 1;
  interleaved_ = {(static_cast<double>(low) - pad) / unit_,
                  (static_cast<double>(high) + pad) / unit_, left, width - right, false};
  up_ = fit_axis(losses, height - bottom, top, 10);
  zero_ = zero_ && up_.logarithmic;
  if (zero_) up_.low = least_ / 4;
}

inline void frontier_chart::draw_axes(const std::string& loss_name) {
  for (const auto& tick : ticks_of(up_, 8)) {
    if (zero_ && tick.value < least_) continue;
    svg_.line(left, up_.at(tick.value), width - right, up_.at(tick.value), "grid");
    svg_.text(left - 8, up_.at(tick.value) + 4, "tick end", tick.label);
  }
  if (zero_) {
    svg_.line(left, height - bottom, width - right, height - bottom, "grid");
    svg_.text(left - 8, height - bottom + 4, "tick end", "0");
  }
  for (const auto& tick : ticks_of(interleaved_, 8)) {
    svg_.line(interleaved_.at(tick.value), top, interleaved_.at(tick.value), height - bottom,
              "grid");
    svg_.text(interleaved_.at(tick.value), height - bottom + 18, "tick middle", tick.label);
  }
  svg_.text(4, 16, "axis", loss_name + (up_.logarithmic ? ", log scale" : ""));
  svg_.text(width - right, height - 8, "axis end", "size of the file, " + unit_name_);
}

inline void frontier_chart::draw_budget() {
  const double value = static_cast<double>(view_.budget_bytes) / unit_;
  if (value < interleaved_.low || value > interleaved_.high) return;
  const std::string words = "budget " + grouped_text(view_.budget_bytes) + " bytes";
  const double at = interleaved_.at(value), wide = 7.0 * static_cast<double>(words.size());
  svg_.line(at, top - 16, at, height - bottom, "budget");
  const bool late = at > width / 2; // the label stays within the drawing
  svg_.text(at + (late ? 4 : -4), top - 22, late ? "label end" : "label", words);
  taken_.push_back({at - (late ? wide : 4), top - 22, wide});
}

inline void frontier_chart::draw_curve() {
  std::vector<std::array<double, 2>> points;
  for (const auto& p : view_.best) {
    // With a complete frontier nothing between two plans is better than the first of them.
    if (view_.complete && !points.empty()) points.push_back({x(p), points.back()[1]});
    points.push_back({x(p), y(p)});
  }
  svg_.path(points, "frontier");
  const double radius = view_.best.size() > 100 ? 1.4 : 2.2;
  if (view_.best.size() > most_dots) return;
  for (const auto& p : view_.best) {
    svg_.circle(x(p), y(p), radius, "best", "", tip(p));
    taken_.push_back({x(p) - 1, y(p) + 8, 2}); // labels keep away from it
  }
}

/// To the right of the point, where nothing else stands: a little above if it can be, else farther
/// up, with a line to the point.
inline void frontier_chart::draw_label(const frontier_point& point, const std::string& words,
                                       const char* kind) {
  const double at = y(point), wide = 7.0 * static_cast<double>(words.size()) + 4;
  box place{std::min(x(point) + 9, width - wide), at, wide};
  const auto fits = [&](double up) {
    place.y = at - up;
    return std::none_of(taken_.begin(), taken_.end(),
                        [&](const box& other) { return place.meets(other); });
  };
  if (!fits(8) && !fits(-4) && !fits(-14)) {
    double up = 12;
    while (!fits(up) && at - up > top) up += 4;
    svg_.line(x(point), at, place.x - 2, place.y - 3, "leader");
  }
  svg_.text(place.x, place.y, kind, words);
  taken_.push_back(place);
}

inline std::string frontier_chart::draw(const std::string& loss_name) {
  draw_axes(loss_name);
  draw_budget();
  draw_curve();
  for (const auto& p : view_.uniform) taken_.push_back({x(p) - 8, y(p) + 4, 16});
  if (const auto& p = view_.chosen) {
    taken_.push_back({x(*p) - 8, y(*p) + 4, 16});
    draw_label(*p, "chosen: " + grouped_text(p->bytes) + " bytes", "label strong");
  }
  for (const auto& p : view_.uniform) {
    svg_.circle(x(p), y(p), 5, "uniform", fill_of(p.type), tip(p));
    draw_label(p, p.label, "label");
  }
  if (const auto& p = view_.chosen) svg_.circle(x(*p), y(*p), 6.5, "chosen", "", tip(*p));
  return "<div class=\"scroll wide\">" +
         svg_.finish("Size of the file against predicted loss, the chosen plan marked", true) +
         "</div>\n";
}

/// The whole section; empty where there was nothing to choose.
[[nodiscard]] inline std::string frontier_section(const budget_plan& plan,
                                                  const std::string& loss_name) {
  if (plan.groups.empty()) return "";
  const frontier_view view = view_of(plan);
  if (view.best.size() < 2) return "";
  const std::string count = grouped_text(view.best.size());
  return "<section id=\"frontier\">\n<h2>Size against loss</h2>\n<p class=\"axis\">" +
         (view.complete ? "The line joins all " + count + " best plans"
                        : "The line joins " + count + " best plans on the lower convex hull") +
         "; no plan lies below it.</p>\n" + frontier_chart(view).draw(loss_name) + "</section>\n";
}

} // namespace report::detail

} // namespace edgequant::inline EDGEQUANT_ABI
