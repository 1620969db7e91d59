#include "rudp/replay_window.h"

#include <algorithm>
#include <random>
#include <set>

#include "support/cmocka.h"

using namespace portolan::rudp;

namespace {

constexpr std::uint64_t kSize = ReplayWindow::kSize;
constexpr std::uint64_t kLast = (std::uint64_t{1} << 62) - 1;

void each_number_is_accepted_once(void**) {
  ReplayWindow window;
  for (std::uint64_t number = 0; number < 3 * kSize; ++number) {
    assert_true(window.is_new(number));
    assert_true(window.accept(number));
    assert_false(window.is_new(number));
    assert_false(window.accept(number));
  }
}

void it_reaches_back_over_all_its_size_and_no_further(void**) {
  assert_true(kSize >= 2048);
  for (const std::uint64_t newest : {std::uint64_t{4031}, std::uint64_t{4032}, std::uint64_t{100000}, kLast}) {
    ReplayWindow window;
    assert_true(window.accept(newest));
    assert_true(window.accept(newest - (kSize - 1)));
    assert_false(window.accept(newest - (kSize - 1)));
    if (newest >= kSize) assert_false(window.accept(newest - kSize));
    if (newest > kSize) assert_false(window.accept(0));
    // All between are there, once.
    for (std::uint64_t back = 1; back < kSize - 1; ++back) assert_true(window.accept(newest - back));
    for (std::uint64_t back = 0; back < kSize; ++back) assert_false(window.accept(newest - back));
  }
}

void a_jump_forgets_what_lies_behind_and_nothing_else(void**) {
  ReplayWindow window;
  for (std::uint64_t number = 0; number < 200; ++number) assert_true(window.accept(number));
  assert_true(window.accept(kSize + 100));
  assert_false(window.accept(100));  // too old by one
  for (std::uint64_t number = 101; number < 200; ++number) assert_false(window.accept(number));
  for (std::uint64_t number = 200; number < kSize + 100; ++number) assert_true(window.accept(number));
  assert_true(window.accept(kLast));
  assert_false(window.accept(kSize + 101));
  assert_true(window.accept(kLast - 1));
}

void it_does_what_a_set_of_all_numbers_does(void**) {
  std::mt19937_64 random(1);
  for (int round = 0; round < 20; ++round) {
    ReplayWindow window;
    std::set<std::uint64_t> seen;
    std::uint64_t end = 0;
    for (int i = 0; i < 20000; ++i) {
      const std::uint64_t reach = random() % 64 == 0 ? 3 * kSize : 200;
      const std::uint64_t number = end + random() % reach - std::min(end, random() % (reach + kSize));
      const bool expected = !seen.contains(number) && (number >= end || end - number <= kSize);
      assert_true(window.is_new(number) == expected);
      assert_true(window.accept(number) == expected);
      seen.insert(number);
      end = std::max(end, number + 1);
    }
  }
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test(each_number_is_accepted_once),
      cmocka_unit_test(it_reaches_back_over_all_its_size_and_no_further),
      cmocka_unit_test(a_jump_forgets_what_lies_behind_and_nothing_else),
      cmocka_unit_test(it_does_what_a_set_of_all_numbers_does),
  };
  return cmocka_run_group_tests_name("core.rudp.replay_window", tests, nullptr, nullptr);
}
