#include "plugins/relay/wait_queue.h"

#include "backends.h"
#include "support/cmocka.h"

#include <array>

using namespace portolan;
using namespace portolan::relay;
using namespace portolan::relay::testing;
using namespace std::chrono_literals;

namespace {

struct Calls final : WakeHandler {
  int count = 0;
  void on_place_free() noexcept override { ++count; }
};

void who_came_first_is_first(void**) {
  Waiters waiters;
  Calls calls;
  std::array<WaitNode, 5> nodes;
  WaitQueue queue(waiters, {.max = 4, .timeout = 5s}, calls);
  assert_null(queue.front());
  assert_true(queue.deadline() == Duration::max());
  for (int n = 0; n < 4; ++n) assert_true(queue.push(nodes[n], kStart + n * 1s));
  assert_false(queue.push(nodes[4], kStart + 4s));
  assert_false(nodes[4].waiting());
  assert_int_equal(waiters.count(), 4);
  assert_int_equal(queue.position(nodes[0]), 0);
  assert_int_equal(queue.position(nodes[3]), 3);
  queue.remove(nodes[0]);
  assert_ptr_equal(queue.front(), &nodes[1]);
  assert_int_equal(queue.position(nodes[3]), 2);
  queue.remove(nodes[2]);                         // gave up
  assert_int_equal(queue.position(nodes[3]), 2);  // at most
  assert_true(queue.push(nodes[4], kStart + 4s));
  queue.remove(nodes[1]);
  assert_int_equal(queue.position(nodes[3]), 0);
  assert_int_equal(queue.position(nodes[4]), 1);

  assert_true(queue.deadline() == kStart + 8s);
  assert_null(queue.expired(kStart + 7999ms));
  assert_ptr_equal(queue.expired(kStart + 8s), &nodes[3]);
  queue.remove(nodes[3]);
  assert_null(queue.expired(kStart + 8s));
  assert_int_equal(queue.size(), 1);
}

void the_bound_is_for_all_workers(void**) {
  Waiters waiters;
  Calls calls;
  std::array<WaitNode, 3> nodes;
  {
    WaitQueue one(waiters, {.max = 2}, calls);
    WaitQueue two(waiters, {.max = 2}, calls);
    assert_true(one.push(nodes[0], kStart));
    assert_true(two.push(nodes[1], kStart));
    assert_false(one.push(nodes[2], kStart));
    assert_false(two.push(nodes[2], kStart));
    one.remove(nodes[0]);
    assert_true(two.push(nodes[2], kStart));
  }
  assert_int_equal(waiters.count(), 0);
  assert_false(nodes[1].waiting());
  WaitQueue none(waiters, {.max = 0}, calls);
  assert_false(none.push(nodes[0], kStart));
}

void a_place_is_offered_to_the_worker_that_waits_longest(void**) {
  RelayState state;
  SetSettings settings = backends({1});
  settings.backends[0].max_sessions = 1;
  const auto set = state.set_for(settings);
  std::array<Calls, 3> calls;
  std::array<WaitNode, 3> nodes;
  WaitQueue one(state.waiters(), {}, calls[0]);
  WaitQueue two(state.waiters(), {}, calls[1]);
  WaitQueue three(state.waiters(), {}, calls[2]);
  Events events;
  const auto leave = [&] { Place::take(*set, set->members()[0], kStart, events).leave(); };
  const auto expect = [&calls](int first, int second, int third) {
    assert_int_equal(calls[0].count, first);
    assert_int_equal(calls[1].count, second);
    assert_int_equal(calls[2].count, third);
  };
  leave();
  expect(0, 0, 0);
  assert_true(one.push(nodes[0], kStart + 2s));
  assert_true(two.push(nodes[1], kStart + 1s));
  assert_true(three.push(nodes[2], kStart + 3s));
  leave();
  expect(0, 1, 0);
  two.remove(nodes[1]);
  leave();
  expect(1, 1, 0);
  one.remove(nodes[0]);
  leave();
  expect(1, 1, 1);
  // More than one place, perhaps: all hear of it.
  assert_true(two.push(nodes[1], kStart + 4s));
  state.drain(set->members()[0], kStart, events);
  state.undrain(set->members()[0], kStart, events);
  expect(1, 2, 2);
  state.set_weight(set->members()[0], 7);
  expect(1, 3, 3);
  // A tick in which nothing has come back wakes nobody, or those that wait would keep each other awake.
  assert_false(state.tick(*set, kStart, events));
  expect(1, 3, 3);
  // A place that was not given is none that becomes free.
  Place only = Place::take(*set, set->members()[0], kStart, events);
  assert_false(static_cast<bool>(Place::take(*set, set->members()[0], kStart, events)));
  expect(1, 3, 3);
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test(who_came_first_is_first),
      cmocka_unit_test(the_bound_is_for_all_workers),
      cmocka_unit_test(a_place_is_offered_to_the_worker_that_waits_longest),
  };
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
