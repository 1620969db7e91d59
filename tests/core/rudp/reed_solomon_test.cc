#include "rudp/reed_solomon.h"

#include <algorithm>
#include <bit>
#include <cstdio>
#include <random>
#include <string>
#include <vector>

#include "support/cmocka.h"

using namespace portolan::rudp;
using reed_solomon::kMostRepairs;
using reed_solomon::kMostSources;

namespace {

using Bytes = std::vector<std::byte>;

std::vector<Bytes> repairs_of(const std::vector<Bytes>& sources, std::size_t count, std::size_t size) {
  std::vector<Bytes> repairs(count, Bytes(size));
  std::vector<std::byte*> pointers;
  for (Bytes& repair : repairs) pointers.push_back(repair.data());
  for (std::size_t i = sources.size(); i-- > 0;) reed_solomon::add_source(i, sources[i], pointers);
  return repairs;
}

// Loses the sources in `missing`, and recovers them by the repairs in `used`.
void check_recovery(const std::vector<Bytes>& sources, const std::vector<Bytes>& repairs, std::size_t size,
                    std::uint64_t missing, std::uint32_t used) {
  std::vector<Bytes> received = sources;
  std::vector<Bytes> spent = repairs;
  std::vector<std::span<std::byte>> spans;
  for (std::size_t i = 0; i < received.size(); ++i) {
    if (missing >> i & 1) received[i].assign(size, std::byte{0xee});
    spans.emplace_back(received[i]);
  }
  std::vector<reed_solomon::Repair> taken;
  for (std::size_t j = 0; j < spent.size(); ++j)
    if (used >> j & 1) taken.push_back({j, spent[j].data()});
  std::ranges::reverse(taken);
  reed_solomon::recover(spans, missing, taken, size);
  for (std::size_t i = 0; i < received.size(); ++i) {
    Bytes expected = sources[i];
    if (missing >> i & 1) expected.resize(size);
    if (received[i] != expected) fail_msg("source %zu: missing %llx, repairs %x", i, 0ULL + missing, used);
  }
}

std::vector<Bytes> some_sources(std::mt19937& random, std::size_t count, std::size_t size) {
  std::vector<Bytes> sources(count);
  for (Bytes& source : sources) {
    source.resize(random() % (size + 1));
    for (std::byte& value : source) value = static_cast<std::byte>(random());
  }
  return sources;
}

// From reed_solomon_vectors.py.
void repairs_are_those_of_the_definition(void**) {
  constexpr std::size_t kSize = 24;
  struct {
    std::size_t repair;
    const char* symbol;
  } const vectors[] = {
      {0, "40000080c0008000c0000080c0008000c0000080c0000000"},  {1, "43bb084a810853cfe97f166d05aa20fab5e6808908281f32"},
      {2, "b6de0b9728c3556d397f3a2578d7dd2da7596b733e7faad3"},  {7, "04e9c10cda21f0a0e7e95efc0de9950569a7ec7c888c894a"},
      {31, "6be67e18e0114504e494e1df06972bab2967599d447d5b12"},
  };
  std::vector<Bytes> sources(kMostSources, Bytes(kSize));
  for (std::size_t source = 0; source < kMostSources; ++source)
    for (std::size_t at = 0; at < kSize; ++at)
      sources[source][at] = static_cast<std::byte>(source * 89 + at * 151 + source * at * 7 + 31);
  const auto repairs = repairs_of(sources, kMostRepairs, kSize);
  for (const auto& vector : vectors) {
    std::string text;
    for (const std::byte value : repairs[vector.repair]) {
      char digits[3];
      std::snprintf(digits, sizeof digits, "%02x", std::to_integer<unsigned>(value));
      text += digits;
    }
    assert_string_equal(text.c_str(), vector.symbol);
  }
}

void the_first_repair_is_the_parity(void**) {
  for (std::size_t source = 0; source < kMostSources; ++source) assert_int_equal(reed_solomon::factor(0, source), 1);
}

void every_pattern_of_losses_of_small_blocks_is_recovered(void**) {
  std::mt19937 random(2);
  for (std::size_t count = 1; count <= 6; ++count) {
    for (std::size_t repair_count = 1; repair_count <= 5; ++repair_count) {
      constexpr std::size_t kSize = 21;
      const auto sources = some_sources(random, count, kSize);
      const auto repairs = repairs_of(sources, repair_count, kSize);
      for (std::uint64_t missing = 0; missing < 1U << count; ++missing)
        for (std::uint32_t used = 0; used < 1U << repair_count; ++used)
          if (std::popcount(missing) == std::popcount(used)) check_recovery(sources, repairs, kSize, missing, used);
    }
  }
}

void random_losses_of_large_blocks_are_recovered(void**) {
  std::mt19937 random(3);
  const auto some_of = [&random](std::size_t all, std::size_t count) {
    std::uint64_t bits = 0;
    while (static_cast<std::size_t>(std::popcount(bits)) < count) bits |= std::uint64_t{1} << random() % all;
    return bits;
  };
  for (int round = 0; round < 60; ++round) {
    const std::size_t size = 1 + random() % 1500;
    const std::size_t count = round % 4 ? 1 + random() % kMostSources : kMostSources;
    const auto sources = some_sources(random, count, size);
    const auto repairs = repairs_of(sources, kMostRepairs, size);
    const std::size_t losses = round % 4 ? random() % (std::min(count, kMostRepairs) + 1) : kMostRepairs;
    check_recovery(sources, repairs, size, some_of(count, losses),
                   static_cast<std::uint32_t>(some_of(kMostRepairs, losses)));
  }
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test(repairs_are_those_of_the_definition),
      cmocka_unit_test(the_first_repair_is_the_parity),
      cmocka_unit_test(every_pattern_of_losses_of_small_blocks_is_recovered),
      cmocka_unit_test(random_losses_of_large_blocks_are_recovered),
  };
  return cmocka_run_group_tests_name("core.rudp.reed_solomon", tests, nullptr, nullptr);
}
