#include "precise_timer.h"

#include "base/callback.h"
#include "base/clock.h"

#include <sys/timerfd.h>

#include <algorithm>
#include <stdexcept>

namespace portolan {

namespace {

constexpr Duration kLongest = std::chrono::hours(24);

}  // namespace

PreciseTimer::PreciseTimer(Loop& loop, std::function<void()> handler)
    : handler_(std::move(handler)), descriptor_(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)) {
  if (!descriptor_) throw std::runtime_error("cannot make a timerfd: the process has no file descriptor left");
  event_.bind(loop, descriptor_.get(), &PreciseTimer::on_event, this);
  event_.want(IoEvent::kRead);
}

void PreciseTimer::wake_at(Duration when) noexcept {
  if (when == Duration::max() || when >= set_to_) return;
  set(when);
}

void PreciseTimer::set(Duration when) noexcept {
  set_to_ = when;
  // What has expired is forgotten with it: nobody needs to read the descriptor.
  set_kernel_timer(descriptor_.get(),
                   when == Duration::max() ? when : std::min<Duration>(when - Loop::now(), kLongest));
}

void PreciseTimer::on_event(int, short, void* self) noexcept {
  auto& timer = *static_cast<PreciseTimer*>(self);
  timer.set_to_ = Duration::max();
  contain("a timer", timer.handler_);
  if (timer.set_to_ == Duration::max()) timer.set(Duration::max());
}

}  // namespace portolan
