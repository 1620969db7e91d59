#include "rudp/galois.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <functional>

#ifdef PORTOLAN_ISAL
#include <isa-l/erasure_code.h>
#endif
#if defined(__x86_64__)
#include <tmmintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace portolan::rudp::galois {

namespace {

constexpr std::uint8_t slow_multiply(unsigned a, unsigned b) noexcept {
  unsigned product = 0;
  for (; b != 0; b >>= 1) {
    if (b & 1) product ^= a;
    a = a & 0x80 ? (a << 1) ^ 0x11d : a << 1;
  }
  return static_cast<std::uint8_t>(product);
}

// The products of one factor with every low and every high half of a byte: a product is the sum of two of them.
struct Halves {
  std::array<std::uint8_t, 16> low{};
  std::array<std::uint8_t, 16> high{};

  constexpr std::uint8_t times(std::uint8_t value) const noexcept {
    return static_cast<std::uint8_t>(low[value & 0xf] ^ high[value >> 4]);
  }
};

constexpr std::array<Halves, 256> kHalves = [] {
  std::array<Halves, 256> table;
  for (unsigned factor = 0; factor < 256; ++factor) {
    for (unsigned half = 0; half < 16; ++half) {
      table[factor].low[half] = slow_multiply(factor, half);
      table[factor].high[half] = slow_multiply(factor, half << 4);
    }
  }
  return table;
}();

constexpr std::array<std::uint8_t, 256> kInverse = [] {
  std::array<std::uint8_t, 256> table{};
  std::array<std::uint8_t, 255> power{};  // of 2, which generates all but 0
  power[0] = 1;
  for (std::size_t i = 1; i < 255; ++i) power[i] = slow_multiply(power[i - 1], 2);
  for (std::size_t i = 0; i < 255; ++i) table[power[i]] = power[(255 - i) % 255];
  return table;
}();

void add(std::byte* target, std::span<const std::byte> source) noexcept {
  std::transform(source.begin(), source.end(), target, target, std::bit_xor{});
}

void add_by_halves(std::byte* target, const Halves& factor, std::span<const std::byte> source) noexcept {
  for (std::size_t i = 0; i < source.size(); ++i)
    target[i] ^= std::byte{factor.times(std::to_integer<std::uint8_t>(source[i]))};
}

void add_by_table(std::byte* target, const Halves& factor, std::span<const std::byte> source) noexcept {
  if (source.size() < 64) return add_by_halves(target, factor, source);
  std::array<std::uint8_t, 256> products;  // half the look-ups, for the price of 16 vectors
  for (std::size_t high = 0; high < 16; ++high)
    for (std::size_t low = 0; low < 16; ++low)
      products[high * 16 + low] = static_cast<std::uint8_t>(factor.high[high] ^ factor.low[low]);
  for (std::size_t i = 0; i < source.size(); ++i)
    target[i] ^= std::byte{products[std::to_integer<std::uint8_t>(source[i])]};
}

#if defined(__x86_64__)
[[gnu::target("ssse3")]] void add_by_shuffles(std::byte* target, const Halves& factor,
                                              std::span<const std::byte> source) noexcept {
  const auto load = [](const void* from)
                        __attribute__((target("ssse3"))) { return _mm_loadu_si128(static_cast<const __m128i*>(from)); };
  const __m128i low = load(factor.low.data());
  const __m128i high = load(factor.high.data());
  const __m128i mask = _mm_set1_epi8(0xf);
  std::size_t i = 0;
  for (; i + 16 <= source.size(); i += 16) {
    const __m128i value = load(&source[i]);
    const __m128i product = _mm_xor_si128(_mm_shuffle_epi8(low, _mm_and_si128(value, mask)),
                                          _mm_shuffle_epi8(high, _mm_and_si128(_mm_srli_epi64(value, 4), mask)));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(target + i), _mm_xor_si128(load(target + i), product));
  }
  add_by_halves(target + i, factor, source.subspan(i));
}
const bool kShuffles = __builtin_cpu_supports("ssse3");
#elif defined(__aarch64__)
void add_by_shuffles(std::byte* target, const Halves& factor, std::span<const std::byte> source) noexcept {
  const auto load = [](const std::byte* from) { return vld1q_u8(reinterpret_cast<const std::uint8_t*>(from)); };
  const uint8x16_t low = vld1q_u8(factor.low.data());
  const uint8x16_t high = vld1q_u8(factor.high.data());
  const uint8x16_t mask = vdupq_n_u8(0xf);
  std::size_t i = 0;
  for (; i + 16 <= source.size(); i += 16) {
    const uint8x16_t value = load(&source[i]);
    const uint8x16_t product = veorq_u8(vqtbl1q_u8(low, vandq_u8(value, mask)), vqtbl1q_u8(high, vshrq_n_u8(value, 4)));
    vst1q_u8(reinterpret_cast<std::uint8_t*>(target + i), veorq_u8(load(target + i), product));
  }
  add_by_halves(target + i, factor, source.subspan(i));
}
constexpr bool kShuffles = true;
#else
constexpr auto add_by_shuffles = add_by_table;
constexpr bool kShuffles = false;
#endif

void add_by_library(std::span<std::byte* const> targets, const std::uint8_t* factors,
                    std::span<const std::byte> source) noexcept {
#ifdef PORTOLAN_ISAL
  // It takes all as not const, and writes to the targets alone.
  std::array<std::uint8_t, 32 * kMostTargets> tables;
  const int rows = static_cast<int>(targets.size());
  ec_init_tables(1, rows, const_cast<std::uint8_t*>(factors), tables.data());
  ec_encode_data_update(static_cast<int>(source.size()), 1, rows, 0, tables.data(),
                        reinterpret_cast<unsigned char*>(const_cast<std::byte*>(source.data())),
                        reinterpret_cast<unsigned char**>(const_cast<std::byte**>(targets.data())));
#else
  static_cast<void>(targets), static_cast<void>(factors), static_cast<void>(source);
  assert(false);
#endif
}

}  // namespace

std::uint8_t multiply(std::uint8_t a, std::uint8_t b) noexcept { return kHalves[a].times(b); }

std::uint8_t inverse(std::uint8_t a) noexcept { return kInverse[a]; }

bool available(Way way) noexcept {
  switch (way) {
    case Way::tables: return true;
    case Way::shuffles: return kShuffles;
    case Way::library:
#ifdef PORTOLAN_ISAL
      return true;
#else
      return false;
#endif
  }
  return false;
}

Way chosen() noexcept {
#ifdef PORTOLAN_ISAL
  return Way::library;
#else
  return kShuffles ? Way::shuffles : Way::tables;
#endif
}

void add_multiples(Way way, std::span<std::byte* const> targets, const std::uint8_t* factors,
                   std::span<const std::byte> source) noexcept {
  assert(available(way) && targets.size() <= kMostTargets);
  if (targets.empty() || source.empty()) return;
  if (way == Way::library) return add_by_library(targets, factors, source);
  for (std::size_t i = 0; i < targets.size(); ++i) {
    if (factors[i] == 1)
      add(targets[i], source);
    else if (way == Way::shuffles)
      add_by_shuffles(targets[i], kHalves[factors[i]], source);
    else
      add_by_table(targets[i], kHalves[factors[i]], source);
  }
}

void add_multiples(std::span<std::byte* const> targets, const std::uint8_t* factors,
                   std::span<const std::byte> source) noexcept {
  add_multiples(chosen(), targets, factors, source);
}

std::string_view to_string(Way way) noexcept {
  switch (way) {
    case Way::tables: return "tables";
    case Way::shuffles: return "shuffles";
    case Way::library: return "libisal";
  }
  return {};
}

}  // namespace portolan::rudp::galois
