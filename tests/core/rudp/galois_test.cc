#include "rudp/galois.h"

#include <array>
#include <random>
#include <string>
#include <vector>

#include "support/cmocka.h"

using namespace portolan::rudp;

namespace {

constexpr std::array kWays{galois::Way::tables, galois::Way::shuffles, galois::Way::library};

// By the definition: the product of two polynomials, reduced.
std::uint8_t product(unsigned a, unsigned b) {
  unsigned all = 0;
  for (unsigned bit = 0; bit < 8; ++bit)
    if (b >> bit & 1) all ^= a << bit;
  for (unsigned bit = 14; bit >= 8; --bit)
    if (all >> bit & 1) all ^= 0x11dU << (bit - 8);
  return static_cast<std::uint8_t>(all);
}

void products_and_inverses_are_those_of_the_field(void**) {
  for (unsigned a = 0; a < 256; ++a)
    for (unsigned b = 0; b < 256; ++b)
      assert_int_equal(galois::multiply(static_cast<std::uint8_t>(a), static_cast<std::uint8_t>(b)), product(a, b));
  assert_int_equal(galois::inverse(0), 0);
  for (unsigned a = 1; a < 256; ++a) assert_int_equal(product(a, galois::inverse(static_cast<std::uint8_t>(a))), 1);
}

// Every length, at addresses of every alignment, and nothing beside it.
void every_way_adds_the_same_multiples(void**) {
  constexpr std::size_t kGuard = 16;
  std::mt19937 random(1);
  std::size_t ways = 0;
  for (const galois::Way way : kWays) {
    if (!galois::available(way)) continue;
    ++ways;
    for (std::size_t size = 0; size <= 1500; size += size < 200 ? 1 : 97) {
      const std::size_t count = size % (galois::kMostTargets + 1);
      const std::size_t shift = size % 17;
      std::vector<std::byte> source(shift + size);
      for (std::byte& value : source) value = static_cast<std::byte>(random());
      std::vector<std::vector<std::byte>> targets(count, std::vector<std::byte>(shift + size + kGuard));
      std::vector<std::uint8_t> factors(count);
      std::vector<std::byte*> pointers(count);
      for (std::size_t i = 0; i < count; ++i) {
        for (std::byte& value : targets[i]) value = static_cast<std::byte>(random());
        factors[i] = static_cast<std::uint8_t>(i < 2 ? i : random());
        pointers[i] = targets[i].data() + shift;
      }
      auto expected = targets;
      for (std::size_t i = 0; i < count; ++i)
        for (std::size_t at = shift; at < source.size(); ++at)
          expected[i][at] ^= std::byte{product(factors[i], std::to_integer<unsigned>(source[at]))};
      galois::add_multiples(way, pointers, factors.data(), std::span(source).subspan(shift));
      if (targets != expected) fail_msg("%s: %zu bytes", std::string(to_string(way)).c_str(), size);
    }
  }
  assert_true(ways >= 1 && galois::available(galois::chosen()));
}

// All products, 256 at a time.
void every_way_knows_every_product(void**) {
  std::array<std::byte, 256> source;
  for (unsigned i = 0; i < 256; ++i) source[i] = static_cast<std::byte>(i);
  for (const galois::Way way : kWays) {
    if (!galois::available(way)) continue;
    for (unsigned factor = 0; factor < 256; ++factor) {
      std::array<std::byte, 256> target{};
      std::byte* const targets[] = {target.data()};
      const std::uint8_t factors[] = {static_cast<std::uint8_t>(factor)};
      galois::add_multiples(way, targets, factors, source);
      for (unsigned i = 0; i < 256; ++i) assert_int_equal(std::to_integer<unsigned>(target[i]), product(factor, i));
    }
  }
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test(products_and_inverses_are_those_of_the_field),
      cmocka_unit_test(every_way_adds_the_same_multiples),
      cmocka_unit_test(every_way_knows_every_product),
  };
  return cmocka_run_group_tests_name("core.rudp.galois", tests, nullptr, nullptr);
}
