#include "limits/rate_limit.h"

#include "support/cmocka.h"

#include <thread>
#include <vector>

using namespace portolan;
using namespace std::chrono_literals;

namespace {

constexpr Duration kStart = 1000s;

void a_second_of_tokens_is_there_at_once(void**) {
  const RateLimit limit(5);
  RateState state{0};
  for (int i = 0; i < 5; ++i) assert_true(limit.take(state, kStart, 1) == Duration::zero());
  const Duration wait = limit.take(state, kStart, 1);
  assert_true(wait > 0ms && wait <= 201ms);
  assert_true(limit.take(state, kStart + wait, 1) == Duration::zero());
  assert_true(limit.take(state, kStart + wait, 1) > Duration::zero());
}

void a_slow_rate_holds_one_token(void**) {
  const RateLimit limit(0.5);
  RateState state{0};
  assert_true(limit.take(state, kStart, 1) == Duration::zero());
  assert_true(limit.take(state, kStart + 1900ms, 1) > Duration::zero());
  assert_true(limit.take(state, kStart + 2001ms, 1) == Duration::zero());
}

void a_large_message_is_a_debt(void**) {
  const RateLimit limit(1000);
  RateState state{0};
  assert_true(limit.take(state, kStart, 5000) == Duration::zero());
  const Duration wait = limit.take(state, kStart, 1);
  assert_true(wait > 3900ms && wait < 4100ms);
}

void the_long_run_keeps_the_rate(void**) {
  const RateLimit limit(100);
  RateState state{0};
  int taken = 0;
  for (int i = 0; i < 10'000; ++i)
    if (limit.take(state, kStart + i * 1ms, 1) == Duration::zero()) ++taken;
  assert_in_range(taken, 1095, 1101);  // 10 s at 100/s and the full bucket at the start
}

void zero_is_no_limit(void**) {
  assert_false(RateLimit(0).limited());
  assert_false(RateLimit().limited());
  assert_true(RateLimit(0.01).limited());
}

void an_endless_debt_stays_inside_the_numbers(void**) {
  const RateLimit limit(0.000001);
  RateState state{0};
  assert_true(limit.take(state, kStart, 1e18) == Duration::zero());
  assert_true(limit.take(state, kStart, 1) > Duration::zero());
  assert_true(state.load() > 0);
}

void threads_together_get_no_more_than_the_rate(void**) {
  const RateLimit limit(1000);
  RateState state{0};
  std::atomic<int> taken{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 2000; ++i)
        if (limit.take(state, kStart, 1) == Duration::zero()) taken.fetch_add(1);
    });
  for (auto& thread : threads) thread.join();
  assert_int_equal(taken.load(), 1000);
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test(a_second_of_tokens_is_there_at_once),
      cmocka_unit_test(a_slow_rate_holds_one_token),
      cmocka_unit_test(a_large_message_is_a_debt),
      cmocka_unit_test(the_long_run_keeps_the_rate),
      cmocka_unit_test(zero_is_no_limit),
      cmocka_unit_test(an_endless_debt_stays_inside_the_numbers),
      cmocka_unit_test(threads_together_get_no_more_than_the_rate),
  };
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
