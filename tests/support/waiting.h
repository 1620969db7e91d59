// Deadlines for tests: nothing here sleeps in the hope that something has happened by then.
#pragma once

#include <chrono>
#include <cstdint>

#include <poll.h>

namespace portolan::testing {

using Milliseconds = std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

// For what should take no time at all: long, since a machine with other work stands still for seconds now and then. It
// runs out only where a test is about to fail. A test that tells "at once" from "when the other timeout is over" makes
// that one longer than this ('120s') and needs no clock of its own.
inline constexpr Milliseconds kPatience{30'000};

class Deadline {
 public:
  explicit Deadline(Milliseconds after = kPatience) : at_(Clock::now() + after) {}
  bool passed() const noexcept { return Clock::now() >= at_; }
  // For poll(2): rounded up, never negative.
  int left_ms() const noexcept {
    const auto left = std::chrono::ceil<Milliseconds>(at_ - Clock::now()).count();
    return left < 0 ? 0 : static_cast<int>(left);
  }

 private:
  Clock::time_point at_;
};

inline std::int64_t milliseconds_since(Clock::time_point start) {
  return std::chrono::duration_cast<Milliseconds>(Clock::now() - start).count();
}

// Asks every few milliseconds until it holds or the time is up; the answer is whether it held.
template <typename Condition>
bool wait_until(Condition condition, Milliseconds patience = kPatience) {
  const Deadline deadline(patience);
  for (;;) {
    if (condition()) return true;
    if (deadline.passed()) return false;
    ::poll(nullptr, 0, 5);
  }
}

// Lets time itself pass, where the passing of time is what is being tested.
inline void let_pass(Milliseconds time) {
  const Deadline deadline(time);
  while (!deadline.passed()) ::poll(nullptr, 0, deadline.left_ms());
}

// Sizes and times under sanitizers, or on a small machine: PORTOLAN_TEST_SCALE=0.1 makes big tests a tenth as big.
double test_scale();
int scaled(int size, int least = 1);

}  // namespace portolan::testing
