// A timer for deadlines of microseconds, such as those of pacing: a timerfd of its own.
//
// LoopTimer is for all else: it costs no descriptor and mostly no system call, but it reads the kernel's coarse clock and
// waits in whole milliseconds, so that it is 3 to 8 ms late (measured, at 250 Hz); this one 50 µs. libevent's own precise
// timers would burden every turn of every loop with a system call.
//
// Belongs to the thread of its loop. The handler may not destroy it.
#pragma once

#include "base/unique_fd.h"
#include "event/io_event.h"

#include <functional>

namespace portolan {

class PreciseTimer {
 public:
  // Throws when the process has no descriptor left.
  PreciseTimer(Loop& loop, std::function<void()> handler);
  PreciseTimer(const PreciseTimer&) = delete;
  PreciseTimer& operator=(const PreciseTimer&) = delete;

  // Calls the handler at `when` (Loop::now), or in the loop's next turn when that has passed; Duration::max() is never.
  // A deadline that only moves back costs nothing: the handler may therefore be called before it, and looks at the clock.
  void wake_at(Duration when) noexcept;

 private:
  static void on_event(int descriptor, short events, void* self) noexcept;
  void set(Duration when) noexcept;

  std::function<void()> handler_;
  UniqueFd descriptor_;
  IoEvent event_;
  Duration set_to_ = Duration::max();
};

}  // namespace portolan
