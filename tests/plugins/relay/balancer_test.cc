#include "plugins/relay/balancer.h"

#include "backends.h"
#include "support/cmocka.h"

#include <array>
#include <map>
#include <string>
#include <vector>

using namespace portolan;
using namespace portolan::relay;
using namespace portolan::relay::testing;
using namespace std::chrono_literals;

namespace {

void expect(const std::string& found, const char* wanted) { assert_string_equal(found.c_str(), wanted); }

std::string chosen(Balancer& balancer, const Address& from, std::vector<const Backend*> tried = {},
                   Duration now = kStart) {
  Events events;
  const auto place = balancer.choose(from, tried, now, events);
  return place ? std::string(place->member().name()) : std::string(to_sentence(place.error()));
}
std::string chosen(Balancer& balancer) { return chosen(balancer, client(1)); }

// How often each backend is chosen, by its number; places are given back at once.
std::map<char, int> shares(Balancer& balancer, std::size_t count) {
  std::map<char, int> result;
  for (const char name : turns(balancer, count)) ++result[name];
  return result;
}

void round_robin_spreads_weights_evenly(void**) {
  RelayState state;
  Balancer balancer(state.set_for(backends({5, 1, 1})), {}, 0, 1);
  // The example of nginx's change that brought this in.
  expect(turns(balancer, 14), "11213111121311");
  Balancer weights(state.set_for(backends({256, 128, 1, 0})), {}, 0, 1);
  const auto found = shares(weights, 385);
  assert_int_equal(found.at('1'), 256);
  assert_int_equal(found.at('2'), 128);
  assert_int_equal(found.at('3'), 1);
}

void workers_begin_with_different_backends(void**) {
  RelayState state;
  const auto set = state.set_for(backends({1, 1, 1}));
  for (unsigned worker = 0; worker < 4; ++worker) {
    Balancer balancer(set, {}, worker, 1);
    expect(turns(balancer, 3), std::array{"123", "231", "312", "123"}[worker]);
  }
}

void round_robin_goes_on_around_a_hole(void**) {
  RelayState state;
  const auto set = state.set_for(backends({1, 1, 1}));
  Balancer balancer(set, {}, 0, 1);
  Events events;
  state.drain(set->members()[1], kStart, events);
  expect(turns(balancer, 4), "1313");
  state.undrain(set->members()[1], kStart, events);
  const auto found = shares(balancer, 300);
  assert_in_range(found.at('2'), 99, 101);
}

void random_two_takes_the_less_loaded(void**) {
  RelayState state;
  const auto set = state.set_for(backends({1, 1, 1, 1}));
  Balancer balancer(set, {.balance = Balance::random_two}, 0, 7);
  auto found = shares(balancer, 4000);
  for (const char name : {'1', '2', '3', '4'}) assert_in_range(found[name], 900, 1100);
  // The most loaded of four is never the better of two.
  assert_true(set->members()[2].backend->take_place(0));
  found = shares(balancer, 1000);
  assert_int_equal(found['3'], 0);
  set->members()[2].backend->give_place_back();

  Balancer weighted(state.set_for(backends({3, 1, 1})), {.balance = Balance::random_two}, 0, 7);
  Events events;
  std::vector<Place> places;
  for (unsigned n = 0; n < 500; ++n) places.push_back(*weighted.choose(client(n), {}, kStart, events));
  assert_in_range(weighted.set().members()[0].backend->sessions(), 290, 310);
}

void least_sessions_is_by_weight(void**) {
  RelayState state;
  const auto set = state.set_for(backends({1, 2, 3}));
  Balancer balancer(set, {.balance = Balance::least_sessions}, 0, 1);
  Events events;
  std::vector<Place> places;
  for (unsigned n = 0; n < 60; ++n) places.push_back(*balancer.choose(client(n), {}, kStart, events));
  for (std::uint32_t n = 0; n < 3; ++n) assert_int_equal(set->members()[n].backend->sessions(), 10 * (n + 1));
  places.clear();
  for (std::uint32_t n = 0; n < 3; ++n) assert_int_equal(set->members()[n].backend->sessions(), 0);
  Balancer equals(state.set_for(backends({1, 1, 1})), {.balance = Balance::least_sessions}, 0, 1);
  expect(turns(equals, 6), "123123");
}

void a_removal_moves_only_the_clients_of_what_is_gone(void**) {
  constexpr unsigned kClients = 20'000;
  RelayState state;
  const SetSettings all = backends({1, 1, 1, 1, 4});
  Balancer before(state.set_for(all), {.balance = Balance::hash}, 0, 1);
  SetSettings fewer = all;
  fewer.backends.erase(fewer.backends.begin() + 1);
  Balancer removed(state.set_for(fewer), {.balance = Balance::hash}, 3, 99);
  const auto drained_set = state.set_for(all);
  std::map<std::string, unsigned> share;
  unsigned wrong = 0;
  std::vector<std::string> old(kClients);
  for (unsigned n = 0; n < kClients; ++n) {
    old[n] = chosen(before, client(n));
    ++share[old[n]];
    const std::string now = chosen(removed, client(n));
    if (old[n] == "b2" ? now == "b2" : now != old[n]) ++wrong;
  }
  assert_int_equal(wrong, 0);
  for (const char* name : {"b1", "b2", "b3", "b4"})
    assert_in_range(share[name], kClients / 8 - 250, kClients / 8 + 250);
  assert_in_range(share["b5"], kClients / 2 - 400, kClients / 2 + 400);

  // A backend that is away for a while is as one that is gone, and gets its clients back.
  Events events;
  state.drain(drained_set->members()[1], kStart, events);
  for (unsigned n = 0; n < 1000; ++n)
    if (chosen(before, client(n)) != chosen(removed, client(n))) ++wrong;
  state.undrain(drained_set->members()[1], kStart, events);
  for (unsigned n = 0; n < 1000; ++n)
    if (chosen(before, client(n)) != old[n]) ++wrong;
  assert_int_equal(wrong, 0);
}

void a_client_is_hashed_without_its_port(void**) {
  RelayState state;
  Balancer balancer(state.set_for(backends({1, 1, 1, 1, 1, 1, 1, 1})), {.balance = Balance::hash}, 0, 1);
  const auto from = [&balancer](const char* text) { return chosen(balancer, *Address::parse(text)); };
  for (const char* same : {"[2001:db8::2]:81", "[2001:db8::ffff:1:2:3]:82"}) {
    expect(from(same), from("[2001:db8::1]:80").c_str());
  }
  expect(from("192.0.2.1:1"), from("192.0.2.1:2").c_str());
  // Written down: the same on every machine and in every release.
  expect(from("192.0.2.1:1") + from("192.0.2.2:1") + from("192.0.2.3:1") + from("[2001:db8::1]:80"), "b1b3b4b5");
}

void hash_load_bounds_what_one_backend_gets(void**) {
  RelayState state;
  const auto set = state.set_for(backends({1, 1, 1, 1}));
  Balancer balancer(set, {.balance = Balance::hash, .hash_load = 1.25}, 0, 1);
  Events events;
  std::vector<Place> places;
  const std::string home = chosen(balancer, client(5));
  for (unsigned n = 0; n < 100; ++n) places.push_back(*balancer.choose(client(5), {}, kStart, events));
  for (const Member& member : set->members()) assert_in_range(member.backend->sessions(), 5, 32);
  assert_in_range(set->find(home)->backend->sessions(), 30, 32);
}

void first_fills_one_after_the_other(void**) {
  RelayState state;
  SetSettings settings = backends({1, 1});
  settings.backends[0].max_sessions = 2;
  settings.backends[1].max_sessions = 1;
  Balancer balancer(state.set_for(settings), {.balance = Balance::first}, 0, 1);
  Events events;
  std::vector<Place> places;
  for (const char* name : {"b1", "b1", "b2"}) {
    places.push_back(*balancer.choose(client(1), {}, kStart, events));
    expect(std::string(places.back().member().name()), name);
  }
  expect(chosen(balancer), "all backends are full");
  places.erase(places.begin());
  expect(chosen(balancer), "b1");
}

void what_has_failed_and_backups_come_last(void**) {
  RelayState state;
  SetSettings settings = backends({1, 1, 1});
  settings.backends[0].backup = true;
  const auto set = state.set_for(settings);
  Balancer balancer(set, {.balance = Balance::first}, 0, 1);
  const Backend* b1 = set->members()[0].backend.get();
  const Backend* b2 = set->members()[1].backend.get();
  const Backend* b3 = set->members()[2].backend.get();
  expect(chosen(balancer, client(1), {}), "b2");
  expect(chosen(balancer, client(1), {b2}), "b3");
  expect(chosen(balancer, client(1), {b2, b3}), "b1");
  assert_true(balancer.elsewhere(std::vector{b2, b3}, kStart));
  assert_false(balancer.elsewhere(std::vector{b1, b2, b3}, kStart));
  expect(chosen(balancer, client(1), {b1, b2, b3}), "b2");
  assert_int_equal(b1->retried.load() + b2->retried.load() + b3->retried.load(), 3);
  Events events;
  state.drain(set->members()[1], kStart, events);
  state.drain(set->members()[2], kStart, events);
  expect(chosen(balancer), "b1");
  state.drain(set->members()[0], kStart, events);
  expect(chosen(balancer), "all backends are drained");
}

void check(RelayState& state, const BackendSet& set, std::size_t index, bool passed, Duration now = kStart) {
  Random random(1);
  Events events;
  for (int n = 0; n < 3; ++n) state.checked(set, set.members()[index], passed, "refused", now, random, events);
}

void when_all_are_down_they_are_tried_all_the_same(void**) {
  RelayState state;
  SetSettings settings = backends({1, 1, 1});
  settings.health.active = true;
  settings.backends[2].max_sessions = 1;
  const auto set = state.set_for(settings);
  Balancer balancer(set, {.balance = Balance::first}, 0, 1);
  check(state, *set, 0, false);
  expect(chosen(balancer), "b2");
  check(state, *set, 1, false);
  expect(chosen(balancer), "b3");
  // Not for being full: who is up will have a place.
  Place last = Place::take(*set, set->members()[2], kStart, *std::make_unique<Events>());
  expect(chosen(balancer), "all backends are full");
  check(state, *set, 2, false);
  expect(chosen(balancer), "b1");
  expect(chosen(balancer, client(1), {set->members()[0].backend.get()}), "b2");

  SetSettings closed = settings;
  closed.fail_open = false;
  Balancer strict(state.set_for(closed), {.balance = Balance::first}, 0, 1);
  expect(chosen(strict), "no backend is available");

  // Never a drained one, and never one that is full.
  Events events;
  state.drain(set->members()[0], kStart, events);
  state.drain(set->members()[1], kStart, events);
  expect(chosen(balancer), "all backends are full");
  last.leave();
  expect(chosen(balancer), "b3");
}

void a_breaker_is_respected_whatever_lives(void**) {
  RelayState state;
  SetSettings settings = backends({1, 1});
  settings.health.active = true;
  settings.breaker.failures = 1;
  const auto set = state.set_for(settings);
  Balancer balancer(set, {.balance = Balance::first}, 0, 1);
  Events events;
  Place::take(*set, set->members()[0], kStart, events).failed(Failure::dial, "refused", kStart, events);
  expect(chosen(balancer), "b2");
  check(state, *set, 1, false);
  expect(chosen(balancer), "b2");
  Place::take(*set, set->members()[1], kStart, events).failed(Failure::dial, "refused", kStart, events);
  expect(chosen(balancer), "no backend is available");
  assert_true(balancer.take("b1", kStart, events).error() == NoPlace::unavailable);
}

void before_the_first_check_the_option_decides(void**) {
  for (const bool initially_up : {true, false}) {
    RelayState state;
    SetSettings settings = backends({1, 1});
    settings.health = {.active = true, .initially_up = initially_up};
    const auto set = state.set_for(settings);
    Balancer balancer(set, {.balance = Balance::first}, 0, 1);
    check(state, *set, 1, true);
    expect(chosen(balancer), initially_up ? "b1" : "b2");
  }
}

void a_rate_is_a_limit_as_sessions_are(void**) {
  RelayState state;
  SetSettings settings = backends({1, 1});
  settings.backends[0].rate = 3;
  settings.backends[1].rate = 1;
  Balancer balancer(state.set_for(settings), {.balance = Balance::first}, 0, 1);
  expect(turns(balancer, 5), "1112-");
  expect(chosen(balancer), "all backends are full");
  expect(turns(balancer, 3, kStart + 400ms), "1--");
}

void a_backend_that_comes_back_starts_slowly(void**) {
  RelayState state;
  SetSettings settings = backends({4, 4});
  settings.health.active = true;
  settings.slow_start = 10s;
  const auto set = state.set_for(settings);
  const Member& member = set->members()[0];
  check(state, *set, 0, true);
  assert_int_equal(set->effective_weight(member, kStart), 400);  // it was never down
  check(state, *set, 0, false);
  check(state, *set, 0, true, kStart + 20s);
  constexpr struct {
    Duration after;
    std::uint32_t weight;
  } kSteps[] = {{0s, 40}, {1s, 76}, {5s, 220}, {9'999ms, 396}, {10s, 400}, {15s, 400}, {1h, 400}};
  for (const auto& step : kSteps) {
    assert_int_equal(set->effective_weight(member, kStart + 20s + step.after), step.weight);
  }
  assert_int_equal(set->effective_weight(set->members()[1], kStart + 20s), 400);
  Balancer balancer(set, {}, 0, 1);
  std::map<char, int> found;
  for (const char name : turns(balancer, 110, kStart + 20s)) ++found[name];
  assert_int_equal(found['1'], 10);
  Events events;
  state.drain(set->members()[1], kStart, events);
  state.undrain(set->members()[1], kStart + 60s, events);
  assert_int_equal(set->effective_weight(set->members()[1], kStart + 65s), 220);
}

void an_order_of_weight_stands_until_another_is_configured(void**) {
  RelayState state;
  const auto set = state.set_for(backends({2, 2}));
  state.set_weight(set->members()[0], 0);
  Balancer balancer(set, {}, 0, 1);
  expect(turns(balancer, 3), "222");
  state.set_weight(set->members()[0], 100'000);
  assert_int_equal(set->members()[0].weight(), kMaxWeight);
  SetSettings next = backends({2, 2, 2});
  assert_int_equal(state.set_for(next)->members()[0].weight(), kMaxWeight);
  next.backends[0].weight = 3;
  assert_int_equal(state.set_for(next)->members()[0].weight(), 3);
}

void a_script_names_a_backend(void**) {
  RelayState state;
  SetSettings settings = backends({1, 1, 1});
  settings.backends[1].max_sessions = 1;
  const auto set = state.set_for(settings);
  Balancer balancer(set, {}, 0, 1);
  Events events;
  const auto place = balancer.take("tcp://10.0.0.2:80", kStart, events);
  assert_true(place.has_value());
  assert_true(balancer.take("b2", kStart, events).error() == NoPlace::full);
  assert_true(balancer.take("b9", kStart, events).error() == NoPlace::unknown);
  state.drain(set->members()[2], kStart, events);
  assert_true(balancer.take("b3", kStart, events).error() == NoPlace::drained);
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test(round_robin_spreads_weights_evenly),
      cmocka_unit_test(workers_begin_with_different_backends),
      cmocka_unit_test(round_robin_goes_on_around_a_hole),
      cmocka_unit_test(random_two_takes_the_less_loaded),
      cmocka_unit_test(least_sessions_is_by_weight),
      cmocka_unit_test(a_removal_moves_only_the_clients_of_what_is_gone),
      cmocka_unit_test(a_client_is_hashed_without_its_port),
      cmocka_unit_test(hash_load_bounds_what_one_backend_gets),
      cmocka_unit_test(first_fills_one_after_the_other),
      cmocka_unit_test(what_has_failed_and_backups_come_last),
      cmocka_unit_test(when_all_are_down_they_are_tried_all_the_same),
      cmocka_unit_test(a_breaker_is_respected_whatever_lives),
      cmocka_unit_test(before_the_first_check_the_option_decides),
      cmocka_unit_test(a_rate_is_a_limit_as_sessions_are),
      cmocka_unit_test(a_backend_that_comes_back_starts_slowly),
      cmocka_unit_test(an_order_of_weight_stands_until_another_is_configured),
      cmocka_unit_test(a_script_names_a_backend),
  };
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
