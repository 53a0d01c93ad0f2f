// SPDX-License-Identifier: MIT
/// Inputs that quantizers get wrong: ties, signed zeros, extremes, odd sizes, odd addresses.
#pragma once

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

namespace inputs {

/// Sanitizers are slow, and other builds run the same tests: of many like cases some will do.
#if defined(__SANITIZE_ADDRESS__)
inline constexpr bool sanitized = true;
#else
inline constexpr bool sanitized = false;
#endif

/// Every kind of finite input. `Gaussian` first, so that index 0 is the plain case.
enum kind { gaussian, ties, signed_zeros, extremes, outliers, subnormals, kinds };

inline std::vector<float> make(kind k, std::size_t count, unsigned seed = 1) {
  std::mt19937 random(seed * 7919u + static_cast<unsigned>(k));
  std::normal_distribution<float> normal(0.0f, 0.02f);
  std::uniform_int_distribution<int> pick(0, 999);
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i) {
    const int p = pick(random);
    const float sign = p % 2 == 0 ? 1.0f : -1.0f;
    switch (k) {
    case gaussian:
      values[i] = normal(random);
      break;
    case ties:
      values[i] = sign * (static_cast<float>(p % 9) + 0.5f) * 0.25f;
      break;
    case signed_zeros:
      values[i] = p % 3 == 0 ? normal(random) : sign * 0.0f;
      break;
    case extremes:
      values[i] = sign * (p % 4 == 0 ? 60000.0f * static_cast<float>(p % 7)
                                     : std::ldexp(1.0f, p % 30 - 15));
      break;
    case outliers:
      values[i] = normal(random) * (p < 20 ? 300.0f : 1.0f);
      break;
    default:
      values[i] = sign * std::numeric_limits<float>::denorm_min() * static_cast<float>(p);
      break;
    }
  }
  return values;
}

/// `count` elements at an address that is aligned to nothing but T, between guard bytes.
template <class T> class guarded {
public:
  explicit guarded(std::size_t count)
      : bytes_((count + 3) * sizeof(T) + guard, canary), count_(count) {}
  T* data() { return reinterpret_cast<T*>(bytes_.data() + offset()); }
  /// Whether nothing outside the elements was written.
  bool intact() const {
    for (std::size_t i = 0; i < bytes_.size(); ++i) {
      const bool inside = i >= offset() && i < offset() + count_ * sizeof(T);
      if (!inside && bytes_[i] != canary) return false;
    }
    return true;
  }

private:
  static constexpr std::size_t guard = 64;
  static constexpr unsigned char canary = 0xc5;
  static constexpr std::size_t offset() { return sizeof(T); }
  std::vector<unsigned char> bytes_;
  std::size_t count_;
};

/// Equal bytes, so that -0.0 differs from 0.0.
template <class T> bool same_bits(const T* a, const T* b, std::size_t count) {
  return count == 0 || std::memcmp(a, b, count * sizeof(T)) == 0;
}

} // namespace inputs
