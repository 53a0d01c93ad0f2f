// SPDX-License-Identifier: MIT
// The constants of deploy/prediction_constants.hpp from measured decode speeds, as rows of its
// table, and how far they are off: for devices left out of the fit, and for published ones that
// were never in it. Usage: edgequant_prediction_fit measured_tokens_per_second.json [--rows]
#include "prediction_fit.hpp"

#include <edgequant/io/text_file.hpp>

#include <cstdio>
#include <cstring>

namespace {
using namespace bench;

const char* name_of(eq::speed_unit unit) {
  switch (unit) {
  case eq::speed_unit::cpu:
    return "cpu";
  case eq::speed_unit::integrated_gpu:
    return "integrated_gpu";
  case eq::speed_unit::discrete_gpu:
    return "discrete_gpu";
  case eq::speed_unit::apple_gpu:
    return "apple_gpu";
  case eq::speed_unit::npu:
    return "npu";
  default:
    return "built_in";
  }
}

std::string name_of(std::optional<eq::device_class> kind) {
  if (!kind) return "{}";
  const auto* const rows = eq::device_class_table;
  std::string name(rows[static_cast<std::size_t>(*kind)].name);
  std::replace(name.begin(), name.end(), '-', '_');
  return "device_class::" + name;
}

/// The first numbers of the rows of speed_table, in its own words.
void print_constants(const fitted& fit, std::span<const measurement> rows) {
  for (const auto& row : fit.table) {
    std::set<std::string> devices;
    std::size_t count = 0;
    for (const auto& m : rows)
      if (m.query.unit == row.unit && (!row.kind || m.query.kind == *row.kind))
        ++count, devices.insert(m.device);
    std::printf("{speed_unit::%s, %s, %.4f, %.3f, %.3f}, // %zu rows of %zu devices\n",
                name_of(row.unit), name_of(row.kind).c_str(), row.efficiency, row.overhead_ms,
                row.spread, count, devices.size());
  }
  std::printf("apple_step = %.4f, older_cores = %.4f, in_order_cores = %.4f, open_npu = %.4f, "
              "mobile_cpu_gb_s = %.2f\n\n",
              fit.facts.apple_step, fit.facts.older_cores, fit.facts.in_order_cores,
              fit.facts.open_npu, fit.facts.mobile_cpu_gb_s);
}

void print_summary(const char* what, std::span<const residual> residuals) {
  const auto s = summarize(residuals);
  std::printf("%-52s %3zu rows: mean %5.1f %%  median %5.1f %%  within x2 %5.1f %%  covered %5.1f "
              "%%  worst %5.0f %%\n",
              what, s.rows, 100 * s.mean, 100 * s.median, 100 * s.within_two, 100 * s.covered,
              100 * s.worst);
}

template <class Keep>
void print_part(const char* what, std::span<const residual> all, const Keep& keep) {
  std::vector<residual> part;
  for (const auto& r : all)
    if (keep(r)) part.push_back(r);
  print_summary(what, part);
}

void print_rows(std::span<const residual> residuals) {
  for (const auto& r : residuals)
    std::printf("  %-46s %-15s %-15s %8.2f measured, %+6.1f %%, interval x%.2f%s\n",
                r.of->device.c_str(), name_of(r.of->query.unit), r.of->model.c_str(),
                1e3 / r.of->ms, 100 * (std::exp(r.error) - 1), std::exp(r.spread),
                std::abs(r.error) > r.spread ? "  OUTSIDE" : "");
}

/// Rows that no fit has seen, by the constants of the whole fit.
std::vector<residual> check(std::span<const measurement> rows, const fitted& fit) {
  std::vector<residual> out;
  for (const auto& m : rows) {
    const double spread = eq::find_constants(fit.table, m.query.unit, m.query.kind).spread;
    out.push_back({&m, error_of(m, fit), std::sqrt(spread * spread + m.query.doubt)});
  }
  return out;
}

/// All M chips of a generation left out at once.
std::vector<residual> leave_generations_out(std::span<const measurement> rows) {
  std::vector<residual> out;
  for (const auto& prior : unit_priors())
    for (int generation = 1; prior.unit == eq::speed_unit::apple_gpu && generation <= 5;
         ++generation) {
      const auto is = [&](const measurement& m) {
        return static_cast<int>(m.query.apple_generation) == generation;
      };
      fitted fit;
      fit_unit(prior, bench::detail::only(rows, [&](auto& m) { return !is(m); }), fit);
      set_spreads(prior, leave_one_out(prior, rows), fit);
      for (const auto& m : rows)
        if (is(m) && m.query.unit == prior.unit)
          out.push_back({&m, error_of(m, fit), fit.table.front().spread});
    }
  return out;
}

/// All devices of a class left out at once; Apple's GPUs aside.
std::vector<residual> leave_classes_out(std::span<const measurement> rows) {
  std::vector<residual> out;
  for (const auto& prior : unit_priors())
    for (const auto kind : prior.classes) {
      const auto others = bench::detail::only(rows, [&](auto& m) { return m.query.kind != kind; });
      fitted fit;
      fit_unit(prior, others, fit);
      set_spreads(prior, leave_one_out(prior, others), fit);
      for (const auto& m : rows)
        if (m.query.kind == kind && m.query.unit == prior.unit) {
          const double spread = eq::find_constants(fit.table, prior.unit, kind).spread;
          out.push_back({&m, error_of(m, fit), std::sqrt(spread * spread + m.query.doubt)});
        }
    }
  return out;
}

int run(const char* path, bool details) {
  auto rows = read_measurements(eq::parse_json(eq::read_text_file(path), path));
  const auto more = published_measurements(true), unseen = published_measurements(false);
  rows.insert(rows.end(), more.begin(), more.end());
  const auto fit = fit_table(rows);
  print_constants(fit, rows);

  const auto left_out = cross_validate(rows);
  const auto apple = [](const residual& r) {
    return r.of->query.unit == eq::speed_unit::apple_gpu;
  };
  std::printf("Each device left out of the fit in its turn:\n");
  print_part("  the file, llama.cpp on Apple chips, Llama-2-7B", left_out, [&](const residual& r) {
    return apple(r) && r.of->in_file && r.of->llama_cpp && r.of->model == "Llama-2-7B";
  });
  print_part("  the file, bandwidth known", left_out,
             [](const residual& r) { return r.of->in_file && r.of->bandwidth_known; });
  print_part("  the file, bandwidth known, not Apple's GPUs", left_out, [&](const residual& r) {
    return r.of->in_file && r.of->bandwidth_known && !apple(r);
  });
  print_part("  the file, bandwidth guessed", left_out,
             [](const residual& r) { return r.of->in_file && !r.of->bandwidth_known; });
  print_part("  the file, all of it", left_out, [](const residual& r) { return r.of->in_file; });
  print_part("  published rows that take part", left_out,
             [](const residual& r) { return !r.of->in_file; });
  if (details) print_rows(left_out);
  print_summary("Each generation of M chips left out", leave_generations_out(rows));
  print_summary("Each class of a unit left out", leave_classes_out(rows));
  const auto checked = check(unseen, fit);
  std::printf("Published rows that no fit has seen:\n");
  print_part("  Apple's GPUs", checked, apple);
  print_part("  others", checked, [&](const residual& r) { return !apple(r); });
  if (details) print_rows(checked);
  return 0;
}

} // namespace

int main(int argc, char** argv) {
  const bool details = argc == 3 && std::strcmp(argv[2], "--rows") == 0;
  if (argc != 2 && !details) {
    std::fprintf(stderr, "usage: edgequant_prediction_fit MEASURED.json [--rows]\n");
    return 2;
  }
  try {
    return run(argv[1], details);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
