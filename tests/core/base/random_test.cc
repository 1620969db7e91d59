#include "base/random.h"

#include <algorithm>
#include <array>

#include "support/cmocka.h"

using namespace portolan;

namespace {

// More than the kernel promises to give at once.
void all_of_it_is_filled_and_never_twice_the_same(void**) {
  std::array<std::byte, 4096> first{};
  std::array<std::byte, 4096> second{};
  random_bytes(first);
  random_bytes(second);
  assert_memory_not_equal(first.data(), second.data(), first.size());
  for (std::size_t at = 0; at < first.size(); at += 32) {
    const auto part = std::span(first).subspan(at, 32);
    assert_false(std::ranges::all_of(part, [](std::byte byte) { return byte == std::byte{0}; }));
  }
  random_bytes({});
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {cmocka_unit_test(all_of_it_is_filled_and_never_twice_the_same)};
  return cmocka_run_group_tests_name("core.base.random", tests, nullptr, nullptr);
}
