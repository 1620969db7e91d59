#include "plugins/relay/ejection.h"

#include "backends.h"
#include "support/cmocka.h"

#include <string>

using namespace portolan;
using namespace portolan::relay;
using namespace portolan::relay::testing;
using namespace std::chrono_literals;

namespace {

struct Relay {
  RelayState state;
  std::shared_ptr<const BackendSet> set;
  Events events;

  explicit Relay(const SetSettings& settings) : set(state.set_for(settings)) {}

  Place session(std::size_t index, Duration now = kStart) {
    return Place::take(*set, set->members()[index], now, events);
  }
  void fails(std::size_t index, int times = 3, Duration now = kStart) {
    for (int n = 0; n < times; ++n) session(index, now).failed(Failure::dial, "connection refused", now, events);
  }
  // Who is ejected: "b1 b3 ".
  std::string ejected(Duration now = kStart) {
    std::string names;
    for (const Member& member : set->members())
      if (member.backend->ejection.ejected(now)) names += std::string(member.name()) + " ";
    return names;
  }
};

SetSettings ejecting(const std::vector<std::uint32_t>& weights, std::uint32_t max_share = 50) {
  SetSettings settings = backends(weights);
  settings.passive = {.failures = 3, .base = 10s, .max = 60s, .max_share = max_share};
  return settings;
}

void expect(const std::string& found, const char* wanted) { assert_string_equal(found.c_str(), wanted); }

void failures_in_a_row_eject(void**) {
  Relay relay(ejecting({1, 1}));
  relay.fails(0, 2);
  Place place = relay.session(0);
  place.connected(1ms);
  place.answered(kStart, relay.events);
  place.leave();
  relay.fails(0, 2);
  relay.session(0).leave();  // a client that went away says nothing, neither good nor bad
  expect(relay.ejected(), "");
  expect(told(relay.events), "");
  place = relay.session(0);
  place.connected(1ms);
  place.failed(Failure::closed_early, "closed before a byte came", kStart, relay.events);
  assert_false(static_cast<bool>(place));
  expect(relay.ejected(), "b1 ");
  expect(told(relay.events),
         "backend_ejected b1 is ejected for 10s: closed before a byte came (3 sessions failed in a row)\n");
  relay.state.tick(*relay.set, kStart + 9s, relay.events);
  expect(told(relay.events), "");
  expect(relay.ejected(kStart + 10s), "");
  relay.state.tick(*relay.set, kStart + 10s, relay.events);
  relay.state.tick(*relay.set, kStart + 11s, relay.events);
  expect(told(relay.events), "backend_returned b1 is chosen again: its ejection is over\n");
  const Backend& b1 = *relay.set->members()[0].backend;
  assert_int_equal(b1.failed.load(), 4);
  assert_int_equal(b1.closed_early.load(), 1);
  assert_int_equal(b1.sessions(), 0);
}

void an_early_end_may_be_forgiven(void**) {
  SetSettings settings = ejecting({1, 1});
  settings.passive.early_close = false;
  settings.breaker.failures = 1;
  Relay relay(settings);
  for (int n = 0; n < 9; ++n) relay.session(0).failed(Failure::closed_early, "closed", kStart, relay.events);
  expect(told(relay.events), "");
  assert_int_equal(relay.set->members()[0].backend->closed_early.load(), 9);
  assert_int_equal(relay.set->members()[0].backend->sessions(), 0);
}

void the_time_doubles_and_is_forgotten(void**) {
  Relay relay(ejecting({1, 1}));
  Duration now = kStart;
  const auto ejected_for = [&] {
    relay.fails(0, 3, now);
    const Duration time = relay.set->members()[0].backend->ejection.until() - now;
    now += time;
    return time;
  };
  for (const Duration time : {10s, 20s, 40s, 60s, 60s}) assert_true(ejected_for() == time);
  now += 59s;
  assert_true(ejected_for() == 60s);
  now += 4 * 60s;  // four less of six
  assert_true(ejected_for() == 40s);
  now += 1h;
  assert_true(ejected_for() == 10s);
}

void no_more_than_a_share_and_never_the_last(void**) {
  Relay half(ejecting({1, 1, 1, 1, 1}));
  for (std::size_t n = 0; n < 5; ++n) half.fails(n);
  expect(half.ejected(), "b1 b2 ");
  // The next failure counts as soon as there is room.
  half.fails(4, 1, kStart + 11s);
  expect(half.ejected(kStart + 11s), "b5 ");

  Relay one(ejecting({1, 1, 1}, 10));
  for (std::size_t n = 0; n < 3; ++n) one.fails(n);
  expect(one.ejected(), "b1 ");  // at least one

  Relay all(ejecting({1, 1, 1}, 100));
  for (std::size_t n = 0; n < 3; ++n) all.fails(n);
  expect(all.ejected(), "b1 b2 ");

  Relay single(ejecting({1}, 100));
  single.fails(0, 100);
  expect(single.ejected(), "");

  Relay none(ejecting({1, 1}, 0));
  none.fails(0, 100);
  expect(none.ejected(), "");
}

void who_cannot_be_chosen_is_not_what_is_left(void**) {
  SetSettings settings = ejecting({1, 1, 0, 1}, 100);
  settings.health.active = true;
  Relay relay(settings);
  Random random(1);
  relay.state.checked(*relay.set, relay.set->members()[1], false, "refused", kStart, random, relay.events);
  relay.state.drain(relay.set->members()[3], kStart, relay.events);
  relay.fails(0, 10);
  expect(relay.ejected(), "");
  // A backup is something that is left.
  settings.backends[1].backup = true;
  Relay backup(settings);
  backup.fails(0, 3);
  expect(backup.ejected(), "b1 ");
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test(failures_in_a_row_eject),
      cmocka_unit_test(an_early_end_may_be_forgiven),
      cmocka_unit_test(the_time_doubles_and_is_forgotten),
      cmocka_unit_test(no_more_than_a_share_and_never_the_last),
      cmocka_unit_test(who_cannot_be_chosen_is_not_what_is_left),
  };
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
