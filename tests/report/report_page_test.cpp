// SPDX-License-Identifier: MIT
#include <edgequant/report/report_page.hpp>

#include <gtest/gtest.h>

#include <set>

namespace {
namespace eq = edgequant;
using eq::format;

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t n = 0;
  for (auto at = text.find(part); at != text.npos; at = text.find(part, at + part.size())) ++n;
  return n;
}

/// From `<section id="name">` to its end; empty where the page has none.
std::string section(const std::string& page, const std::string& name) {
  const auto begin = page.find("<section id=\"" + name + "\">");
  return begin == page.npos ? "" : page.substr(begin, page.find("</section>", begin) - begin);
}

/// The first thing in a page that a strict parser would not take; empty if there is none.
class markup_check {
public:
  explicit markup_check(const std::string& page) : html_(page) {}

  std::string problem() {
    while (at_ < html_.size() && problem_.empty()) {
      if (html_[at_] == '<')
        tag();
      else
        character();
    }
    if (problem_.empty() && !open_.empty()) problem_ = "open at the end: " + open_.back();
    return problem_;
  }

private:
  void complain(const std::string& what) { problem_ = what + " at " + html_.substr(at_, 60); }
  void character() {
    const auto byte = static_cast<unsigned char>(html_[at_]);
    if (byte == '>' && open_.back() != "style") return complain("a bare >");
    if (byte < 0x20 && byte != '\n') return complain("a control character");
    if (byte == '&') {
      const auto name = html_.substr(at_ + 1, html_.find(';', at_) - at_ - 1);
      if (!std::set<std::string>{"amp", "lt", "gt", "quot", "#39"}.count(name))
        return complain("a bare &");
    }
    ++at_;
  }
  void tag() {
    std::size_t end = at_;
    for (char quote = 0; end < html_.size() && (quote != 0 || html_[end] != '>'); ++end)
      if (html_[end] == '"') {
        quote = quote == 0 ? '"' : '\0';
      } else if (quote != 0 && html_[end] == '<') {
        return complain("< in an attribute");
      }
    const std::string inside = html_.substr(at_ + 1, end - at_ - 1);
    const std::string name = inside.substr(0, inside.find_first_of(" \n"));
    if (name[0] == '/') {
      if (open_.empty() || "/" + open_.back() != name) return complain("not open");
      open_.pop_back();
    } else if (name[0] != '!' && name != "meta" && inside.back() != '/') {
      open_.push_back(name);
    }
    at_ = end + 1;
  }

  const std::string& html_;
  std::size_t at_ = 0;
  std::vector<std::string> open_;
  std::string problem_;
};

/// A report and what belongs to it, as a budgeted run would leave them.
struct sample_run {
  eq::compress_report report;
  std::vector<eq::layer_sensitivity> layers;
  eq::budget_plan plan;

  eq::report_details details() const {
    eq::report_details d;
    d.plan = &plan, d.layers = layers, d.measure = eq::loss_measure::kld, d.method = "gptq";
    return d;
  }
  std::string page() const { return eq::report_page(report, details()); }

  /// A matrix with its sensitivity; `size` spreads the figures.
  void add(const std::string& name, double size) {
    const std::vector<std::uint64_t> dims = {64, 32};
    eq::layer_sensitivity layer{name, 32, 64, 3, 0.1 * size, {}};
    for (const auto& [type, error] :
         {std::pair(format::q4_0, 0.1), {format::q5_0, 0.05}, {format::q8_0, 0.006}}) {
      const double e = error * size;
      layer.candidates.push_back({type, 32 * eq::row_bytes(type, 64), e, e, e, e * e});
    }
    layers.push_back(std::move(layer));
    report.tensors.push_back({name, dims, format::f16, format::f16, 4096, 4096, {}});
  }
  void add_vector(const std::string& name) {
    report.tensors.push_back({name, {64}, format::f32, format::f32, 256, 256, {}});
  }

  /// Chooses formats, half way between the smallest and the largest file.
  void choose() {
    constexpr std::uint64_t fixed = 5000;
    std::uint64_t budget = 0;
    for (const auto& layer : layers) {
      eq::choice_group group{layer.name, {}};
      for (const auto& c : layer.candidates) group.choices.push_back({c.type, c.bytes, *c.kl});
      budget += (group.choices.front().cost + group.choices.back().cost) / 2;
      plan.groups.push_back(std::move(group));
    }
    plan.result = eq::assign_formats(plan.groups, budget);
    plan.budget_bytes = fixed + budget;
    plan.file_bytes = fixed + plan.result.cost;
    for (std::size_t i = 0; i < plan.groups.size(); ++i)
      plan.formats[layers[i].name] = plan.groups[i].choices[plan.result.chosen[i]].type;
    finish();
  }
  void finish() {
    report.input = "in";
    report.output = "folder/out.gguf";
    for (auto& t : report.tensors) {
      if (const auto found = plan.formats.find(t.name); found != plan.formats.end()) {
        t.type = found->second;
        t.bytes_after = t.dims[1] * eq::row_bytes(t.type, t.dims[0]);
        t.error.add(std::vector<float>{1, 2, 2}, std::vector<float>{1, 2, 1});
      }
      report.values += t.dims.size() == 1 ? 64 : 2048;
      report.bytes_before += t.bytes_before, report.bytes_after += t.bytes_after;
      report.error.merge(t.error);
    }
    report.file_bytes = plan.file_bytes;
  }
};

constexpr const char* roles[] = {"attn_q",   "attn_k", "attn_v",  "attn_output",
                                 "ffn_gate", "ffn_up", "ffn_down"};

sample_run llama(int layers) {
  sample_run run;
  run.add("token_embd.weight", 2);
  for (int i = 0; i < layers; ++i) {
    run.add_vector("blk." + std::to_string(i) + ".attn_norm.weight");
    for (std::size_t r = 0; r < std::size(roles); ++r)
      run.add("blk." + std::to_string(i) + "." + roles[r] + ".weight",
              0.5 + 0.1 * static_cast<double>(r) + 1.0 / (1 + i));
  }
  run.choose();
  return run;
}

TEST(report_page, shows_every_tensor_in_strip_and_table) {
  const auto run = llama(3);
  const auto page = run.page();
  EXPECT_EQ(markup_check(page).problem(), "");
  const auto strip = section(page, "precision"), table = section(page, "tensors");
  for (const auto& t : run.report.tensors) {
    EXPECT_EQ(count(table, "<code>" + t.name + "</code>"), 1u) << t.name;
    // In a tip each; those without a layer also stand by their names.
    EXPECT_EQ(count(strip, t.name + "\n"), 1u) << t.name;
  }
  EXPECT_EQ(count(strip, "<rect class=\"cell\""), 24u); // 3 layers of 8
  EXPECT_EQ(count(strip, "<li title="), 1u);
  EXPECT_EQ(count(table, "<tr>"), 1 + 25 + 1u); // with head and foot
}

TEST(report_page, has_totals_and_the_proof) {
  auto run = llama(2);
  run.plan.result.proven = true;
  auto page = run.page();
  EXPECT_NE(page.find("<h1>out.gguf</h1>"), std::string::npos);
  EXPECT_NE(page.find(eq::report::detail::grouped_text(run.plan.file_bytes) + " bytes"),
            std::string::npos);
  EXPECT_EQ(count(page, "proven optimal"), 1u);
  run.plan.result.proven = false;
  run.plan.result.loss = 2;
  run.plan.result.lower_bound = 1.5;
  page = run.page();
  EXPECT_EQ(count(page, "proven optimal"), 0u);
  EXPECT_EQ(count(page, "<dt>Gap</dt><dd>0.5<small>25.00\u00a0% of the loss, at most"), 1u);
}

TEST(report_page, leaves_out_what_has_no_data) {
  auto run = llama(2);
  const auto has = [](const std::string& page, const std::string& name) {
    return !section(page, name).empty();
  };
  const auto bare = eq::report_page(run.report);
  EXPECT_EQ(markup_check(bare).problem(), "");
  for (const char* name : {"summary", "precision", "tensors"}) EXPECT_TRUE(has(bare, name)) << name;
  for (const char* name : {"sensitivity", "frontier", "notes"})
    EXPECT_FALSE(has(bare, name)) << name;
  EXPECT_EQ(count(bare, "<dt>Budget"), 0u);

  for (auto& layer : run.layers)
    for (auto& c : layer.candidates) c.kl.reset();
  eq::report_details details;
  details.layers = run.layers;
  const auto analyzed = eq::report_page(run.report, details);
  EXPECT_EQ(count(section(analyzed, "sensitivity"), "<figure>"), 7u); // one a role
  EXPECT_EQ(count(section(analyzed, "sensitivity"), "KL divergence"), 0u);
  EXPECT_FALSE(has(analyzed, "frontier"));

  const auto empty = eq::report_page({});
  EXPECT_EQ(markup_check(empty).problem(), "");
  EXPECT_EQ(count(empty, "<section"), 1u);

  run.report.notes = {"a note"};
  EXPECT_EQ(count(section(eq::report_page(run.report), "notes"), "<li>a note</li>"), 1u);
}

TEST(report_page, shows_divergence_where_it_was_measured) {
  const auto page = llama(2).page();
  const auto shown = section(page, "sensitivity");
  EXPECT_EQ(count(shown, "<figure>"), 14u); // 7 roles, two figures
  EXPECT_EQ(count(shown, "<h3>KL divergence of the model with one tensor in q4_0, nats"), 1u);
  EXPECT_EQ(count(shown, "<circle class=\"dot\""), 28u);
  EXPECT_EQ(count(shown, "<code>token_embd.weight</code>"), 2u); // no layer: a bar
}

TEST(report_page, loads_nothing) {
  const auto page = llama(3).page();
  for (const char* part : {"http", "src=", "href=", "url(", "@import", "<link", "<img"})
    EXPECT_EQ(page.find(part), std::string::npos) << part;
  EXPECT_EQ(count(page, "<script"), 1u); // of the table
}

TEST(report_page, escapes_whatever_comes_from_files) {
  const std::string hostile = "\"><script>alert('1')</script>&\xff\x01\n";
  sample_run run;
  run.add(hostile, 1);
  run.add("blk.0." + hostile, 1);
  run.choose();
  run.report.input = run.report.output = hostile;
  run.report.notes = {hostile};
  auto details = run.details();
  details.method = hostile;
  const auto page = eq::report_page(run.report, details);
  EXPECT_EQ(markup_check(page).problem(), "");
  EXPECT_EQ(count(page, "<script"), 1u);
  EXPECT_EQ(page.find('\xff'), std::string::npos);
  EXPECT_EQ(page.find('\x01'), std::string::npos);
  const std::string shown = "&quot;&gt;&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;"
                            "\xef\xbf\xbd\xef\xbf\xbd";
  for (const char* name : {"sensitivity", "precision", "tensors", "notes"})
    EXPECT_GE(count(section(page, name), shown), 1u) << name;
}

TEST(report_page, table_has_layers_in_their_order_and_numbers_to_sort_by) {
  sample_run run;
  for (const char* name : {"blk.10.attn_q.weight", "blk.2.ffn_up.weight", "blk.2.attn_q.weight",
                           "output.weight", "blk.1.attn_q.weight"})
    run.add(name, 1);
  run.choose();
  const auto table = section(run.page(), "tensors");
  std::size_t last = 0;
  for (const char* name : {"output.weight", "blk.1.attn_q.weight", "blk.2.attn_q.weight",
                           "blk.2.ffn_up.weight", "blk.10.attn_q.weight"}) {
    const auto at = table.find("<code>" + std::string(name));
    EXPECT_GT(at, last) << name;
    last = at;
  }
  // Each cell of a row of five, of eight columns, has its number; what sorts is clicked at.
  const auto body =
      table.substr(table.find("<tbody>"), table.find("</tbody>") - table.find("<tbody>"));
  EXPECT_EQ(count(body, " data-v=\""), 5u * 8);
  EXPECT_EQ(count(body, "<td"), 5u * 8);
  EXPECT_EQ(count(table, "<th"), 8u + 1); // and <thead>
  EXPECT_EQ(count(table, "<button>"), 8u);
  EXPECT_EQ(count(body, "data-v=\"2048.000000\">"), 5u);
}

TEST(report_page, says_what_hurts_most_and_why) {
  auto run = llama(4);
  run.layers.back().kurtosis = 40; // blk.3.ffn_down
  for (auto& c : run.layers.back().candidates) *c.kl = 30;
  run.layers[3].candidates.clear();                 // blk.0.attn_v is not estimated
  run.report.tensors.front().dims = {64, 1u << 20}; // beside it all others are small
  const auto shown = section(run.page(), "loss");
  EXPECT_EQ(count(shown, "<code>"), 12u); // of 28
  EXPECT_NE(shown.find("these 12 of 28 make"), std::string::npos);
  const auto first = shown.find("<code>");
  EXPECT_EQ(shown.substr(first, 36), "<code>blk.3.ffn_down.weight</code><s");
  EXPECT_EQ(count(shown, "feed-forward, last layer, outliers (kurtosis 40.0), "), 1u);
  EXPECT_EQ(count(shown, "blk.0.attn_v"), 0u);
  EXPECT_GE(count(shown, "&lt;0.01\u00a0% of the weights"), 11u); // escaped once
  for (auto& layer : run.layers)
    for (auto& c : layer.candidates) c.kl.reset();
  EXPECT_EQ(section(run.page(), "loss"), "");
}

TEST(report_page, marks_the_chosen_point) {
  const auto run = llama(4);
  const auto shown = section(run.page(), "frontier");
  const auto x_of = [&](const std::string& kind, const std::string& tip) {
    const auto end = shown.find("<title>" + tip);
    const auto begin = shown.rfind("<circle class=\"" + kind + "\" cx=\"", end);
    if (end == shown.npos || begin == shown.npos) return std::string("none");
    const auto x = shown.find("cx=", begin);
    return shown.substr(x, shown.find(" r=", x) - x);
  };
  const std::string bytes = eq::report::detail::grouped_text(run.plan.file_bytes) + " bytes\n";
  EXPECT_EQ(count(shown, "class=\"chosen\""), 1u);
  EXPECT_NE(x_of("chosen", "chosen\n" + bytes), "none");
  // Proven optimal: it is one of the best plans, and lies where that lies.
  EXPECT_EQ(x_of("chosen", "chosen\n" + bytes), x_of("best", bytes));
  EXPECT_EQ(count(shown, "class=\"best\""), eq::pareto_frontier(run.plan.groups).plans.size());
  for (const char* name : {"all q4_0", "all q5_0", "all q8_0"})
    EXPECT_EQ(count(shown, std::string(name) + "</text>"), 1u) << name;
  EXPECT_EQ(count(shown, "class=\"uniform\""), 3u);
  std::uint64_t smallest = 5000;
  for (const auto& layer : run.layers) smallest += layer.candidates[0].bytes;
  EXPECT_EQ(count(shown, "all q4_0\n" + eq::report::detail::grouped_text(smallest) + " bytes"), 1u);
}

TEST(report_page, compares_with_one_format_wherever_it_fits) {
  eq::budget_plan plan;
  plan.groups = {{"a", {{format::q4_0, 10, 4}, {format::f16, 40, 1}, {format::f32, 80, 0}}},
                 {"b", {{format::f16, 20, 2}, {format::f32, 40, 0}}}}; // rows that fit no q4_0
  const auto points = eq::report::detail::uniform_plans(plan, 100);
  ASSERT_EQ(points.size(), 3u); // in the order of the format table
  EXPECT_EQ(points[0].label, "all f32");
  EXPECT_EQ(points[0].bytes, 220u);
  EXPECT_EQ(points[1].bytes, 160u);
  EXPECT_EQ(points[2].label, "all q4_0");
  EXPECT_EQ(points[2].bytes, 130u);
  EXPECT_EQ(points[2].loss, 6);
}

TEST(report_page, prefers_measured_output_errors) {
  auto run = llama(1);
  for (auto& t : run.report.tensors)
    if (t.name == "blk.0.attn_q.weight") t.output_error = 0.03125;
  const auto table = section(eq::report_page(run.report, run.details()), "tensors");
  EXPECT_EQ(count(table, "<td class=\"n\" data-v=\"3.125000\">3.12\u00a0%</td>"),
            1u);                                         // half to even
  EXPECT_EQ(count(table, "<td class=\"n guess\" "), 7u); // six other matrices and the embedding
  const auto& embedding = run.layers[0];                 // plain rounding in the format that it got
  for (const auto& c : embedding.candidates)
    EXPECT_EQ(count(table.substr(0, table.find("blk.0")),
                    eq::report::detail::percent_text(c.output_error)),
              c.type == run.plan.formats.at(embedding.name) ? 1u : 0u);
}

TEST(report_page, has_a_colour_for_every_format) {
  eq::compress_report report;
  std::set<std::string> colours;
  for (const auto& row : eq::format_table) {
    report.tensors.push_back({"t." + std::string(row.name), {256}, row.id, row.id, 1, 1, {}});
    colours.insert(eq::report::detail::fill_of(row.id));
  }
  EXPECT_EQ(colours.size(), std::size(eq::format_table));
  const auto page = eq::report_page(report);
  EXPECT_EQ(markup_check(page).problem(), "");
  for (const auto& row : eq::format_table) // legend, list and table
    EXPECT_EQ(count(page, eq::report::detail::format_chip(row.id)), 3u) << row.name;
}

TEST(report_page, writes_no_number_that_is_not_finite) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double infinity = std::numeric_limits<double>::infinity();
  auto run = llama(3);
  for (std::size_t i = 0; i < run.layers.size(); i += 2)
    for (auto& c : run.layers[i].candidates) c.output_error = nan, c.kl = infinity;
  run.report.error = {};
  run.report.error.add(std::vector<float>{0, 0}, std::vector<float>{1, 1}); // -inf dB
  run.report.tensors[0].error = run.report.error;
  run.plan.result.loss = nan, run.plan.result.lower_bound = -infinity;
  run.plan.budget_bytes = 0, run.report.values = 0, run.report.bytes_after = 0;
  run.report.tensors[1].output_error = nan, run.report.tensors[2].output_error = infinity;
  const auto page = eq::report_page(run.report, run.details());
  EXPECT_EQ(markup_check(page).problem(), "");
  for (const char* word : {"nan", "inf"})
    for (auto at = page.find(word); at != page.npos; at = page.find(word, at + 1))
      EXPECT_TRUE(std::isalpha(page[at - 1]) || std::isalpha(page[at + 3]))
          << page.substr(at - 20, 40);
  EXPECT_NE(page.find(eq::report::detail::no_number), std::string::npos);
  EXPECT_EQ(count(page, "=\"" + std::string(eq::report::detail::no_number)), 0u); // drawn nowhere
  EXPECT_EQ(count(page, "class=\"chosen\""), 0u);
  for (auto& layer : run.layers)
    for (auto& c : layer.candidates) c.output_error = nan, c.kl.reset();
  EXPECT_EQ(section(eq::report_page(run.report, run.details()), "sensitivity"), "");
}

TEST(report_page, takes_a_thousand_tensors) {
  const auto run = llama(125);
  EXPECT_EQ(run.report.tensors.size(), 1001u);
  const auto page = run.page();
  EXPECT_EQ(markup_check(page).problem(), "");
  EXPECT_EQ(count(section(page, "precision"), "class=\"cell\""), 1000u);
  EXPECT_LT(page.size(), 2u << 20); // about a kilobyte a tensor, charts included
  EXPECT_EQ(page, run.page());
}

TEST(report_page, lists_tensors_that_have_no_layer) {
  sample_run run;
  for (int i = 0; i < 60; ++i) run.add("conv_" + std::to_string(i) + ".w", 1 + i);
  run.add("blk.4294967295.attn_q.weight", 1); // no reason for that many columns
  run.choose();
  const auto page = run.page();
  EXPECT_EQ(markup_check(page).problem(), "");
  EXPECT_EQ(count(section(page, "precision"), "<li title="), 60u);
  EXPECT_EQ(count(section(page, "precision"), "class=\"cell\""), 1u);
  EXPECT_EQ(count(section(page, "sensitivity"), "the 40 largest of 60"), 2u);
  EXPECT_EQ(count(section(page, "sensitivity"), "<span class=\"bar\""), 80u);
}

TEST(html_tensor, tells_layers_by_numbers_between_dots) {
  const auto role = [](const std::string& name) {
    const auto place = eq::report::detail::place_in_layers(name);
    return place ? std::to_string(place->layer) + " " + place->role : "none";
  };
  EXPECT_EQ(role("blk.3.attn_q.weight"), "3 blk.#.attn_q.weight");
  EXPECT_EQ(role("0.weight"), "0 #.weight");
  EXPECT_EQ(role("layers.12"), "12 layers.#");
  EXPECT_EQ(role("a.1.b.2.c"), "1 a.#.b.2.c");
  for (const char* name : {"12", "", ".", "blk.03.x", "blk.-1.x", "blk.4294967296.x", "blk.1x.y"})
    EXPECT_EQ(role(name), "none") << name;
}

TEST(html_text, writes_numbers_for_people) {
  using namespace eq::report::detail;
  EXPECT_EQ(short_text(0.01234), "0.0123");
  EXPECT_EQ(short_text(12.30), "12.3");
  EXPECT_EQ(short_text(999.9), "1000");
  EXPECT_EQ(short_text(-0.5), "-0.5");
  EXPECT_EQ(short_text(0), "0");
  EXPECT_EQ(short_text(1e-4), "10\u207b\u2074");
  EXPECT_EQ(short_text(2.5e7), "2.5\u00d710\u2077");
  EXPECT_EQ(figure_text(-0.001, 2), "0.00");
  EXPECT_EQ(figure_text(1e300, 2).size(), 301u + 3);
  EXPECT_EQ(percent_text(0.0832), "8.32\u00a0%");
  EXPECT_EQ(percent_text(1e-9), "&lt;0.01\u00a0%");
  EXPECT_EQ(percent_text(0), "0.00\u00a0%");
  EXPECT_EQ(grouped_text(1234567), "1,234,567");
  EXPECT_EQ(grouped_text(123), "123");
}

TEST(svg_chart, axes_have_a_few_round_ticks_within) {
  using namespace eq::report::detail;
  for (const double low : {0.0, 0.9, 3.7, 995.0})
    for (const double span : {0.02, 0.5, 7.0, 1e3, 1e9})
      for (const bool logarithmic : {false, true}) {
        if (logarithmic && low == 0) continue;
        const chart_axis axis{low, low + span, 0, 100, logarithmic};
        const auto ticks = ticks_of(axis, 6);
        EXPECT_GE(ticks.size(), 2u) << low << ' ' << span;
        EXPECT_LE(ticks.size(), 7u) << low << ' ' << span;
        std::set<std::string> labels;
        for (const auto& tick : ticks) {
          EXPECT_GE(tick.value, low * (1 - 1e-9));
          EXPECT_LE(tick.value, (low + span) * (1 + 1e-9));
          labels.insert(tick.label);
        }
        EXPECT_EQ(labels.size(), ticks.size()) << low << ' ' << span;
      }
}

TEST(svg_chart, axes_fit_their_values) {
  using namespace eq::report::detail;
  const std::vector<double> near = {0, 2, 5}, far = {0, 0.001, 5}, none = {};
  const std::vector<double> wild = {5e-324, 1, 1.7e308};
  EXPECT_FALSE(fit_axis(near, 0, 1, 10).logarithmic);
  EXPECT_EQ(fit_axis(near, 0, 1, 10).low, 0);
  const auto axis = fit_axis(far, 10, 0, 10);
  EXPECT_TRUE(axis.logarithmic);
  EXPECT_EQ(axis.at(0), 10); // at the end
  EXPECT_LT(axis.at(5), axis.at(0.001));
  EXPECT_EQ(fit_axis(none, 0, 1, 10).high, 1);
  EXPECT_LT(fit_axis(wild, 0, 1, 10).at(5e-324), 1e-300);
  EXPECT_EQ(fit_axis(wild, 0, 1, 10).at(1.7e308), 1);
}
} // namespace
