// SPDX-License-Identifier: MIT
#include "model/support.hpp"

#include <edgequant/compress/compress.hpp>
#include <edgequant/model/open_model.hpp>

#include <cmath>
#include <limits>
#include <random>

namespace {
using namespace model_test;
using eq::format;

std::vector<float> gaussian(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, 0.05f);
  std::vector<float> values(count);
  for (auto& v : values) v = normal(random);
  return values;
}

class compress : public testing::Test {
protected:
  temporary_folder in, out;
  eq::compress_options options;

  compress() {
    options.scale = eq::scale_rule::absmax;
  } // the fast one; most tests ask for no other

  fs::path target() const { return out / "out.gguf"; }
  eq::model_source model(const std::vector<raw_tensor>& tensors) const {
    write_safetensors(in / "m.safetensors", tensors);
    return eq::open_model(in / "m.safetensors");
  }
  /// Every kind of tensor that a model has, several slabs long.
  eq::model_source mixed() const {
    return model({f32_tensor("big", {520, 2048}, gaussian(520 * 2048, 1)),
                  f32_tensor("wide", {3, 40000}, gaussian(3 * 40000, 2)),
                  f32_tensor("odd", {70, 33}, gaussian(70 * 33, 3)),
                  f32_tensor("cube", {2, 3, 4, 32}, gaussian(768, 4)),
                  f32_tensor("norm", {100}, gaussian(100, 5)),
                  f32_tensor("scalar", {}, {0.3f}),
                  {"ids", "I64", {3}, bytes_from(std::vector<std::int64_t>{-1, 0, 1})}});
  }
  eq::compress_report run(const eq::model_source& source) const {
    return eq::compress(source, target(), options);
  }
  std::string refusal(const eq::model_source& source, eq::error_code code) const {
    try {
      (void)run(source);
    } catch (const eq::exception& error) {
      EXPECT_EQ(error.code(), code);
      EXPECT_TRUE(is_one_line(error.what()));
      return error.what();
    }
    return "compressed";
  }
};

/// The bytes that a row-wise encoder makes of a whole tensor in GGUF's row order.
bytes encoded(const eq::model_tensor& tensor, format type, const eq::scale_choice& scale) {
  eq::row_encoder encode(type, scale, "t");
  const auto columns = tensor.stored.columns();
  bytes all, row(static_cast<std::size_t>(eq::row_bytes(type, columns)));
  std::vector<float> values(static_cast<std::size_t>(columns));
  for (std::uint64_t r = 0; r < tensor.stored.rows(); ++r) {
    eq::decode_row(tensor.stored.type, tensor.row(r).data(), values);
    encode(values, {}, 0, row.data());
    all.insert(all.end(), row.begin(), row.end());
  }
  return all;
}

bool same(std::span<const std::byte> a, std::span<const std::byte> b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end());
}

TEST_F(compress, writes_what_the_encoder_says) {
  const auto source = mixed();
  for (const auto type :
       {format::q4_0, format::q5_0, format::q8_0, format::f16, format::bf16, format::f32}) {
    options.type = type;
    const auto report = run(source);
    const auto file = eq::read_gguf(target());
    const auto plans = eq::plan_formats(source, type, {});
    ASSERT_EQ(file.tensors.size(), source.tensors.size());
    for (std::size_t i = 0; i < file.tensors.size(); ++i) {
      const auto& got = file.tensors[i];
      const auto& had = source.tensors[i];
      EXPECT_EQ(got.name, had.stored.name);
      EXPECT_EQ(got.dims, had.stored.dims);
      EXPECT_EQ(got.type, plans[i].type);
      EXPECT_EQ(report.tensors[i].type, got.type);
      EXPECT_EQ(report.tensors[i].bytes_after, got.data.size());
      if (got.name == "ids")
        EXPECT_TRUE(same(got.data, had.stored.data));
      else
        EXPECT_TRUE(same(got.data, encoded(had, got.type, options.scale))) << got.name;
    }
    EXPECT_EQ(report.file_bytes, fs::file_size(target()));
    EXPECT_EQ(file.metadata.get_string("general.architecture"), "unknown");
    EXPECT_EQ(file.metadata.get_uint("general.file_type"),
              static_cast<std::uint64_t>(eq::info_of(type).file_type));
    EXPECT_EQ(file.metadata.get_uint("general.quantization_version"), 2u);
  }
}

/// Columns that count more are rounded better, in each kind of block format; a number a column.
TEST_F(compress, importance_weighs_columns_by_name) {
  const auto source = model({f32_tensor("w", {64, 256}, gaussian(64 * 256, 7)),
                             f32_tensor("other", {4, 256}, gaussian(4 * 256, 8))});
  options.scale = eq::scale_rule::mse;
  std::vector<float> every_fourth(256, 0.01f);
  for (std::size_t i = 0; i < 256; i += 4) every_fourth[i] = 1;
  const eq::column_importance importance{{"w", every_fourth}};
  const auto errors = [&](bool weighed) { // of the columns that count
    options.importance = weighed ? &importance : nullptr;
    (void)run(source);
    const auto file = eq::read_gguf(target());
    double sum = 0;
    std::vector<float> now(256), was(256);
    for (std::uint64_t r = 0; r < 64; ++r) {
      eq::decode_row(file.tensors[0].type,
                     file.tensors[0].data.data() + r * eq::row_bytes(file.tensors[0].type, 256),
                     now);
      eq::decode_row(format::f32, source.tensors[0].row(r).data(), was);
      for (std::size_t i = 0; i < 256; i += 4) sum += std::pow(double{now[i]} - was[i], 2);
    }
    return sum;
  };
  for (const auto type : {format::q4_0, format::q4_k, format::q6_k, format::iq4_nl}) {
    options.type = type;
    EXPECT_LT(errors(true), 0.9 * errors(false)) << eq::name_of(type);
  }
  const eq::column_importance short_one{{"w", std::vector<float>(255, 1.0f)}};
  options.importance = &short_one;
  EXPECT_NE(refusal(source, eq::error_code::bad_argument).find("tensor 'w'"), std::string::npos);
}

TEST_F(compress, reports_totals_errors_and_notes) {
  const auto report = run(mixed());
  std::uint64_t before = 0, after = 0;
  eq::error_accumulator error;
  for (const auto& t : report.tensors) {
    before += t.bytes_before;
    after += t.bytes_after;
    error.merge(t.error);
    EXPECT_EQ(t.error.sums().count != 0, t.name != "ids") << t.name;
  }
  EXPECT_EQ(report.values, 520u * 2048 + 3 * 40000 + 70 * 33 + 768 + 100 + 1 + 3);
  EXPECT_EQ(report.bytes_before, 4 * (report.values - 3) + 3 * 8);
  EXPECT_EQ(before, report.bytes_before);
  EXPECT_EQ(after, report.bytes_after);
  EXPECT_EQ(report.error.figures().mse, error.figures().mse);
  EXPECT_EQ(report.error.sums().count, report.values - 3);
  EXPECT_EQ(report.notes, (std::vector<std::string>{
                              "no config.json beside the tensors: they keep their names, and no "
                              "engine will run the file",
                              "odd (70 x 33) becomes f16: its rows are no multiple of 32"}));
  const auto& big = report.tensors[0];
  EXPECT_EQ(big.type, format::q4_0);
  // Independently: the error of the bytes in the file.
  const auto file = eq::read_gguf(target());
  const auto values = gaussian(520 * 2048, 1);
  std::vector<float> decoded(values.size());
  eq::decode_row(format::q4_0, file.tensors[0].data.data(), decoded);
  double sum = 0;
  for (std::size_t i = 0; i < values.size(); ++i)
    sum += std::pow(double{values[i]} - double{decoded[i]}, 2);
  // Sums of n squares in double, in another order: relative n * 2^-53, and 2^-52 for each square.
  const auto n = static_cast<double>(values.size());
  EXPECT_NEAR(big.error.figures().mse / (sum / n), 1.0, 2 * n * 0x1p-53);
  EXPECT_TRUE(std::isinf(report.tensors[4].error.figures().sqnr_db)); // f32 stays f32
}

TEST_F(compress, gives_the_same_file_at_every_thread_count) {
  const auto source = mixed();
  options.scale = eq::scale_rule::mse;
  std::string first;
  double mse = 0;
  for (const unsigned threads : {1u, 2u, 4u, 0u}) {
    options.threads = threads;
    const auto report = run(source);
    if (first.empty()) {
      first = read_all(target());
      mse = report.error.figures().mse;
    }
    EXPECT_TRUE(read_all(target()) == first) << threads;
    EXPECT_EQ(report.error.figures().mse, mse) << threads;
  }
}

TEST_F(compress, copies_what_has_the_format_already) {
  options.type = format::q8_0;
  (void)run(mixed());
  fs::rename(target(), in / "q8.gguf");
  // The largest code need not be 127 under this rule: to encode again would change the bytes.
  options.scale = eq::scale_choice(eq::scale_rule::percentile, 90);
  const auto report = run(eq::open_model(in / "q8.gguf"));
  const auto a = eq::read_gguf(in / "q8.gguf"), b = eq::read_gguf(target());
  for (std::size_t i = 0; i < a.tensors.size(); ++i)
    EXPECT_TRUE(same(a.tensors[i].data, b.tensors[i].data)) << a.tensors[i].name;
  EXPECT_EQ(read_all(in / "q8.gguf"), read_all(target()));
  EXPECT_EQ(report.error.figures().max_error, 0.0);
}

TEST_F(compress, keeps_the_keys_of_a_gguf) {
  eq::gguf_metadata keys;
  keys.set("general.file_type", "wrong type");
  keys.set("general.alignment", std::uint32_t{64});
  keys.set("custom.key", 2.5);
  eq::model_source source{"m", keys, {{stored("w", {32, 2}), 0}, {stored("v", {3}), 0}}, {}};
  const auto report = run(source);
  const auto file = eq::read_gguf(target());
  EXPECT_EQ(file.metadata.get_uint("general.file_type"), 2u);
  EXPECT_EQ(file.metadata.get_float("custom.key"), 2.5);
  EXPECT_EQ(file.alignment, 64u);
  EXPECT_EQ(report.file_bytes, fs::file_size(target()));
}

TEST_F(compress, a_value_that_is_no_number_is_named_and_nothing_is_written) {
  write_all(target(), "old");
  const auto nan = std::numeric_limits<float>::quiet_NaN();
  for (const auto& [value, name] : {std::pair{nan, "NaN"}, {-INFINITY, "-infinity"}})
    for (const std::size_t index : {0u, 40000u, 99999u}) {
      auto values = gaussian(100000, 1);
      values[index] = value;
      const auto source = model(
          {f32_tensor("a", {64}, gaussian(64, 1)), f32_tensor("layer\n1", {1000, 100}, values)});
      for (const unsigned threads : {1u, 4u}) {
        options.threads = threads;
        EXPECT_EQ(refusal(source, eq::error_code::bad_value),
                  source.name + ": tensor 'layer\\x0a1': value at index " + std::to_string(index) +
                      " is " + name);
      }
    }
  EXPECT_EQ(read_all(target()), "old");
  EXPECT_EQ(files_in(out.path), 1u);
}

TEST_F(compress, the_first_of_several_bad_values_is_named_at_every_thread_count) {
  auto values = gaussian(1 << 18, 1);
  for (std::size_t i = 70001; i < values.size(); i += 1000) values[i] = INFINITY;
  const auto source = model({f32_tensor("w", {1 << 12, 64}, values)});
  for (const unsigned threads : {1u, 2u, 4u}) {
    options.threads = threads;
    EXPECT_EQ(refusal(source, eq::error_code::bad_value),
              source.name + ": tensor 'w': value at index 70001 is infinity");
  }
}

TEST_F(compress, a_value_beyond_the_format_is_named_and_leaves_nothing) {
  auto values = gaussian(520 * 2048, 1); // index 1064000 is in the second slab
  values[1064000] = 1e6f;
  auto source = model({f32_tensor("w", {520, 2048}, values)});
  options.type = format::f16;
  EXPECT_EQ(refusal(source, eq::error_code::bad_value),
            source.name +
                ": tensor 'w': value 1000000.000000 at index 1064000 is beyond the range of f16");
  values[1064001] = 1e7f; // 1e7 / 127 is above 65504
  source = model({f32_tensor("w", {520, 2048}, values)});
  options.type = format::q8_0;
  EXPECT_NE(refusal(source, eq::error_code::bad_value).find("the group at index 1064000 "),
            std::string::npos);
  EXPECT_EQ(files_in(out.path), 0u);
}

TEST_F(compress, a_double_beyond_float_is_refused) {
  const auto source = model({{"d", "F64", {2, 32}, bytes_from([] {
                                std::vector<double> v(64, 0.5);
                                v[33] = 1e39;
                                return v;
                              }())}});
  EXPECT_NE(refusal(source, eq::error_code::bad_value).find("index 33 "), std::string::npos);
}

TEST_F(compress, a_dry_run_checks_and_writes_nothing) {
  const auto source = mixed();
  const auto real = run(source);
  fs::remove(target());
  options.dry_run = true;
  const auto dry = run(source);
  EXPECT_EQ(files_in(out.path), 0u);
  EXPECT_EQ(dry.file_bytes, real.file_bytes);
  EXPECT_EQ(dry.bytes_after, real.bytes_after);
  EXPECT_EQ(dry.notes, real.notes);
  EXPECT_EQ(dry.error.sums().count, 0u);
  EXPECT_EQ(refusal(model({f32_tensor("w", {1}, {NAN})}), eq::error_code::bad_value),
            (in / "m.safetensors").string() + ": tensor 'w': value at index 0 is NaN");
}

TEST_F(compress, may_write_over_its_own_input) {
  const auto path = in / "m.safetensors";
  (void)run(mixed());
  const auto wanted = read_all(target());
  const auto source = eq::open_model(path);
  (void)eq::compress(source, path, options);
  EXPECT_TRUE(read_all(path) == wanted);
  EXPECT_EQ(files_in(in.path), 1u);
  (void)eq::compress(eq::open_model(path), path, options); // now it is a GGUF of that format
  EXPECT_TRUE(read_all(path) == wanted);
}

TEST_F(compress, puts_rope_rows_in_ggufs_order) {
  write_checkpoint(in.path, tiny_tensors(), tiny_config());
  options.type = format::f32;
  (void)run(eq::open_model(in.path));
  int moved = 0;
  for (const auto& t : eq::read_gguf(target()).tensors) {
    const auto values = floats_of(t.data);
    const bool rotated = t.name.ends_with("attn_q.weight") || t.name.ends_with("attn_k.weight");
    moved += rotated;
    for (std::uint64_t r = 0; r < t.rows(); ++r) {
      // Row h*16 + 2*i + j comes from h*16 + j*8 + i.
      const std::uint64_t from = rotated ? r / 16 * 16 + r % 2 * 8 + r % 16 / 2 : r;
      const bool vector = t.dims.size() == 1;
      ASSERT_EQ(values[r * t.columns()], vector ? 0.0f : static_cast<float>(from)) << t.name;
    }
  }
  EXPECT_EQ(moved, 4);
}

TEST_F(compress, reports_progress_to_the_end) {
  const auto source = model({f32_tensor("a\x1b", {4096, 512}, gaussian(4096 * 512, 1)),
                             f32_tensor("b", {32}, gaussian(32, 1))});
  const std::uint64_t total = (4096 * 512 + 32) * 4;
  std::string stage;
  std::uint64_t done = 0;
  int starts = 0;
  (void)eq::compress(source, target(), options, [&](const eq::progress& p) {
    EXPECT_EQ(p.total, total);
    EXPECT_TRUE(is_one_line(p.item)); // a terminal shows it
    if (p.stage != stage) {
      EXPECT_EQ(p.done, 0u);
      EXPECT_EQ(done, starts == 0 ? 0 : total);
      stage = p.stage;
      ++starts;
    } else {
      EXPECT_GE(p.done, done);
    }
    done = p.done;
  });
  EXPECT_EQ(starts, 2);
  EXPECT_EQ(stage, "quantize");
  EXPECT_EQ(done, total);
}

TEST_F(compress, a_model_without_tensors_is_a_file_without_tensors) {
  const auto report = run(model({}));
  EXPECT_EQ(eq::read_gguf(target()).tensors.size(), 0u);
  EXPECT_EQ(report.file_bytes, fs::file_size(target()));
  EXPECT_EQ(report.values, 0u);
}

TEST_F(compress, names_that_gguf_cannot_hold_are_refused) {
  EXPECT_NE(refusal(model({numbered(std::string(64, 'n'), {4})}), eq::error_code::bad_file)
                .find("a name of 64 bytes, at most 63 fit"),
            std::string::npos);
  eq::model_source twice{"m", {}, {{stored("w", {32, 2}), 0}, {stored("w", {32, 2}), 0}}, {}};
  EXPECT_EQ(refusal(twice, eq::error_code::bad_argument), "tensor 'w': the tensor is there twice");
  EXPECT_EQ(files_in(out.path), 0u);
}

TEST(format_shape, is_a_persons_order) {
  const std::uint64_t dims[] = {256, 512, 3};
  EXPECT_EQ(eq::format_shape(dims), "3 x 512 x 256");
  EXPECT_EQ(eq::format_shape(std::span(dims).first(1)), "256");
}
} // namespace
