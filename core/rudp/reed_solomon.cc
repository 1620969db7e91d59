#include "rudp/reed_solomon.h"

#include "rudp/galois.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>

namespace portolan::rudp::reed_solomon {

namespace {

using galois::inverse;
using galois::multiply;

static_assert(kMostRepairs <= galois::kMostTargets);
static_assert(kMostSources == 64, "a bit of `missing` for each, and points of their own beside those of the repairs");

// The points of the Cauchy matrix, all different.
constexpr std::uint8_t point_of_source(std::size_t index) noexcept { return static_cast<std::uint8_t>(index); }
constexpr std::uint8_t point_of_repair(std::size_t index) noexcept {
  return static_cast<std::uint8_t>(kMostSources + index);
}
// What column `source` is multiplied with, so that its first row is 1.
constexpr std::uint8_t scale(std::size_t source) noexcept { return point_of_repair(0) ^ point_of_source(source); }

using Factors = std::array<std::uint8_t, kMostRepairs>;

}  // namespace

std::uint8_t factor(std::size_t repair, std::size_t source) noexcept {
  return multiply(scale(source), inverse(point_of_repair(repair) ^ point_of_source(source)));
}

void add_source(std::size_t index, std::span<const std::byte> source, std::span<std::byte* const> repairs) noexcept {
  assert(index < kMostSources && repairs.size() <= kMostRepairs);
  Factors factors;
  for (std::size_t i = 0; i < repairs.size(); ++i) factors[i] = factor(i, index);
  galois::add_multiples(repairs, factors.data(), source);
}

void recover(std::span<const std::span<std::byte>> sources, std::uint64_t missing, std::span<const Repair> repairs,
             std::size_t size) noexcept {
  const std::size_t count = repairs.size();
  assert(count <= kMostRepairs && count == static_cast<std::size_t>(std::popcount(missing)));
  std::array<std::byte*, kMostRepairs> sums;  // the repairs, from which the sources that are there are taken away
  for (std::size_t j = 0; j < count; ++j) sums[j] = repairs[j].bytes;

  std::array<std::byte*, kMostRepairs> lost;
  std::array<std::uint8_t, kMostRepairs> y;  // their points
  std::size_t found = 0;
  Factors factors;
  for (std::size_t i = 0; i < sources.size(); ++i) {
    if (missing >> i & 1) {
      lost[found] = sources[i].data();
      y[found++] = point_of_source(i);
      std::fill_n(sources[i].begin(), size, std::byte{});
      continue;
    }
    for (std::size_t j = 0; j < count; ++j) factors[j] = factor(repairs[j].index, i);
    galois::add_multiples({sums.data(), count}, factors.data(), sources[i]);
  }
  assert(found == count);

  // The inverse of a Cauchy matrix needs no elimination: its element for source i and repair j is P(j) Q(i) / (x_j +
  // y_i), where P(j) = Π (x_j + y_k) / Π' (x_j + x_k), Q(i) = Π (x_k + y_i) / Π' (y_i + y_k), Π over all k and Π'
  // without k = j or i (Knuth, TAOCP 1, section 1.2.3, exercise 41). The scale of a column becomes one of a row.
  std::array<std::uint8_t, kMostRepairs> x;
  for (std::size_t j = 0; j < count; ++j) x[j] = point_of_repair(repairs[j].index);
  const auto ratio = [count](std::uint8_t point, const auto& others, const auto& own) {
    std::uint8_t over = 1, under = 1;
    for (std::size_t k = 0; k < count; ++k) {
      over = multiply(over, point ^ others[k]);
      if (own[k] != point) under = multiply(under, point ^ own[k]);
    }
    return multiply(over, inverse(under));
  };
  Factors of_row;
  for (std::size_t i = 0; i < count; ++i) of_row[i] = multiply(ratio(y[i], x, y), inverse(scale(y[i])));
  for (std::size_t j = 0; j < count; ++j) {
    const std::uint8_t of_column = ratio(x[j], y, x);
    for (std::size_t i = 0; i < count; ++i) factors[i] = multiply(multiply(of_row[i], of_column), inverse(x[j] ^ y[i]));
    galois::add_multiples({lost.data(), count}, factors.data(), {sums[j], size});
  }
}

}  // namespace portolan::rudp::reed_solomon
