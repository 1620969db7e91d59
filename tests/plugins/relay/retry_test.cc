#include "plugins/relay/retry.h"

#include "support/cmocka.h"

#include <algorithm>

using namespace portolan;
using namespace portolan::relay;
using namespace std::chrono_literals;

namespace {

constexpr Duration kStart = 1000s;

int retries(RetryBudget& budget, double share, double min_per_second, Duration now) {
  int count = 0;
  while (count < 10'000 && budget.retry(share, min_per_second, now)) ++count;
  return count;
}

void retries_are_a_share_of_the_sessions(void**) {
  RetryBudget budget;
  assert_int_equal(retries(budget, 0.2, 0, kStart), 0);
  for (int n = 0; n < 1000; ++n) budget.session(kStart + n * 1ms);
  assert_int_equal(retries(budget, 0.2, 0, kStart + 1s), 200);
  assert_int_equal(retries(budget, 0.2, 0, kStart + 9s), 0);
  // Ten seconds later both are forgotten.
  for (int n = 0; n < 100; ++n) budget.session(kStart + 11s);
  assert_int_equal(retries(budget, 0.2, 0, kStart + 11s), 20);
}

void a_few_are_always_allowed(void**) {
  RetryBudget budget;
  assert_int_equal(retries(budget, 0, 2, kStart), 20);
  assert_int_equal(retries(budget, 0, 2, kStart + 9s), 0);
  assert_int_equal(retries(budget, 0, 2, kStart + 10s), 20);
}

void the_backoff_grows_with_full_jitter(void**) {
  RetryBudget budget;
  Random random(5);
  const RetrySettings settings = {
      .attempts = 8, .backoff = 50ms, .max_backoff = 300ms, .deadline = 0s, .budget = 1, .min_per_second = 1e9};
  const auto range = [&](std::uint32_t made, bool elsewhere) {
    Duration least = 1h;
    Duration most{};
    for (int n = 0; n < 300; ++n) {
      const Duration delay = *next_attempt(settings, made, elsewhere, kStart, kStart, budget, random);
      least = std::min(least, delay);
      most = std::max(most, delay);
    }
    assert_true(least < most / 10 || most == Duration::zero());
    return most;
  };
  assert_true(range(1, true) == Duration::zero());  // another backend, at once
  constexpr Duration kCeilings[] = {50ms, 100ms, 200ms, 300ms, 300ms};
  for (std::uint32_t made = 1; made <= std::size(kCeilings); ++made) {
    const Duration ceiling = kCeilings[made - 1];
    const Duration most = range(made, false);
    assert_true(most <= ceiling && most > ceiling - ceiling / 20);
  }
  assert_true(range(2, true) > 90ms);
}

void it_ends(void**) {
  Random random(5);
  RetryBudget budget;
  const RetrySettings settings = {.attempts = 3, .backoff = 0ms, .deadline = 2s, .budget = 0, .min_per_second = 0.2};
  const auto next = [&](std::uint32_t made, Duration after) {
    return next_attempt(settings, made, true, kStart, kStart + after, budget, random);
  };
  assert_true(next(3, 0s).error() == NoRetry::attempts);
  assert_true(next(1, 2s).error() == NoRetry::deadline);
  assert_true(next(1, 1999ms).has_value());
  assert_true(next(2, 1s).has_value());
  assert_true(next(2, 1s).error() == NoRetry::budget);  // neither of the first two has cost anything
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test(retries_are_a_share_of_the_sessions),
      cmocka_unit_test(a_few_are_always_allowed),
      cmocka_unit_test(the_backoff_grows_with_full_jitter),
      cmocka_unit_test(it_ends),
  };
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
