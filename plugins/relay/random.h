// A small random generator and the mixing function in it: SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom
// number generators", OOPSLA 2014). Not for secrets.
//
// A value of eight bytes; whoever uses it owns it, on one thread.
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>

namespace portolan::relay {

// Every bit of the answer depends on every bit of `value`.
constexpr std::uint64_t mix(std::uint64_t value) noexcept {
  value = (value ^ (value >> 30U)) * 0xbf58476d1ce4e5b9U;
  value = (value ^ (value >> 27U)) * 0x94d049bb133111ebU;
  return value ^ (value >> 31U);
}

// 0 <= answer < 1, from the upper 53 bits, which is what a double holds.
constexpr double unit(std::uint64_t bits) noexcept { return static_cast<double>(bits >> 11U) * 0x1p-53; }

class Random {
 public:
  explicit constexpr Random(std::uint64_t seed) noexcept : state_(seed) {}
  // A sequence of its own for each stream of a seed.
  static constexpr Random of(std::uint64_t seed, std::uint64_t stream) noexcept {
    return Random(Random(seed).next() ^ Random(stream).next());
  }

  constexpr std::uint64_t next() noexcept { return mix(state_ += 0x9e3779b97f4a7c15U); }
  constexpr double unit() noexcept { return relay::unit(next()); }
  constexpr bool chance(double probability) noexcept { return unit() < probability; }
  // 0 <= answer < bound; 0 for a bound of 0. The bias of the remainder is bound / 2^64.
  constexpr std::uint64_t below(std::uint64_t bound) noexcept { return bound == 0 ? 0 : next() % bound; }
  // Of the standard normal distribution (Box and Muller, 1958).
  double normal() noexcept {
    const double radius = std::sqrt(-2 * std::log(1 - unit()));
    return radius * std::cos(2 * std::numbers::pi * unit());
  }

 private:
  std::uint64_t state_;
};

}  // namespace portolan::relay
