#include "precise_timer.h"

#include "base/callback.h"

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
  itimerspec setting{};
  if (when != Duration::max()) {
    // Relative, because an absolute time_t of 32 bits ends; and never 0, which would disarm it.
    const auto delay = std::clamp(when - Loop::now(), Duration(1), kLongest).count();
    setting.it_value.tv_sec = static_cast<time_t>(delay / 1'000'000'000);
    setting.it_value.tv_nsec = static_cast<decltype(setting.it_value.tv_nsec)>(delay % 1'000'000'000);
  }
  // What has expired is forgotten with it: nobody needs to read the descriptor.
  timerfd_settime(descriptor_.get(), 0, &setting, nullptr);
}

void PreciseTimer::on_event(int, short, void* self) noexcept {
  auto& timer = *static_cast<PreciseTimer*>(self);
  timer.set_to_ = Duration::max();
  contain("a timer", timer.handler_);
  if (timer.set_to_ == Duration::max()) timer.set(Duration::max());
}

}  // namespace portolan
