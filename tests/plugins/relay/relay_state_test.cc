#include "plugins/relay/relay_state.h"

#include "backends.h"
#include "support/cmocka.h"

#include <array>
#include <atomic>
#include <deque>
#include <string>
#include <thread>
#include <vector>

using namespace portolan;
using namespace portolan::relay;
using namespace portolan::relay::testing;
using namespace std::chrono_literals;

namespace {

void a_backend_is_known_by_its_address(void**) {
  RelayState state;
  const auto first = state.set_for(backends({1, 1}));
  assert_ptr_equal(state.set_for(backends({1, 1})).get(), first.get());
  SetSettings changed = backends({1, 9, 1});
  changed.backends[0].name = "renamed";
  changed.backends[1].backup = true;
  const auto second = state.set_for(changed);
  assert_ptr_equal(second->members()[0].backend.get(), first->members()[0].backend.get());
  assert_ptr_equal(second->members()[1].backend.get(), first->members()[1].backend.get());
  assert_int_equal(second->members()[1].weight(), 9);
  assert_int_equal(first->members()[1].weight(), 1);  // whoever serves still is not disturbed
  assert_ptr_equal(second->find("renamed"), second->find("tcp://10.0.0.1:80"));
  assert_null(second->find("b1"));
}

void a_removed_backend_drains(void**) {
  RelayState state;
  auto old = state.set_for(backends({1, 1}));
  Events events;
  Place place = Place::take(*old, old->members()[1], kStart, events);
  const auto fresh = state.set_for(backends({1}));
  Status status = state.status(*fresh, kStart);
  assert_int_equal(status.backends.size(), 2);
  assert_string_equal(status.backends[1].name.c_str(), "10.0.0.2:80");
  assert_true(status.backends[1].state == "removed" && status.backends[1].sessions == 1);
  place.leave();
  assert_int_equal(state.status(*fresh, kStart).backends.size(), 1);
  // Back before the last of the old sessions is gone: it is the same.
  const Backend* known = old->members()[1].backend.get();
  assert_ptr_equal(state.set_for(backends({2, 2}))->members()[1].backend.get(), known);
}

void status_says_how_things_are(void**) {
  RelayState state;
  SetSettings settings = backends({1, 1, 1, 1, 0});
  settings.health = {.active = true, .fall = 1};
  settings.breaker = {.failures = 3, .reset_after = 8s};
  settings.passive.failures = 0;
  settings.backends[0].max_sessions = 3;
  const auto set = state.set_for(settings);
  const auto& members = set->members();
  Random random(1);
  Events events;
  state.checked(*set, members[0], true, "", kStart, random, events);
  state.checked(*set, members[1], false, "timed out", kStart, random, events);
  for (int n = 0; n < 3; ++n) {
    Place::take(*set, members[2], kStart, events).failed(Failure::dial, "refused", kStart, events);
  }
  Place place = Place::take(*set, members[0], kStart, events);
  place.connected(800us);
  told(events);
  state.drain(members[3], kStart, events);
  state.drain(members[3], kStart, events);
  assert_string_equal(told(events).c_str(), "backend_drained b4 is drained: it gets no new sessions, and has 0\n");

  const Status status = state.status(*set, kStart + 2s);
  const auto& of = status.backends;
  assert_true(of[0].state == "up" && of[1].state == "down" && of[2].state == "breaker_open");
  assert_true(of[3].state == "drained" && of[3].drained && of[4].state == "drained" && !of[4].drained);
  assert_int_equal(of[0].sessions, 1);
  assert_int_equal(of[0].max_sessions, 3);
  assert_int_equal(of[0].connect_us, 800);
  assert_int_equal(of[0].chosen + of[0].connected, 2);
  assert_string_equal(of[1].reason.c_str(), "timed out");
  assert_int_equal(of[1].since_ms, 2000);
  assert_int_equal(of[1].checks_failed, 1);
  assert_true(of[2].breaker == BreakerState::open && of[2].breaker_opened == 1);
  assert_int_equal(of[2].breaker_open_for_ms, 6000);
  assert_int_equal(of[2].failed, 3);
  assert_int_equal(of[3].weight, 1);

  // The breaker lets a trial through; what is told.
  Place trial = Place::take(*set, members[2], kStart + 8s, events);
  trial.answered(kStart + 8s, events);
  trial = Place::take(*set, members[2], kStart + 8s, events);
  assert_true(state.status(*set, kStart + 8s).backends[2].state == "breaker_half_open");
  trial.answered(kStart + 8s, events);
  state.undrain(members[3], kStart + 8s, events);
  assert_string_equal(told(events).c_str(),
                      "breaker_half_open b3 is tried again: its breaker is half-open\n"
                      "breaker_closed b3 works again: its breaker is closed\n"
                      "backend_undrained b4 gets sessions again\n");
  for (int n = 0; n < 3; ++n) {
    Place::take(*set, members[2], kStart, events).failed(Failure::dial, "refused", kStart, events);
  }
  assert_string_equal(told(events).c_str(), "breaker_open b3 gets no sessions for 8s: its breaker is open\n");
}

void a_full_backend_keeps_no_trial(void**) {
  RelayState state;
  SetSettings settings = backends({1});
  settings.backends[0].max_sessions = 1;
  settings.breaker = {.failures = 1, .reset_after = 1s, .trials = 1, .successes = 1};
  const auto set = state.set_for(settings);
  const Member& member = set->members()[0];
  Events events;
  Place::take(*set, member, kStart, events).failed(Failure::dial, "refused", kStart, events);
  assert_false(static_cast<bool>(Place::take(*set, member, kStart, events)));
  assert_true(member.backend->take_place(1));  // by a session from before
  assert_false(static_cast<bool>(Place::take(*set, member, kStart + 1s, events)));
  member.backend->give_place_back();
  assert_true(static_cast<bool>(Place::take(*set, member, kStart + 1s, events)));
}

// ---- Several threads -----------------------------------------------------------------------------------------

constexpr unsigned kThreads = 4;

template <typename Work>
void on_threads(Work work) {
  std::vector<std::thread> threads;
  for (unsigned n = 0; n < kThreads; ++n) threads.emplace_back([&work, n] { work(n); });
  for (std::thread& thread : threads) thread.join();
}

void least_sessions_is_even_over_workers(void**) {
  constexpr unsigned kEach = 500;
  RelayState state;
  const auto set = state.set_for(backends({1, 1, 2}));
  std::array<std::vector<Place>, kThreads> places;
  on_threads([&](unsigned worker) {
    Balancer balancer(set, {.balance = Balance::least_sessions}, worker, worker);
    Events events;
    for (unsigned n = 0; n < kEach; ++n) {
      places[worker].push_back(*balancer.choose(client(n), {}, kStart, events));
    }
  });
  // A worker may not see what the others do at the same moment, which is a session of each.
  constexpr unsigned kShare = kThreads * kEach / 4;
  for (std::size_t n = 0; n < 3; ++n) {
    const unsigned wanted = n == 2 ? 2 * kShare : kShare;
    assert_in_range(set->members()[n].backend->sessions(), wanted - 2 * kThreads, wanted + 2 * kThreads);
  }
}

// Everything at once: choosing, failing, checks, orders, reloads and status. No backend is ever over its limit, no place
// is lost, and there is always somebody to choose.
void workers_share_it(void**) {
  constexpr unsigned kRounds = 3000;
  constexpr std::uint32_t kLimit = 5;
  RelayState state;
  SetSettings settings = backends({1, 2, 3, 4});
  for (BackendSettings& one : settings.backends) one.max_sessions = kLimit;
  settings.health = {.active = true, .rise = 1, .fall = 1};
  settings.passive = {.failures = 2, .base = 1ms, .max = 4ms, .max_share = 50};
  settings.breaker = {.failures = 3, .reset_after = 1ms, .max_reset_after = 2ms, .trials = 2, .successes = 1};
  SetSettings other = settings;
  other.backends.pop_back();
  other.slow_start = 1s;
  const auto kept = state.set_for(settings);
  std::atomic<bool> over{false};
  std::atomic<std::uint64_t> served{0};
  std::atomic<unsigned> clock{0};
  on_threads([&](unsigned worker) {
    Random random(worker);
    Events events;
    std::deque<Place> open;
    std::shared_ptr<const BackendSet> set = kept;
    std::vector<std::shared_ptr<const BackendSet>> old;
    const Balance balances[] = {Balance::round_robin, Balance::random_two, Balance::least_sessions, Balance::hash};
    Balancer balancer(set, {.balance = balances[worker]}, worker, worker);
    for (unsigned round = 0; round < kRounds; ++round) {
      const Duration now = kStart + clock.fetch_add(1) * 10us;
      if (auto place = balancer.choose(client(static_cast<unsigned>(random.next())), {}, now, events)) {
        served.fetch_add(1, std::memory_order_relaxed);
        switch (random.below(8)) {
          case 0: place->failed(Failure::dial, "refused", now, events); break;
          case 1:
            place->connected(1ms);
            place->answered(now, events);
            [[fallthrough]];
          default: open.push_back(std::move(*place));
        }
      }
      if (open.size() > random.below(4)) open.pop_front();
      const Member& member = kept->members()[random.below(4)];
      if (member.backend->sessions() > kLimit) over = true;
      switch (random.below(40)) {
        case 0:
          state.drain(member, now, events);
          state.undrain(member, now, events);
          break;
        case 1: state.checked(*set, member, random.below(2) == 0, "refused", now, random, events); break;
        case 2: old.push_back(state.set_for(round % 2 == 0 ? settings : other)); break;
        case 3: state.status(*set, now); break;
        case 4: state.tick(*set, now, events); break;
        case 5: state.set_weight(member, static_cast<std::uint32_t>(1 + random.below(9))); break;
        default: break;
      }
    }
  });
  assert_false(over.load());
  assert_true(served.load() > kRounds);
  for (const Member& member : kept->members()) {
    assert_int_equal(member.backend->sessions(), 0);
    const Breaker::Entry entry = member.backend->breaker.enter({.failures = 3, .trials = 1}, kStart + 1h);
    assert_true(entry.allowed);  // no trial was lost
  }
}

struct Flag final : WakeHandler {
  std::atomic<bool> woken{false};
  void on_place_free() noexcept override { woken.store(true); }
};

// One place, workers that take turns at it by waiting: a wake-up that got lost would leave somebody waiting for ever.
void no_wake_up_is_lost(void**) {
  constexpr unsigned kTurns = 2000;
  constexpr std::uint64_t kGiveUp = 200'000'000;
  RelayState state;
  SetSettings settings = backends({1});
  settings.backends[0].max_sessions = 1;
  const auto set = state.set_for(settings);
  std::atomic<unsigned> stuck{0};
  on_threads([&](unsigned worker) {
    Balancer balancer(set, {}, worker, worker);
    Flag flag;
    WaitQueue queue(state.waiters(), {}, flag);
    WaitNode node;
    Events events;
    for (unsigned turn = 0; turn < kTurns && stuck.load() == 0; ++turn) {
      auto place = balancer.choose({}, {}, kStart, events);
      if (!place) {
        flag.woken.store(false);
        queue.push(node, kStart + Duration(turn));
        place = balancer.choose({}, {}, kStart, events);
        std::uint64_t spins = 0;
        while (!place) {
          while (!flag.woken.exchange(false)) {
            std::this_thread::yield();
            if (++spins == kGiveUp || stuck.load() != 0) {
              stuck.fetch_add(1);
              return;
            }
          }
          place = balancer.choose({}, {}, kStart, events);
        }
        queue.remove(node);
      }
      if (turn % 8 == 0) std::this_thread::yield();
    }
  });
  assert_int_equal(stuck.load(), 0);
  assert_int_equal(set->members()[0].backend->chosen.load(), kThreads * kTurns);
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test(a_backend_is_known_by_its_address),
      cmocka_unit_test(a_removed_backend_drains),
      cmocka_unit_test(status_says_how_things_are),
      cmocka_unit_test(a_full_backend_keeps_no_trial),
      cmocka_unit_test(least_sessions_is_even_over_workers),
      cmocka_unit_test(workers_share_it),
      cmocka_unit_test(no_wake_up_is_lost),
  };
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
