#include "event/loop.h"

#include "support/cmocka.h"

#include <atomic>
#include <thread>

using namespace portolan;
using namespace std::chrono_literals;

namespace {

void a_mailbox_keeps_order_and_loses_nothing(void**) {
  Loop loop;
  Mailbox mailbox(loop);
  constexpr int kEach = 50'000;
  int last[2] = {-1, -1};
  int seen = 0;
  bool ordered = true;
  std::thread posters[2];
  for (int p = 0; p < 2; ++p)
    posters[p] = std::thread([&, p] {
      for (int i = 0; i < kEach; ++i)
        mailbox.post([&, p, i] {
          ordered = ordered && last[p] == i - 1;
          last[p] = i;
          if (++seen == 2 * kEach) loop.stop();
        });
    });
  loop.run();
  for (auto& poster : posters) poster.join();
  assert_true(ordered);
  assert_int_equal(seen, 2 * kEach);
}

void a_task_may_post_another(void**) {
  Loop loop;
  Mailbox mailbox(loop);
  int depth = 0;
  std::function<void()> again = [&] {
    if (++depth == 5) return loop.stop();
    mailbox.post(again);
  };
  mailbox.post(again);
  loop.run();
  assert_int_equal(depth, 5);
}

void a_timer_is_never_early_and_fires_once(void**) {
  Loop loop;
  const Duration start = Loop::now();
  int fired = 0;
  Duration at{};
  LoopTimer once(loop, [&] {
    ++fired;
    at = Loop::now();
  });
  LoopTimer end(loop, [&] { loop.stop(); });
  once.start(20ms);
  end.start(60ms);
  assert_true(once.running());
  loop.run();
  assert_int_equal(fired, 1);
  assert_false(once.running());
  // libevent reads the coarse clock, which ticks every few milliseconds.
  assert_true(at - start >= 15ms);
}

void a_repeating_timer_repeats_until_it_is_stopped(void**) {
  Loop loop;
  int fired = 0;
  std::unique_ptr<LoopTimer> timer;
  timer = std::make_unique<LoopTimer>(loop, [&] {
    if (++fired == 3) {
      timer->stop();
      loop.stop();
    }
  });
  timer->start(1ms, true);
  loop.run();
  assert_int_equal(fired, 3);
  assert_false(timer->running());
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test(a_mailbox_keeps_order_and_loses_nothing),
      cmocka_unit_test(a_task_may_post_another),
      cmocka_unit_test(a_timer_is_never_early_and_fires_once),
      cmocka_unit_test(a_repeating_timer_repeats_until_it_is_stopped),
  };
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
