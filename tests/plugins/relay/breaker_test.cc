#include "plugins/relay/breaker.h"

#include "support/cmocka.h"

#include <cstdio>
#include <span>
#include <string_view>

using namespace portolan;
using namespace portolan::relay;
using namespace std::chrono_literals;

namespace {

constexpr Duration kStart = 1000s;

// One step: when, what happens, and the state after it.
//   enter    a session begins; `passes` tells whether it may
//   good     a session that is no trial goes well; "good trial" one that is, and gives its place among the trials back
//   bad      likewise
struct Step {
  Duration at;
  std::string_view does;
  BreakerState state;
  bool passes = true;
};

void run(const BreakerSettings& settings, std::span<const Step> steps, Breaker& breaker) {
  for (std::size_t index = 0; index < steps.size(); ++index) {
    const Step& step = steps[index];
    const Duration now = kStart + step.at;
    bool right = true;
    if (step.does == "enter") {
      const bool allowed = breaker.allows(settings, now);
      const BreakerState before = breaker.view().state;
      const Breaker::Entry entry = breaker.enter(settings, now);
      right = entry.allowed == step.passes && allowed == step.passes &&
              entry.half_opened == (before != breaker.view().state) &&
              entry.trial == (entry.allowed && breaker.view().state == BreakerState::half_open);
    } else {
      const bool trial = step.does.ends_with("trial");
      const BreakerState before = breaker.view().state;
      const auto changed = step.does.starts_with("good") ? breaker.on_success(settings, trial, now)
                                                         : breaker.on_failure(settings, trial, now);
      if (trial) breaker.leave_trial();
      right =
          changed.value_or(before) == breaker.view().state && changed.has_value() == (before != breaker.view().state);
    }
    if (right && breaker.view().state == step.state) continue;
    std::fprintf(stderr, "step %zu (%.*s): the state is %.*s\n", index, static_cast<int>(step.does.size()),
                 step.does.data(), static_cast<int>(to_string(breaker.view().state).size()),
                 to_string(breaker.view().state).data());
    fail();
  }
}

constexpr auto kClosed = BreakerState::closed;
constexpr auto kOpen = BreakerState::open;
constexpr auto kHalf = BreakerState::half_open;

void it_opens_tries_and_closes(void**) {
  constexpr BreakerSettings kSettings = {
      .failures = 3, .reset_after = 10s, .max_reset_after = 30s, .trials = 2, .successes = 2};
  constexpr Step kSteps[] = {
      {0s, "bad", kClosed},         {1s, "bad", kClosed},       {1s, "good", kClosed},  // in a row: it begins again
      {2s, "bad", kClosed},         {3s, "bad", kClosed},       {3s, "enter", kClosed},
      {4s, "bad", kOpen},           {4s, "bad", kOpen},         {5s, "good", kOpen},  // began before
      {13s, "enter", kOpen, false}, {14s, "enter", kHalf},      {14s, "enter", kHalf},
      {14s, "enter", kHalf, false},  // two trials at once
      {15s, "bad", kHalf},           // began before
      {15s, "good trial", kHalf},   {15s, "enter", kHalf},      {16s, "bad trial", kOpen},
      {16s, "good trial", kOpen},                                                              // too late
      {35s, "enter", kOpen, false},                                                            // twice as long
      {36s, "enter", kHalf},        {37s, "bad trial", kOpen},  {66s, "enter", kOpen, false},  // 40 s, but at most 30
      {67s, "enter", kHalf},        {67s, "good trial", kHalf}, {67s, "enter", kHalf},
      {67s, "good trial", kClosed}, {68s, "bad", kClosed},                              // from nothing
      {68s, "bad", kClosed},        {68s, "bad", kOpen},        {78s, "enter", kHalf},  // the time is the first again
      {78s, "bad trial", kOpen},
  };
  Breaker breaker;
  run(kSettings, kSteps, breaker);
  const Breaker::View view = breaker.view();
  assert_int_equal(view.opened, 5);
  assert_int_equal(view.transitions, 10);
  assert_true(view.since == kStart + 78s);
  assert_true(view.open_until == kStart + 98s);
}

void a_window_counts_failures_between_successes(void**) {
  constexpr BreakerSettings kSettings = {.failures = 3, .window = 10s, .reset_after = 10s};
  constexpr Step kSteps[] = {
      {0s, "bad", kClosed}, {6s, "bad", kClosed}, {7s, "good", kClosed}, {11s, "bad", kClosed}, {16s, "bad", kOpen},
  };
  Breaker breaker;
  run(kSettings, kSteps, breaker);
  // More failures than there is room for, too far apart.
  Breaker slow;
  for (std::uint32_t n = 0; n < 3 * Breaker::kMaxFailures; ++n) {
    const Step step = {n * 6s, "bad", kClosed};
    run(kSettings, {&step, 1}, slow);
  }
}

void without_a_setting_there_is_none(void**) {
  Breaker breaker;
  for (int n = 0; n < 100; ++n) assert_false(breaker.on_failure({}, false, kStart).has_value());
  const Breaker::Entry entry = breaker.enter({}, kStart);
  assert_true(entry.allowed && !entry.trial && breaker.allows({}, kStart));
  // A reload has taken the option away while it was open.
  assert_true(breaker.on_failure({.failures = 1}, false, kStart) == kOpen);
  assert_false(breaker.allows({.failures = 1}, kStart));
  assert_true(breaker.enter({}, kStart).allowed && breaker.allows({}, kStart));
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test(it_opens_tries_and_closes),
      cmocka_unit_test(a_window_counts_failures_between_successes),
      cmocka_unit_test(without_a_setting_there_is_none),
  };
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
