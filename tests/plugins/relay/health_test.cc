#include "plugins/relay/health.h"

#include "backends.h"
#include "support/cmocka.h"

#include <cstdio>
#include <string>
#include <string_view>

using namespace portolan;
using namespace portolan::relay;
using namespace portolan::relay::testing;
using namespace std::chrono_literals;

namespace {

constexpr auto kUp = HealthState::up;
constexpr auto kDown = HealthState::down;

void it_rises_and_falls(void**) {
  // Each letter is a check that passes (+) or fails (-); below it the state: up, down.
  constexpr struct {
    std::string_view checks;
    std::string_view states;
  } kTables[] = {
      {"+", "u"},  // the first decides
      {"-", "d"}, {"+--+--+---", "uuuuuuuuud"}, {"-+-++", "ddddu"}, {"----------++---++", "ddddddddddduuuddu"},
  };
  for (const auto& table : kTables) {
    Health health;
    Random random(1);
    Duration now = kStart;
    for (std::size_t at = 0; at < table.checks.size(); ++at) {
      now += 1s;
      const HealthState before = health.state();
      const auto changed = health.on_result({.rise = 2, .fall = 3}, table.checks[at] == '+', "refused", now, random);
      const HealthState wanted = table.states[at] == 'u' ? kUp : kDown;
      if (health.state() == wanted && changed.value_or(before) == wanted && changed.has_value() == (before != wanted)) {
        continue;
      }
      std::fprintf(stderr, "%s: wrong after check %zu\n", table.checks.data(), at + 1);
      fail();
    }
  }
}

void checks_are_more_frequent_in_doubt(void**) {
  Health health;
  Random random(3);
  const HealthSettings settings = {.every = 10s, .every_down = 2s, .rise = 2, .fall = 2};
  assert_true(health.due(settings) == Duration::zero());
  const auto after = [&](bool passed) {
    health.on_result(settings, passed, "", kStart, random);
    return std::chrono::duration<double>(health.due(settings) - kStart).count();
  };
  double least = 100;
  double most = 0;
  for (int n = 0; n < 200; ++n) {
    const double wait = after(true);
    least = std::min(least, wait);
    most = std::max(most, wait);
  }
  assert_true(least >= 9 && least < 9.1 && most > 10.9 && most <= 11);
  assert_true(after(false) <= 2.2);  // still up, but not for sure
  assert_true(health.state() == kUp);
  assert_true(after(true) >= 9);
  after(false);
  assert_true(after(false) <= 2.2);
  assert_true(health.state() == kDown);
  assert_true(after(true) <= 2.2);
  assert_true(after(true) >= 9);
  assert_true(health.state() == kUp && health.recovered_at() == kStart);
  // A reload with shorter intervals counts at once.
  assert_true(health.due({.every = 1s}) < kStart + 2s);
}

void changes_are_told(void**) {
  RelayState state;
  SetSettings settings = backends({1});
  settings.backends[0].name = "10.0.0.7:8080";
  settings.health = {.active = true, .rise = 2, .fall = 3};
  const auto set = state.set_for(settings);
  Random random(1);
  Events events;
  const auto check = [&](bool passed, std::string_view reason) {
    state.checked(*set, set->members()[0], passed, reason, kStart, random, events);
  };
  check(true, "");
  assert_string_equal(told(events).c_str(), "backend_up 10.0.0.7:8080 is up (1 check passed)\n");
  check(false, "timed out");
  check(false, "timed out");
  assert_string_equal(told(events).c_str(), "");
  check(false, "connection refused");
  assert_string_equal(told(events).c_str(),
                      "backend_down 10.0.0.7:8080 is down: connection refused (3 checks failed)\n");
  check(true, "");
  check(true, "");
  assert_string_equal(told(events).c_str(), "backend_up 10.0.0.7:8080 is up (2 checks passed)\n");
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test(it_rises_and_falls),
      cmocka_unit_test(checks_are_more_frequent_in_doubt),
      cmocka_unit_test(changes_are_told),
  };
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
