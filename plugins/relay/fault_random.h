// Numbers that decide what a fault does: the same seed makes the same ones, on every machine. Not for secrets.
//
// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014; constants of its
// reference implementation by Vigna): eight bytes of state, and any seed is a good one.
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>

namespace portolan::relay {

class Random {
 public:
  explicit constexpr Random(std::uint64_t seed) noexcept : state_(seed) {}

  // A sequence of its own for each stream of a seed.
  static constexpr Random of(std::uint64_t seed, std::uint64_t stream) noexcept {
    Random mixed(seed);
    return Random(mixed.next() ^ Random(stream).next());
  }

  constexpr std::uint64_t next() noexcept {
    state_ += 0x9e3779b97f4a7c15U;
    std::uint64_t mixed = state_;
    mixed = (mixed ^ (mixed >> 30U)) * 0xbf58476d1ce4e5b9U;
    mixed = (mixed ^ (mixed >> 27U)) * 0x94d049bb133111ebU;
    return mixed ^ (mixed >> 31U);
  }

  // 0 <= x < 1, in steps of 2^-53.
  constexpr double unit() noexcept { return static_cast<double>(next() >> 11U) * 0x1p-53; }
  constexpr bool chance(double probability) noexcept { return unit() < probability; }
  // 0..count-1; count is at most 2^53.
  constexpr std::int64_t below(std::int64_t count) noexcept {
    return static_cast<std::int64_t>(unit() * static_cast<double>(count));
  }
  // Of the standard normal distribution (Box and Muller, 1958).
  double normal() noexcept {
    const double radius = std::sqrt(-2 * std::log(1 - unit()));
    return radius * std::cos(2 * std::numbers::pi * unit());
  }

 private:
  std::uint64_t state_;
};

}  // namespace portolan::relay
