// SPDX-License-Identifier: MIT
/// What codec_fuzz.cpp and search_fuzz.cpp do twice: once with the native backend, once with
/// scalar. Both translation units include this file, so everything in it is theirs alone.
#pragma once

#include <edgequant/metric/error.hpp>
#include <edgequant/quantizer/plain.hpp>
#include <edgequant/quantizer/row_codec.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace fuzz {

/// Plain types only: the enumerations of the library belong to one instruction set.
struct codec_input {
  unsigned kind = 0;     ///< what is done, see run_codec()
  unsigned rule = 0;     ///< of scale_rule
  double percentile = 0; ///< for that rule, in (0, 100]
  std::span<const float> values;
  std::span<const float> importance; ///< none, or one a value
  std::span<const std::byte> bytes;  ///< for kinds that begin with stored bytes
};

/// Everything that came out: equal means bit for bit.
struct codec_output {
  std::string refusal; ///< of an edgequant::exception
  std::vector<std::byte> stored;
  std::vector<std::int8_t> codes;
  std::vector<float> scales, decoded;
  std::vector<double> sums;
};

inline constexpr unsigned decode_kind = 8; ///< of codec_input: arbitrary bytes are decoded

[[nodiscard]] codec_output run_native(const codec_input& input);
[[nodiscard]] codec_output run_scalar(const codec_input& input);

namespace {

namespace eq = edgequant;

void add_sums(codec_output& out, const eq::error_sums& s) {
  for (const double x : {static_cast<double>(s.count), s.signal, s.noise, s.absolute,
                         s.approximation, s.product, s.largest})
    out.sums.push_back(x);
}

/// One row through a format of files and back.
void run_row(eq::format type, const codec_input& in, const eq::scale_choice& choice,
             codec_output& out) {
  const std::size_t block = eq::info_of(type).block_length;
  const auto row = in.values.first(in.values.size() / block * block);
  const auto importance = in.importance.empty() ? in.importance : in.importance.first(row.size());
  out.stored.resize(eq::row_bytes(type, row.size()));
  eq::row_encoder encode(type, choice, "row");
  encode(row, importance, 0, out.stored.data());
  out.decoded.resize(row.size());
  eq::decode_row(type, out.stored.data(), out.decoded);
  add_sums(out, eq::kernel::sum_errors(row, std::span<const float>(out.decoded)));
}

/// One scale for all, and 4-bit codes packed in both orders.
void run_plain(bool narrow, const codec_input& in, const eq::scale_choice& choice,
               codec_output& out) {
  auto q = narrow ? eq::quantize_int4(in.values, choice) : eq::quantize_int8(in.values, choice);
  out.scales = {q.scale};
  out.decoded = eq::dequantize_int8(q.codes, q.scale);
  add_sums(out, eq::kernel::sum_errors(in.values, std::span<const std::int8_t>(q.codes), q.scale));
  if (narrow)
    for (const auto order : {eq::nibble_order::interleaved, eq::nibble_order::split_half}) {
      const auto packed = eq::pack_int4(q.codes, order);
      const auto raw = std::as_bytes(std::span(packed));
      out.stored.insert(out.stored.end(), raw.begin(), raw.end());
      if (eq::unpack_int4(packed, q.codes.size(), order) != q.codes)
        out.refusal = "unpacked codes differ";
    }
  out.codes = std::move(q.codes);
}

/// A matrix of a few rows; the storage through its own bytes.
template <class F>
void run_matrix(const codec_input& in, const eq::scale_choice& choice, codec_output& out) {
  const std::size_t cols = std::min<std::size_t>(in.values.size(), 40);
  const std::size_t rows = cols == 0 ? 0 : in.values.size() / cols;
  eq::matrix_f weights(static_cast<Eigen::Index>(rows), static_cast<Eigen::Index>(cols));
  std::copy_n(in.values.data(), rows * cols, weights.data());
  const auto importance = in.importance.empty() ? in.importance : in.importance.first(cols);
  const eq::quantize_options options{choice, "matrix", 1};
  // Under the other rules the rows' importance must not count, and the matrix takes none.
  const bool weighted = !importance.empty() && choice.rule == eq::scale_rule::mse;
  const auto q = weighted ? eq::quantize_weighted<F>(weights, importance, options)
                          : eq::quantize<F>(weights, options);
  const auto& storage = q.storage();
  for (const auto s : storage.scales) out.scales.push_back(static_cast<float>(s));
  const auto raw = std::as_bytes(std::span(storage.codes));
  out.stored.assign(raw.begin(), raw.end());
  const eq::matrix_f decoded = q.dequantize();
  out.decoded.assign(decoded.data(), decoded.data() + rows * cols);
}

/// Arbitrary bytes as a row of every readable format: any scale, any code, NaN and infinity.
void run_decode(const codec_input& in, codec_output& out) {
  for (const auto& row : eq::format_table) {
    if (row.use == eq::format_use::carried) continue;
    const std::size_t blocks = in.bytes.size() / row.block_bytes;
    std::vector<float> values(blocks * row.block_length);
    eq::decode_row(row.id, in.bytes.data(), values);
    out.decoded.insert(out.decoded.end(), values.begin(), values.end());
  }
}

[[maybe_unused]] codec_output run_codec(const codec_input& in) {
  codec_output out;
  const eq::scale_choice choice(static_cast<eq::scale_rule>(in.rule), in.percentile);
  try {
    switch (in.kind) {
    case 0:
      run_row(eq::format::q8_0, in, choice, out);
      break;
    case 1:
      run_row(eq::format::q4_0, in, choice, out);
      break;
    case 2:
      run_row(eq::format::f16, in, choice, out);
      break;
    case 3:
      run_row(eq::format::bf16, in, choice, out);
      break;
    case 4:
      run_plain(false, in, choice, out);
      break;
    case 5:
      run_plain(true, in, choice, out);
      break;
    case 6:
      run_matrix<eq::symmetric<4, 32>>(in, choice, out);
      break;
    case 7:
      run_matrix<eq::symmetric<8, eq::per_channel, eq::half>>(in, choice, out);
      break;
    case 9:
      run_row(eq::format::q5_0, in, choice, out);
      break;
    default:
      run_decode(in, out);
    }
  } catch (const eq::exception& error) {
    out = {};
    out.refusal = error.what();
  }
  return out;
}

} // namespace
} // namespace fuzz
