#include "event/loop.h"

#include "event/precise_timer.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "support/cmocka.h"  // last: it has a macro named fail

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

void a_precise_timer_is_late_by_less_than_its_deadlines(void**) {
  Loop loop;
  std::vector<Duration> late;
  Duration due{};
  std::function<void()> fired;
  PreciseTimer timer(loop, [&] { fired(); });
  fired = [&] {
    const Duration now = Loop::now();
    if (now < due) return timer.wake_at(due);
    late.push_back(now - due);
    if (late.size() == 101) return loop.stop();
    due = now + 200us;
    // One that came to be due earlier counts; one that moved back may cost a call for nothing, and no more.
    timer.wake_at(due + 1h);
    timer.wake_at(due);
    timer.wake_at(Duration::max());
  };
  due = Loop::now() - 1s;
  timer.wake_at(due);
  loop.run();
  std::ranges::sort(late);
  // LoopTimer's would be milliseconds late. The middle, because this machine may be busy.
  assert_true(late[50] < 1ms);
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

// libevent is C: an exception that went through it would end the process, here with a signal.
void a_callback_that_throws_takes_nothing_down(void**) {
  Loop loop;
  Mailbox mailbox(loop);
  std::vector<std::string> done;
  const auto fail_with = [&](const char* what) {
    done.emplace_back(what);
    throw std::runtime_error(what);
  };
  int fired = 0;
  LoopTimer repeating(loop, [&] {
    if (++fired == 2) loop.stop();
    throw std::bad_alloc();
  });
  LoopTimer once(loop, [&] { fail_with("timer"); });
  LoopSignal on_signal(loop, SIGUSR1, [&] {
    done.emplace_back("signal");
    throw 42;  // not even an exception by type
  });
  int ends[2];
  assert_int_equal(::pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
  Watch watch(loop, ends[0], Watch::kRead, [&](short) {
    char byte = 0;
    if (::read(ends[0], &byte, 1) == 1) fail_with("descriptor");
  });
  mailbox.post([&] { fail_with("task"); });
  mailbox.post([&] { done.emplace_back("the task behind it"); });
  assert_int_equal(::write(ends[1], "x", 1), 1);
  assert_int_equal(::raise(SIGUSR1), 0);
  once.start(0ms);
  repeating.start(30ms, true);
  loop.run();
  assert_int_equal(fired, 2);
  const auto seen = [&](const char* what) { return std::ranges::count(done, what) == 1; };
  assert_true(seen("task"));
  assert_true(seen("the task behind it"));
  assert_true(seen("timer"));
  assert_true(seen("descriptor"));
  assert_true(seen("signal"));
  ::close(ends[0]);
  ::close(ends[1]);
}

// Over 68 years do not fit the seconds of a 32-bit timeval: as a negative time it would fire at once.
void the_longest_delay_does_not_fire(void**) {
  Loop loop;
  int fired = 0;
  LoopTimer century(loop, [&] { ++fired; });
  LoopTimer for_ever(loop, [&] { ++fired; });
  LoopTimer now(loop, [&] { loop.stop(); });
  century.start(std::chrono::hours(24 * 365 * 100));
  for_ever.start(Duration::max());
  now.start(20ms);
  loop.run();
  assert_int_equal(fired, 0);
  assert_true(century.running());
  assert_true(for_ever.running());
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test(a_mailbox_keeps_order_and_loses_nothing),
      cmocka_unit_test(a_task_may_post_another),
      cmocka_unit_test(a_precise_timer_is_late_by_less_than_its_deadlines),
      cmocka_unit_test(a_timer_is_never_early_and_fires_once),
      cmocka_unit_test(a_repeating_timer_repeats_until_it_is_stopped),
      cmocka_unit_test(a_callback_that_throws_takes_nothing_down),
      cmocka_unit_test(the_longest_delay_does_not_fire),
  };
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
