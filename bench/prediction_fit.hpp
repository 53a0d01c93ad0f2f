// SPDX-License-Identifier: MIT
// Fits the constants of deploy/prediction_constants.hpp to measured decode speeds, and says how far
// they are off for a device that the fit has not seen.
#pragma once

#include "published_speeds.hpp"

#include <edgequant/advise/prediction_json.hpp>
#include <edgequant/core/nearest_rank.hpp>

#include <Eigen/Core>
#include <Eigen/LU>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <set>
#include <span>
#include <string>
#include <vector>

namespace bench {
namespace eq = edgequant;

struct measurement {
  std::string device, model, source;
  eq::resolved_query query;
  double ms = 0;        ///< measured, per token
  bool in_file = false; ///< in measured_tokens_per_second.json
  bool bandwidth_known = true, llama_cpp = false;
};

/// The rows of measured_tokens_per_second.json, or any array like it with decode_tps.
inline std::vector<measurement> read_measurements(const nlohmann::json& file) {
  const auto queries = eq::parse_queries(file, "measurements");
  std::vector<measurement> rows;
  for (std::size_t i = 0; i < queries.size(); ++i) {
    const double speed = file[i].value("decode_tps", 0.0);
    if (!(speed > 0)) eq::fail(eq::error_code::bad_file, "decode_tps", "expected a speed");
    const auto& q = queries[i];
    rows.push_back({q.device, q.model, file[i].value("source", ""), eq::resolve(q), 1e3 / speed,
                    true, q.memory_bandwidth_gb_s.has_value(), q.engine == "llama.cpp"});
  }
  return rows;
}

/// The published rows that take part in the fit, or those that do not.
inline std::vector<measurement> published_measurements(bool fit) {
  std::vector<measurement> rows;
  for (const auto& p : published_speeds) {
    if (p.fit != fit) continue;
    const eq::prediction_query q{.device = std::string(p.device),
                                 .engine = std::string(p.engine),
                                 .backend = std::string(p.backend),
                                 .model = std::string(p.model),
                                 .quant = std::string(p.quant),
                                 .memory_bandwidth_gb_s = p.memory_bandwidth_gb_s,
                                 .weight_bytes = p.weight_bytes};
    rows.push_back({q.device, q.model, std::string(p.source), eq::resolve(q),
                    1e3 / p.tokens_per_second, false, true, q.engine == "llama.cpp"});
  }
  return rows;
}

struct fitted {
  std::vector<eq::speed_constants> table;
  eq::speed_facts facts;
};

/// What is believed of a unit before any measurement, as natural logarithms with their widths, and
/// how far single measurements scatter.
struct unit_prior {
  eq::speed_unit unit;
  double efficiency, overhead_ms, noise, spread;
  std::vector<eq::device_class> classes; ///< that have a row of their own
  double fact = 1, fact_width = 1;       ///< of the unit: open_npu, mobile_cpu_gb_s, apple_step
};

inline const std::vector<unit_prior>& unit_priors() {
  using enum eq::device_class;
  static const std::vector<unit_prior> priors = {
      {eq::speed_unit::cpu, 0.6, 2, 0.25, 0.6, {phone, sbc, laptop, desktop}, 60, 0.5},
      {eq::speed_unit::integrated_gpu, 0.7, 8, 0.25, 0.5, {phone, edge_gpu, laptop}},
      {eq::speed_unit::discrete_gpu, 0.85, 1, 0.12, 0.35, {}},
      {eq::speed_unit::apple_gpu, 0.9, 7, 0.05, 0.12, {}, 1.1, 0.1},
      {eq::speed_unit::npu, 0.8, 40, 0.15, 0.5, {phone, sbc}, 0.7, 0.5},
  };
  return priors;
}

namespace detail {
/// Natural logarithms of an efficiency, an overhead and the fact of the unit, if it has one.
using vector = Eigen::Vector3d;

/// Least squares with Huber's weights and a Gaussian prior, by Gauss-Newton with numeric
/// derivatives: the same bits for the same input. `weights`: of each residual, at most 1.
inline vector robust_fit(const std::function<std::vector<double>(const vector&)>& residuals,
                         std::span<const double> weights, double noise, const vector& mean,
                         const vector& width) {
  constexpr double small = 1e-5;
  const vector trust = width.array().square().inverse();
  vector at = mean;
  for (int step = 0; step < 12; ++step) {
    const auto r = residuals(at);
    std::vector<double> moved[3];
    for (Eigen::Index j = 0; j < 3; ++j) moved[j] = residuals(at + small * vector::Unit(j));
    Eigen::Matrix3d normal = trust.asDiagonal();
    vector right = trust.cwiseProduct(at - mean);
    for (std::size_t i = 0; i < r.size(); ++i) {
      vector slope;
      for (Eigen::Index j = 0; j < 3; ++j) slope[j] = (moved[j][i] - r[i]) / small;
      const double huber = std::min(1.0, 1.5 * noise / std::max(std::abs(r[i]), 1e-12));
      const double weight = weights[i] * huber / (noise * noise);
      normal += weight * slope * slope.transpose();
      right += weight * r[i] * slope;
    }
    at -= normal.inverse() * right;
  }
  return at;
}

inline void apply(const vector& at, eq::speed_constants& row, eq::speed_facts& facts) {
  row.efficiency = std::exp(at[0]);
  row.overhead_ms = std::exp(at[1]);
  if (row.unit == eq::speed_unit::npu) facts.open_npu = std::exp(at[2]);
  if (row.unit == eq::speed_unit::cpu) facts.mobile_cpu_gb_s = std::exp(at[2]);
  if (row.unit == eq::speed_unit::apple_gpu) facts.apple_step = std::exp(at[2]);
}

/// Fits one row of the table to measurements of its unit, starting from `mean`.
inline vector fit_row(std::span<const measurement> rows, eq::speed_constants& row,
                      eq::speed_facts& facts, double noise, const vector& mean,
                      const vector& width) {
  std::map<std::string, double> of_device;
  for (const auto& m : rows) of_device[m.device] += 1;
  std::vector<double> weights;
  for (const auto& m : rows) // a device with many rows is still one device
    weights.push_back(noise * noise / (noise * noise + m.query.doubt) /
                      std::sqrt(of_device[m.device]));
  const auto residuals = [&](const vector& at) {
    auto trial = row;
    auto trial_facts = facts;
    apply(at, trial, trial_facts);
    std::vector<double> r;
    for (const auto& m : rows)
      r.push_back(std::log(eq::decode_ms(m.query, trial, trial_facts) / m.ms));
    return r;
  };
  const vector at = robust_fit(residuals, weights, noise, mean, width);
  apply(at, row, facts);
  return at;
}

template <class Keep>
std::vector<measurement> only(std::span<const measurement> rows, const Keep& keep) {
  std::vector<measurement> kept;
  for (const auto& m : rows)
    if (keep(m)) kept.push_back(m);
  return kept;
}

/// ln of the factor by which older cores are slower than the row says; shrunk to `prior`.
inline double core_factor(std::span<const measurement> rows, eq::core_age cores, double prior,
                          const fitted& fit) {
  double sum = std::log(prior) / 0.25, weight = 1 / 0.25; // a width of 0.5
  for (const auto& m : rows) {
    if (m.query.cores != cores) continue;
    auto plain = m.query;
    plain.cores = eq::core_age::current;
    const auto& row = eq::find_constants(fit.table, plain.unit, plain.kind);
    sum += std::log(eq::decode_ms(plain, row, fit.facts) / m.ms) / 0.06;
    weight += 1 / 0.06;
  }
  return std::exp(sum / weight);
}

} // namespace detail

/// The rows of one unit: first one for any class, then each class drawn towards it.
inline void fit_unit(const unit_prior& prior, std::span<const measurement> all, fitted& out) {
  using detail::vector;
  const auto rows = detail::only(all, [&](const measurement& m) {
    return m.query.unit == prior.unit && m.query.cores == eq::core_age::current;
  });
  const vector mean(std::log(prior.efficiency), std::log(prior.overhead_ms), std::log(prior.fact));
  const vector wide(0.4, 0.7, prior.fact_width), near(0.25, 0.5, 1e-6); // the fact is the unit's
  eq::speed_constants any{prior.unit, {}, 0, 0, prior.spread, 0, {}};
  const vector shared = detail::fit_row(rows, any, out.facts, prior.noise, mean, wide);
  out.table.push_back(any);
  for (const auto kind : prior.classes) {
    auto row = any;
    row.kind = kind;
    const auto own = detail::only(rows, [&](const measurement& m) { return m.query.kind == kind; });
    detail::fit_row(own, row, out.facts, prior.noise, shared, near);
    out.table.push_back(row);
  }
  if (prior.unit == eq::speed_unit::cpu) {
    out.facts.older_cores = detail::core_factor(all, eq::core_age::older, 0.6, out);
    out.facts.in_order_cores = detail::core_factor(all, eq::core_age::in_order, 0.35, out);
  }
}

/// A row's prediction against its measurement: ln(predicted / measured speed).
struct residual {
  const measurement* of = nullptr;
  double error = 0, spread = 0;
  [[nodiscard]] double share() const { return std::abs(std::exp(error) - 1); }
};

inline double error_of(const measurement& m, const fitted& fit) {
  const auto& row = eq::find_constants(fit.table, m.query.unit, m.query.kind);
  return std::log(m.ms / eq::decode_ms(m.query, row, fit.facts));
}

/// Each row of a unit, predicted by a fit without its device.
inline std::vector<residual> leave_one_out(const unit_prior& prior,
                                           std::span<const measurement> rows) {
  std::set<std::string> devices;
  for (const auto& m : rows)
    if (m.query.unit == prior.unit) devices.insert(m.device);
  std::vector<residual> out;
  for (const auto& device : devices) {
    fitted fit;
    fit_unit(prior, detail::only(rows, [&](auto& m) { return m.device != device; }), fit);
    for (const auto& m : rows)
      if (m.device == device && m.query.unit == prior.unit)
        out.push_back({&m, error_of(m, fit), 0});
  }
  return out;
}

/// Sets the spreads of a unit's rows from its residuals: the 80 % quantile, shrunk to the unit's
/// and the prior as two more devices, for a handful of devices proves little.
inline void set_spreads(const unit_prior& prior, std::span<const residual> residuals, fitted& fit) {
  const auto shrunk = [&](std::optional<eq::device_class> kind, double to) {
    std::vector<double> sizes;
    std::set<std::string> devices;
    for (const auto& r : residuals) {
      const auto& q = r.of->query;
      if (q.cores != eq::core_age::current || (kind && q.kind != *kind)) continue;
      sizes.push_back(std::sqrt(std::max(0.0, r.error * r.error - q.doubt)));
      devices.insert(r.of->device);
    }
    if (sizes.empty()) return to;
    std::sort(sizes.begin(), sizes.end());
    const double own = eq::nearest_rank(sizes, 85), count = static_cast<double>(devices.size());
    return std::sqrt((count * own * own + 2 * to * to) / (count + 2));
  };
  const double unit = shrunk({}, prior.spread);
  for (auto& row : fit.table)
    if (row.unit == prior.unit) row.spread = row.kind ? shrunk(row.kind, unit) : unit;
}

/// The whole table, spreads included.
inline fitted fit_table(std::span<const measurement> rows) {
  fitted fit;
  for (const auto& prior : unit_priors()) {
    fit_unit(prior, rows, fit);
    set_spreads(prior, leave_one_out(prior, rows), fit);
  }
  return fit;
}

/// Each row predicted, interval included, by a whole fit without its device.
inline std::vector<residual> cross_validate(std::span<const measurement> rows) {
  std::vector<residual> out;
  for (const auto& prior : unit_priors())
    for (auto r : leave_one_out(prior, rows)) {
      const auto others = detail::only(rows, [&](auto& m) { return m.device != r.of->device; });
      fitted fit;
      fit_unit(prior, others, fit);
      set_spreads(prior, leave_one_out(prior, others), fit);
      const auto& q = r.of->query;
      const double spread = eq::find_constants(fit.table, q.unit, q.kind).spread;
      r.spread = std::sqrt(spread * spread + q.doubt);
      out.push_back(r);
    }
  return out;
}

/// Errors of many rows, as the acceptance lines want them.
struct error_summary {
  std::size_t rows = 0;
  double mean = 0, median = 0, within_two = 0, covered = 0, worst = 0;
};

inline error_summary summarize(std::span<const residual> residuals) {
  error_summary s{.rows = residuals.size()};
  if (residuals.empty()) return s;
  std::vector<double> shares;
  for (const auto& r : residuals) {
    shares.push_back(r.share());
    s.mean += r.share();
    s.within_two += std::abs(r.error) <= std::log(2.0) ? 1 : 0;
    s.covered += std::abs(r.error) <= r.spread ? 1 : 0;
  }
  const auto count = static_cast<double>(shares.size());
  s.mean /= count, s.within_two /= count, s.covered /= count;
  std::sort(shares.begin(), shares.end());
  s.median = eq::nearest_rank(shares, 50), s.worst = shares.back();
  return s;
}

} // namespace bench
