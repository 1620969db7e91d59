// The three algorithms behind one interface, against a clock that the test moves.
#include "limits/limiter.h"

#include <thread>
#include <vector>

#include "support/cmocka.h"

using namespace portolan;
using namespace std::chrono_literals;

namespace {

constexpr LimitAlgorithm kAll[] = {LimitAlgorithm::token_bucket, LimitAlgorithm::fixed_window,
                                   LimitAlgorithm::sliding_window};
constexpr Duration kStart = 1000s;  // the beginning of a window of any length used here

// How many of `count` asked for at this moment pass.
int pass(const Limiter& limiter, LimitState& state, Duration now, int count) {
  int passed = 0;
  for (int i = 0; i < count; ++i) passed += limiter.take(state, now, 1) == 0s;
  return passed;
}

void each_lets_its_burst_through_and_then_waits(void**) {
  for (const LimitAlgorithm algorithm : kAll) {
    const Limiter limiter(algorithm, 10, 2s);
    LimitState state{};
    assert_int_equal(pass(limiter, state, kStart, 100), 20);
    const Duration wait = limiter.wait(state, kStart);
    assert_true(wait > 0s);
    assert_true(limiter.take(state, kStart, 1) == wait);
    // The wait is the whole of it, and no more than that.
    assert_int_equal(pass(limiter, state, kStart + wait - 2ns, 1), 0);
    assert_true(pass(limiter, state, kStart + wait, 100) > 0);
  }
}

void what_passes_around_the_turn_of_a_window(void**) {
  const Duration before = kStart + 990ms;
  const Duration after = kStart + 1015ms;
  // 25 ms apart: twice the limit by a fixed window, and by the others what those 25 ms allow.
  const auto passed = [&](LimitAlgorithm algorithm) {
    const Limiter limiter(algorithm, 100, 1s);
    LimitState state{};
    return pass(limiter, state, before, 1000) + pass(limiter, state, after, 1000);
  };
  assert_int_equal(passed(LimitAlgorithm::fixed_window), 200);
  assert_int_equal(passed(LimitAlgorithm::sliding_window), 101);
  assert_int_equal(passed(LimitAlgorithm::token_bucket), 102);
}

void a_sliding_window_gives_back_what_leaves_its_view(void**) {
  const Limiter limiter(LimitAlgorithm::sliding_window, 100, 1s);
  LimitState state{};
  assert_int_equal(pass(limiter, state, kStart + 100ms, 40), 40);
  assert_int_equal(pass(limiter, state, kStart + 1250ms, 1000), 70);  // 100 - 40 * 0.75
  assert_int_equal(pass(limiter, state, kStart + 1500ms, 1000), 10);  // 100 - 40 * 0.5 - 70
  assert_int_equal(pass(limiter, state, kStart + 1999ms, 1000), 19);
  assert_int_equal(pass(limiter, state, kStart + 2500ms, 1000), 50);  // of 99 the half
  assert_int_equal(pass(limiter, state, kStart + 4s, 1000), 100);     // a window without any between
}

void the_long_run_keeps_the_rate(void**) {
  for (const LimitAlgorithm algorithm : kAll) {
    const Limiter limiter(algorithm, 100, 1s);
    LimitState state{};
    int passed = 0;
    for (int i = 0; i < 20'000; ++i) passed += pass(limiter, state, kStart + i * 500us, 1);
    assert_in_range(passed, 990, 1101);  // 10 s
  }
}

// Asked again exactly when it was told to, as a stream that is delayed does.
void waiting_as_told_is_enough(void**) {
  for (const LimitAlgorithm algorithm : kAll) {
    for (const double cost : {1.0, 3.0, 70.0, 1000.0}) {
      const Limiter limiter(algorithm, 40, 500ms);
      LimitState state{};
      Duration now = kStart + 123ms;
      double taken = 0;
      for (int asked = 0; asked < 100; ++asked) {
        if (const Duration wait = limiter.take(state, now, cost); wait > 0s) {
          now += wait;
          assert_true(limiter.take(state, now, cost) == 0s);
        }
        taken += cost;
      }
      // A message over the limit is a debt, which is paid whole. The last is not paid yet, nor is what passes at once.
      const double seconds = std::chrono::duration<double>(now - kStart - 123ms).count();
      assert_true(taken - cost - 2 * 20 <= seconds * 40 + 1);
      assert_true(taken + 2 * 20 >= seconds * 40 - 1);
    }
  }
}

void what_has_happened_can_be_charged(void**) {
  for (const LimitAlgorithm algorithm : kAll) {
    const Limiter limiter(algorithm, 1000, 1s);
    LimitState state{};
    assert_true(limiter.forgotten(state, kStart));
    limiter.charge(state, kStart, 600);
    assert_true(limiter.wait(state, kStart) == 0s);
    assert_false(limiter.forgotten(state, kStart));
    limiter.charge(state, kStart, 4400);
    assert_true(limiter.wait(state, kStart) > 3900ms);
    assert_true(limiter.wait(state, kStart) < 5100ms);
    assert_false(limiter.forgotten(state, kStart + 4900ms));
    assert_true(limiter.forgotten(state, kStart + 7s));
    // Beyond what can be counted there is a very long wait, and no overflow.
    limiter.charge(state, kStart, 1e300);
    assert_true(limiter.wait(state, kStart) > 24h);
  }
}

// A worker's clock is that of the start of its callback, which may be long ago.
void a_clock_that_lags_brings_nothing_back(void**) {
  for (const LimitAlgorithm algorithm : kAll) {
    const Limiter limiter(algorithm, 10, 100ms);
    LimitState state{};
    assert_int_equal(pass(limiter, state, kStart + 1050ms, 10), 1);
    assert_int_equal(pass(limiter, state, kStart, 10), 0);
    assert_int_equal(pass(limiter, state, kStart + 1050ms, 10), 0);
  }
}

void threads_together_get_no_more_than_the_limit(void**) {
  for (const LimitAlgorithm algorithm : kAll) {
    const Limiter limiter(algorithm, 1000, 1s);
    LimitState state{};
    std::atomic<int> passed{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) threads.emplace_back([&] { passed += pass(limiter, state, kStart + 500ms, 2000); });
    for (auto& thread : threads) thread.join();
    assert_int_equal(passed.load(), 1000);
  }
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test(each_lets_its_burst_through_and_then_waits),
      cmocka_unit_test(what_passes_around_the_turn_of_a_window),
      cmocka_unit_test(a_sliding_window_gives_back_what_leaves_its_view),
      cmocka_unit_test(the_long_run_keeps_the_rate),
      cmocka_unit_test(waiting_as_told_is_enough),
      cmocka_unit_test(what_has_happened_can_be_charged),
      cmocka_unit_test(a_clock_that_lags_brings_nothing_back),
      cmocka_unit_test(threads_together_get_no_more_than_the_limit),
  };
  return cmocka_run_group_tests_name("core.limits.limiter", tests, nullptr, nullptr);
}
