// SPDX-License-Identifier: MIT
// Writes our INT4 weights as ONNX Runtime's MatMulNBits wants them, with activations and the
// product of the dequantized weights. onnxruntime.mjs runs them.
//   matmul_nbits FOLDER
// Source of the layout: ONNX Runtime's operator documentation, com.microsoft.MatMulNBits. B is
// [N][blocks of a row][block / 2 bytes], code 2i in the low nibble of byte i and 2i + 1 in the high
// one, each as code + 8 (the default zero point); scales are [N][blocks of a row].
#include <edgequant/quantizer/quantized_matrix.hpp>

#include <nlohmann/json.hpp>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <random>

namespace eq = edgequant;
namespace fs = std::filesystem;

namespace {

template <class T> void write(const fs::path& path, const std::vector<T>& values) {
  std::ofstream out(path, std::ios::binary);
  out.write(reinterpret_cast<const char*>(values.data()),
            static_cast<std::streamsize>(values.size() * sizeof(T)));
  if (!out.flush()) throw std::runtime_error("cannot write " + path.string());
}

eq::matrix_f gaussian(Eigen::Index rows, Eigen::Index cols, float deviation, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, deviation);
  eq::matrix_f m(rows, cols);
  for (float* x = m.data(); x != m.data() + m.size(); ++x) *x = normal(random);
  return m;
}

/// Our rows of packed codes, with the last block of each row filled up with codes of 0. Adding 8 to
/// a code of two's complement flips its highest bit.
template <std::size_t Block>
std::vector<std::uint8_t> packed_codes(const eq::quantized_matrix<eq::symmetric<4, Block>>& w) {
  const auto& s = w.storage();
  const std::size_t padded = s.groups_per_row * Block / 2;
  std::vector<std::uint8_t> bytes(w.rows() * padded, 0x88);
  for (std::size_t r = 0; r < w.rows(); ++r)
    for (std::size_t i = 0; i < s.code_bytes_per_row; ++i)
      bytes[r * padded + i] = s.codes[r * s.code_bytes_per_row + i] ^ 0x88;
  return bytes;
}

template <std::size_t Block>
nlohmann::json write_case(const fs::path& folder, Eigen::Index n, Eigen::Index k,
                          eq::scale_rule rule) {
  const auto quantized =
      eq::quantize<eq::symmetric<4, Block>>(gaussian(n, k, 0.02f, 1), {.scale = rule});
  const eq::matrix_f a = gaussian(5, k, 1.0f, 2), w = quantized.dequantize();

  // The product in double, and how far a product in float may be from it. Each term w x passes at
  // most K + 3 roundings to float: code * scale (or a block's sum * scale), w * x, and at most K +
  // 1 additions. Each is a factor of 1 + e, |e| <= 2^-24, and (1 + 2^-24)^(K + 3) - 1 <= K 2^-23
  // for 4 <= K <= 2^20. In any order, then, the sum is off by at most K 2^-23 sum |w x|. What
  // double adds is 2^-29 of that.
  std::vector<double> product, bound;
  for (Eigen::Index i = 0; i < a.rows(); ++i)
    for (Eigen::Index j = 0; j < n; ++j) {
      double sum = 0, magnitudes = 0;
      for (Eigen::Index p = 0; p < k; ++p) {
        const double term = static_cast<double>(a(i, p)) * static_cast<double>(w(j, p));
        sum += term, magnitudes += std::fabs(term);
      }
      product.push_back(sum);
      bound.push_back(static_cast<double>(k) * 0x1p-23 * magnitudes);
    }

  const std::string name =
      "block" + std::to_string(Block) + "_k" + std::to_string(k) + "_" + eq::to_string(rule);
  const fs::path base = folder / name;
  write(base.string() + ".codes", packed_codes(quantized));
  write(base.string() + ".scales", quantized.storage().scales);
  write(base.string() + ".activations", std::vector<float>(a.data(), a.data() + a.size()));
  write(base.string() + ".product", product);
  write(base.string() + ".bound", bound);
  return {{"name", name}, {"M", a.rows()}, {"N", n}, {"K", k}, {"block", Block}};
}

} // namespace

int main(int argc, char** argv) {
  if (argc != 2) return std::cerr << "usage: matmul_nbits FOLDER\n", 1;
  const fs::path folder = argv[1];
  fs::create_directories(folder);
  nlohmann::json cases;
  for (const auto rule :
       {eq::scale_rule::absmax, eq::scale_rule::signed_max, eq::scale_rule::mse}) {
    cases.push_back(write_case<32>(folder, 96, 256, rule));
    cases.push_back(write_case<128>(folder, 96, 256, rule));
    cases.push_back(write_case<32>(folder, 96, 200, rule));  // 200 = 6 * 32 + 8: a tail
    cases.push_back(write_case<128>(folder, 96, 203, rule)); // and one of an odd length
  }
  std::ofstream(folder / "cases.json") << cases.dump(1);
}
