// SPDX-License-Identifier: MIT
/// Halves, steps and codes of a block of least squared error, for formats whose groups share what
/// stores their scales.
#pragma once

#include "group_search.hpp"

#include <optional>

namespace edgequant::inline EDGEQUANT_ABI {

namespace quantizer::detail {

/// Moves a half by one place in the order of its magnitudes; nothing at the ends.
[[nodiscard]] inline std::optional<half> next_half(half x, int direction) noexcept {
  const auto bits = Eigen::numext::bit_cast<std::uint16_t>(x);
  const int magnitude = (bits & 0x7fff) + direction;
  if (magnitude < 0 || magnitude >= 0x7c00) return std::nullopt;
  return Eigen::numext::bit_cast<half>(static_cast<std::uint16_t>((bits & 0x8000) | magnitude));
}

} // namespace quantizer::detail

/// Finds a block whose sum of c (x - value)^2 no other half, single step of a scale or minimum, or
/// code makes less: a local optimum, reached from the best of many first guesses. Guesses are
/// compared in float, results in double, both in a fixed order: it is the same on every machine.
/// An object is scratch memory for one thread.
class block_search {
public:
  explicit block_search(const block_layout& layout) : f_(layout) {}

  /// Finite values, as many as a block has, and their importance, finite and not negative; null or
  /// zeros throughout: all count the same. False where a scale is beyond what the format can store.
  [[nodiscard]] bool operator()(const float* values, const float* importance, encoded_block& block);

  /// Steps of group g anew, from the free optimum on, where the halves of the block are given.
  void refit(const float* values, const float* importance, std::size_t g, encoded_block& block);

private:
  static constexpr std::size_t lanes = quantizer::detail::group_search::lanes;
  using guesses = quantizer::detail::group_search::guesses;

  [[nodiscard]] double scale_of(const encoded_block& block, std::size_t g) const noexcept {
    const double step = step_value(f_.unit, block.scale_steps[g]);
    return has_half_ ? static_cast<double>(static_cast<float>(block.scale)) * step : step;
  }
  [[nodiscard]] static double minimum_of(const encoded_block& block, std::size_t g) noexcept {
    return static_cast<double>(static_cast<float>(block.minimum)) * block.minimum_steps[g];
  }
  [[nodiscard]] double error_of(const encoded_block& block, std::size_t g,
                                kernel::group_sums* sums = nullptr) const noexcept {
    return groups_.error_at(g, scale_of(block, g), minimum_of(block, g), sums);
  }
  static void set_steps(encoded_block& block, std::size_t g, int scale, int minimum) noexcept {
    block.scale_steps[g] = static_cast<std::int16_t>(scale);
    block.minimum_steps[g] = static_cast<std::uint8_t>(minimum);
  }
  [[nodiscard]] double total(const encoded_block& block, double limit) const noexcept;

  [[nodiscard]] bool first_guess(encoded_block& block);
  void guess_halves(encoded_block& block);
  void place(std::size_t g, encoded_block& block) const;
  struct neighbours {
    std::array<std::pair<int, int>, lanes> steps; ///< of scale and minimum
    std::array<float, lanes> errors;
    std::size_t count = 0;
  };
  [[nodiscard]] neighbours near(std::size_t g, const encoded_block& block) const;
  [[nodiscard]] float step_to_best(std::size_t g, encoded_block& block) const;
  double descend(std::size_t g, encoded_block& block) const;
  double descend_all(encoded_block& block) const;
  [[nodiscard]] bool fit_halves(encoded_block& block, double& error) const;
  [[nodiscard]] bool move_halves(encoded_block& block, double& error) const;
  [[nodiscard]] std::array<float, lanes> errors_of_halves(const encoded_block& block,
                                                          half encoded_block::*member,
                                                          std::array<half, lanes>& halves) const;

  block_layout f_;
  std::size_t count_ = f_.groups();
  bool has_half_ = f_.unit == scale_unit::half_of_block;
  bool has_minimum_ = f_.has_minimum(), has_steps_ = f_.has_steps();
  quantizer::detail::group_search groups_{f_};
  quantizer::detail::free_scale free_[encoded_block::most_groups];
};

inline bool block_search::operator()(const float* values, const float* importance,
                                     encoded_block& block) {
  groups_.take(values, importance);
  for (std::size_t g = 0; g < count_; ++g) free_[g] = groups_.find(g);
  block = {};
  if (!first_guess(block)) return false;
  double error = descend_all(block);
  for (bool moved = has_half_; moved;) {
    moved = fit_halves(block, error);
    moved |= move_halves(block, error);
    if (moved && has_steps_) error = descend_all(block);
  }
  for (std::size_t g = 0; g < count_; ++g)
    groups_.codes_at(g, scale_of(block, g), minimum_of(block, g),
                     block.codes + g * f_.group_length);
  return true;
}

inline void block_search::refit(const float* values, const float* importance, std::size_t g,
                                encoded_block& block) {
  groups_.take(values, importance);
  free_[g] = groups_.find(g);
  place(g, block);
  (void)descend(g, block);
}

/// The error of a block, or more than `limit`.
inline double block_search::total(const encoded_block& block, double limit) const noexcept {
  double error = 0;
  for (std::size_t g = 0; g < count_ && error <= limit; ++g) error += error_of(block, g);
  return error;
}

inline bool block_search::first_guess(encoded_block& block) {
  if (!has_half_) {
    for (std::size_t g = 0; g < count_; ++g) place(g, block);
    const float largest =
        step_value(f_.unit, f_.highest_step) * static_cast<float>(f_.highest_code);
    return std::all_of(groups_.values(), groups_.values() + f_.block_length,
                       [&](float x) { return std::fabs(x) <= largest; });
  }
  if (has_steps_) {
    guess_halves(block);
  } else {
    block.scale = static_cast<half>(free_[0].scale);
    block.minimum = static_cast<half>(free_[0].minimum);
    block.scale_steps[0] = static_cast<std::int16_t>(f_.lowest_step);
    block.minimum_steps[0] = static_cast<std::uint8_t>(f_.lowest_minimum);
  }
  return is_finite(static_cast<float>(block.scale)) && is_finite(static_cast<float>(block.minimum));
}

/// The group with the largest scale has the last step, or one a little before it; the same with
/// minimums. Scales are tried first.
inline void block_search::guess_halves(encoded_block& block) {
  constexpr int tries = 8;
  float widest = 0, deepest = 0;
  for (std::size_t g = 0; g < count_; ++g) {
    if (std::fabs(free_[g].scale) > std::fabs(widest)) widest = free_[g].scale;
    deepest = std::max(deepest, free_[g].minimum);
  }
  const int end = f_.lowest_step < 0 ? f_.lowest_step : f_.highest_step;
  const auto half_for = [](float value, int last, int i) {
    const int stride = std::max(1, std::abs(last) / 32);
    const int step = last > 0 ? std::max(1, last - stride * i) : last + stride * i;
    return static_cast<half>(value / static_cast<float>(step));
  };
  float best = std::numeric_limits<float>::infinity();
  encoded_block trial;
  const auto attempt = [&] {
    if (!is_finite(static_cast<float>(trial.scale))) return;
    float error = 0;
    for (std::size_t g = 0; g < count_ && error < best; ++g) {
      place(g, trial);
      error += step_to_best(g, trial);
    }
    if (error < best) best = error, block = trial;
  };
  block.scale = half_for(widest, end, 0); // what is refused where it is infinite
  if (has_minimum_) block.minimum = half_for(deepest, f_.highest_minimum, 0);
  trial.minimum = block.minimum;
  for (int i = 0; i < tries; ++i) {
    trial.scale = half_for(widest, end, i);
    attempt();
  }
  trial.scale = block.scale;
  for (int i = 1; has_minimum_ && i < tries; ++i) {
    trial.minimum = half_for(deepest, f_.highest_minimum, i);
    attempt();
  }
}

/// The steps next to the free optimum.
inline void block_search::place(std::size_t g, encoded_block& block) const {
  if (!has_half_) {
    int step = f_.lowest_step;
    while (step < f_.highest_step && step_value(f_.unit, step + 1) <= free_[g].scale) ++step;
    block.scale_steps[g] = static_cast<std::int16_t>(step);
    return;
  }
  const auto nearest = [](float value, half unit, int lowest, int highest) {
    const double u = static_cast<float>(unit);
    const double steps = u == 0 ? 0 : value / u;
    return std::nearbyint(
        std::clamp(steps, static_cast<double>(lowest), static_cast<double>(highest)));
  };
  block.scale_steps[g] = static_cast<std::int16_t>(
      nearest(free_[g].scale, block.scale, f_.lowest_step, f_.highest_step));
  block.minimum_steps[g] = static_cast<std::uint8_t>(
      nearest(free_[g].minimum, block.minimum, f_.lowest_minimum, f_.highest_minimum));
}

/// The pairs of steps near those of a group, all that one vector compares: up to two of the scale
/// away without a minimum, else one of the scale and two of the minimum. The present pair is first.
inline block_search::neighbours block_search::near(std::size_t g,
                                                   const encoded_block& block) const {
  neighbours result;
  guesses at;
  const float unit = has_half_ ? static_cast<float>(block.scale) : 1.0f;
  const float minimum_unit = static_cast<float>(block.minimum);
  const int scale = block.scale_steps[g], minimum = block.minimum_steps[g];
  const int far = has_minimum_ ? 1 : 2, deep = has_minimum_ ? 2 : 0;
  const auto add = [&](int s, int m) {
    if (s < f_.lowest_step || s > f_.highest_step || m < f_.lowest_minimum ||
        m > f_.highest_minimum)
      return;
    result.steps[result.count] = {s, m};
    at.scales[result.count] = unit * step_value(f_.unit, s); // exact
    at.minimums[result.count++] = minimum_unit * static_cast<float>(m);
  };
  add(scale, minimum);
  for (int s = scale - far; s <= scale + far; ++s)
    for (int m = minimum - deep; m <= minimum + deep; ++m)
      if (s != scale || m != minimum) add(s, m);
  result.errors = groups_.compare(g, at);
  return result;
}

/// Moves the steps of a group to the best pair near them, by float. Returns its error in float.
inline float block_search::step_to_best(std::size_t g, encoded_block& block) const {
  const auto n = near(g, block);
  const auto least = static_cast<std::size_t>(
      std::min_element(n.errors.begin(), n.errors.begin() + n.count) - n.errors.begin());
  set_steps(block, g, n.steps[least].first, n.steps[least].second);
  return n.errors[least];
}

/// Moves the steps of a group as long as the best pair near them gains. Where float says that it
/// does not, every pair that float cannot tell from the present one is compared in double: the
/// errors of a sum are below 2^-12 of it, and of what a value of 1 has at 2^-22.
inline double block_search::descend(std::size_t g, encoded_block& block) const {
  double error = error_of(block, g);
  for (bool moved = has_steps_; moved;) {
    moved = false;
    const auto n = near(g, block);
    const float most = n.errors[0] * (1 + 0x1p-12f) + 0x1p-40f;
    std::size_t best = 0;
    for (std::size_t i = 1; i < n.count; ++i) {
      if (n.errors[i] > most) continue;
      set_steps(block, g, n.steps[i].first, n.steps[i].second);
      if (const double e = error_of(block, g); e < error) error = e, best = i, moved = true;
    }
    set_steps(block, g, n.steps[best].first, n.steps[best].second);
  }
  return error;
}

inline double block_search::descend_all(encoded_block& block) const {
  double error = 0;
  for (std::size_t g = 0; g < count_; ++g) error += descend(g, block);
  return error;
}

/// Both halves by least squares at the present codes and steps.
inline bool block_search::fit_halves(encoded_block& block, double& error) const {
  using quantizer::detail::times;
  double square = 0, mixed = 0, weight = 0, cross = 0, weighted = 0;
  for (std::size_t g = 0; g < count_; ++g) {
    kernel::group_sums sums;
    (void)error_of(block, g, &sums);
    const double s = step_value(f_.unit, block.scale_steps[g]), m = block.minimum_steps[g];
    square += times(s * s, sums.square), mixed += times(s * m, sums.linear);
    weight += times(m * m, groups_.weight(g));
    cross += times(s, sums.cross), weighted += times(m, groups_.weighted(g));
  }
  double scale = 0, minimum = 0;
  const double determinant = times(square, weight) - times(mixed, mixed);
  if (has_minimum_ && determinant > 0) {
    scale = (times(cross, weight) - times(weighted, mixed)) / determinant;
    minimum = (times(scale, mixed) - weighted) / weight;
  } else if (square > 0) {
    minimum = static_cast<float>(block.minimum);
    scale = (cross + times(minimum, mixed)) / square;
  }
  encoded_block trial = block;
  trial.scale = static_cast<half>(static_cast<float>(scale));
  trial.minimum = static_cast<half>(static_cast<float>(minimum));
  if (!is_finite(static_cast<float>(trial.scale)) || !is_finite(static_cast<float>(trial.minimum)))
    return false;
  const double now = total(trial, error);
  if (!(now < error)) return false;
  error = now, block = trial;
  return true;
}

/// Moves one half after the other as long as that gains: to the best by float of those near it, or
/// else by one place.
inline bool block_search::move_halves(encoded_block& block, double& error) const {
  bool any = false;
  for (half encoded_block::*member : {&encoded_block::scale, &encoded_block::minimum}) {
    if (member == &encoded_block::minimum && !has_minimum_) continue;
    for (bool moved = true; moved; any |= moved) {
      moved = false;
      std::array<half, lanes> halves;
      const auto errors = errors_of_halves(block, member, halves);
      const auto least =
          static_cast<std::size_t>(std::min_element(errors.begin(), errors.end()) - errors.begin());
      encoded_block trial = block;
      for (const std::size_t i : {least, std::size_t{1}, std::size_t{9}}) {
        trial.*member = halves[i];
        if (const double now = total(trial, error); now < error) {
          error = now, block.*member = halves[i], moved = true;
          break;
        }
      }
    }
  }
  return any;
}

/// Errors of a block with other halves, the present one first, then up to eight places up and
/// seven down.
inline std::array<float, block_search::lanes>
block_search::errors_of_halves(const encoded_block& block, half encoded_block::*member,
                               std::array<half, lanes>& halves) const {
  halves.fill(block.*member);
  for (std::size_t i = 1; i < lanes; ++i) {
    const int away = i <= 8 ? static_cast<int>(i) : 8 - static_cast<int>(i);
    if (const auto moved = quantizer::detail::next_half(block.*member, away)) halves[i] = *moved;
  }
  std::array<float, lanes> sums{}, moved;
  for (std::size_t i = 0; i < lanes; ++i) moved[i] = static_cast<float>(halves[i]);
  const bool is_scale = member == &encoded_block::scale;
  const float scale = static_cast<float>(block.scale), minimum = static_cast<float>(block.minimum);
  for (std::size_t g = 0; g < count_; ++g) {
    guesses at;
    const auto s = static_cast<float>(block.scale_steps[g]),
               m = static_cast<float>(block.minimum_steps[g]);
    for (std::size_t i = 0; i < lanes; ++i) {
      at.scales[i] = (is_scale ? moved[i] : scale) * s; // exact, as the minimum
      at.minimums[i] = (is_scale ? minimum : moved[i]) * m;
    }
    const auto errors = groups_.compare(g, at);
    for (std::size_t i = 0; i < lanes; ++i) sums[i] += errors[i];
  }
  return sums;
}

} // namespace edgequant::inline EDGEQUANT_ABI
