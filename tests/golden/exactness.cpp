// SPDX-License-Identifier: MIT
// One small program that hashes results of every kind: built at -O0 and -O3, with contraction and
// without, by every compiler, for every instruction set. Each build must print the stored hashes.
//   exactness           compares and exits 1 on the first difference
//   exactness --print   prints the table below anew: for a change that is a decision
#include <edgequant/metric/error.hpp>
#include <edgequant/quantizer/plain.hpp>
#include <edgequant/quantizer/row_codec.hpp>

#include "../random_blocks.hpp"

#include <cstdio>
#include <cstring>
#include <map>

namespace eq = edgequant;

namespace {

/// Hashes of tests/golden/exactness.cpp, by result.
const std::map<std::string, std::uint64_t> golden = {
#include "exactness.inc"
};

/// FNV-1a of the bytes of trivial values.
class hasher {
public:
  template <class T> void add(const T* values, std::size_t count) {
    unsigned char byte = 0;
    for (std::size_t i = 0; i < count * sizeof(T); ++i) {
      std::memcpy(&byte, reinterpret_cast<const unsigned char*>(values) + i, 1);
      state_ = (state_ ^ byte) * 0x100000001b3u;
    }
  }
  template <class T> void add(const T& value) { add(&value, 1); }
  [[nodiscard]] std::uint64_t value() const { return state_; }

private:
  std::uint64_t state_ = 0xcbf29ce484222325u;
};

using random_blocks::generator;

/// Bell-shaped values from integers, ties on a lattice, outliers, tiny values and zeros.
eq::matrix_f make_input(int kind, int rows, int cols) {
  generator random{static_cast<std::uint64_t>(kind + 1)};
  eq::matrix_f m(rows, cols);
  for (Eigen::Index i = 0; i < m.size(); ++i) {
    std::int64_t sum = 0;
    for (int k = 0; k < 8; ++k) sum += static_cast<std::int64_t>(random() >> 44) - (1 << 19);
    float x = static_cast<float>(sum) * 0x1p-26f;
    if (kind == 1) x = static_cast<float>(static_cast<int>(random() % 31) - 15) * 0.125f;
    if (kind == 2 && random() % 50 == 0) x *= 1000.0f;
    if (kind == 3) x *= 0x1p-18f;
    if (kind == 4 && random() % 4 != 0) x = random() % 2 == 0 ? 0.0f : -0.0f;
    m.data()[i] = x;
  }
  return m;
}

template <class F>
void add_matrix(std::map<std::string, std::uint64_t>& out, const std::string& name,
                const eq::matrix_f& w, const eq::scale_choice& rule,
                std::span<const float> importance) {
  const auto q = importance.empty() ? eq::quantize<F>(w, {.scale = rule})
                                    : eq::quantize_weighted<F>(w, importance, {.scale = rule});
  const eq::matrix_f back = q.dequantize();
  hasher h;
  const auto& storage = q.storage();
  if constexpr (eq::block_format<F>) {
    h.add(storage.blocks.data(), storage.blocks.size());
  } else {
    h.add(storage.codes.data(), storage.codes.size());
    h.add(storage.scales.data(), storage.scales.size());
  }
  h.add(back.data(), static_cast<std::size_t>(back.size()));
  for (const auto& row : eq::measure_rows(w, q)) h.add(row.sums());
  out[name] = h.value();
}

std::map<std::string, std::uint64_t> compute() {
  std::map<std::string, std::uint64_t> out;
  const char* kinds[] = {"bell", "lattice", "outliers", "tiny", "sparse"};
  for (int kind = 0; kind < 5; ++kind) {
    const auto w = make_input(kind, 3, 556);
    std::vector<float> importance(556);
    generator random{77};
    for (float& c : importance) c = static_cast<float>(random() % 1000) * 0.37f;
    for (const auto rule :
         {eq::scale_rule::absmax, eq::scale_rule::signed_max, eq::scale_rule::ggml,
          eq::scale_rule::percentile, eq::scale_rule::mse}) {
      const auto add = [&]<class F>(const char* format, F) {
        const std::string name =
            std::string(kinds[kind]) + "/" + format + "/" + eq::to_string(rule);
        add_matrix<F>(out, name, w, rule, {});
        if (rule == eq::scale_rule::mse)
          add_matrix<F>(out, name + "/weighted", w, rule, importance);
      };
      add("q8_0", eq::q8_0{});
      add("q5_0", eq::q5_0{});
      add("q4_0", eq::q4_0{});
      add("int8_per_channel", eq::symmetric<8, eq::per_channel>{});
      add("int4_per_tensor", eq::symmetric<4, eq::per_tensor, eq::half>{}); // 1668 values: the grid
      add("int4_groups_of_50", eq::symmetric<4, 50, float>{});
    }
    for (const auto type : {eq::format::f16, eq::format::bf16}) {
      eq::row_encoder encode(type, {}, "golden");
      std::vector<std::byte> bytes(eq::row_bytes(type, 556));
      std::vector<float> back(556);
      hasher h;
      for (Eigen::Index r = 0; r < w.rows(); ++r) {
        encode(eq::row_of(w, r), {}, 0, bytes.data());
        eq::decode_row(type, bytes.data(), back);
        h.add(bytes.data(), bytes.size());
        h.add(back.data(), back.size());
      }
      out[std::string(kinds[kind]) + "/" + std::string(eq::name_of(type))] = h.value();
    }
    const auto codes = eq::quantize_int4({w.data(), 97}).codes;
    hasher h;
    for (const auto order : {eq::nibble_order::interleaved, eq::nibble_order::split_half}) {
      const auto packed = eq::pack_int4(codes, order);
      h.add(packed.data(), packed.size());
    }
    out[std::string(kinds[kind]) + "/nibbles"] = h.value();
  }
  // Values of stored formats; the hashes are those of ggml's to_float on the same bytes.
  const auto add_stored = [&]<class F>(F) {
    hasher h;
    for (const auto& block : random_blocks::make<F>(40, 9)) {
      float values[F::block_length];
      eq::decode_block<F>(block, values);
      h.add(values, F::block_length);
    }
    out["stored/" + std::string(eq::name_of(F::id))] = h.value();
  };
  [&]<class... F>(eq::coded_list<F...>) { (add_stored(F{}), ...); }(eq::stored_formats{});
  // Blocks that the search makes, with columns that count the same and that do not.
  const auto add_encoded = [&](const char* kind, const eq::format_row& row, const float* w,
                               std::span<const float> importance) {
    eq::row_encoder encode(row.id, eq::scale_rule::mse, "golden");
    std::vector<std::byte> bytes(eq::row_bytes(row.id, 512));
    encode({w, 512}, importance, 0, bytes.data());
    hasher h;
    h.add(bytes.data(), bytes.size());
    out[std::string(kind) + "/" + std::string(row.name) + (importance.empty() ? "" : "/weighted")] =
        h.value();
  };
  for (int kind = 0; kind < 5; ++kind) {
    const auto w = make_input(kind, 1, 512);
    std::vector<float> importance(512);
    generator random{78};
    for (float& c : importance) c = static_cast<float>(random() % 1000) * 0.37f;
    for (const auto& row : eq::format_table) {
      if (row.use != eq::format_use::writable || eq::visit_block_format(row.id, [](auto) {}) ||
          !eq::find_layout(row.id))
        continue;
      add_encoded(kinds[kind], row, w.data(), {});
      add_encoded(kinds[kind], row, w.data(), importance);
    }
  }
  return out;
}

} // namespace

int main(int argc, char** argv) {
  const auto results = compute();
  if (argc > 1 && std::string_view(argv[1]) == "--print") {
    for (const auto& [name, hash] : results)
      std::printf("{\"%s\", 0x%016llx},\n", name.c_str(), static_cast<unsigned long long>(hash));
    return 0;
  }
  if (results == golden) {
    std::printf("%zu hashes as stored (%s)\n", results.size(), eq::simd::native::name.data());
    return 0;
  }
  for (const auto& [name, hash] : results) {
    const auto stored = golden.find(name);
    if (stored == golden.end() || stored->second != hash)
      std::printf("differs: %s\n", name.c_str());
  }
  return 1;
}
