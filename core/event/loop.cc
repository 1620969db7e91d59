#include "loop.h"

#include "base/callback.h"
#include "base/clock.h"

#include <event2/event.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <stdexcept>

namespace portolan {

static_assert(Watch::kRead == EV_READ && Watch::kWrite == EV_WRITE);

namespace {

// libevent adds the clock to it, and where its time_t has 32 bits the sum ends after 68 years.
constexpr Duration kLongestDelay = std::chrono::hours(24 * 365 * 30);

timeval to_timeval(Duration delay) noexcept {
  const auto nanoseconds = std::clamp(delay, Duration::zero(), kLongestDelay).count();
  // Rounded up: a timer that fires early would find its deadline not reached and be set again.
  const auto microseconds = (nanoseconds + 999) / 1000;
  return {.tv_sec = static_cast<time_t>(microseconds / 1'000'000),
          .tv_usec = static_cast<suseconds_t>(microseconds % 1'000'000)};
}

}  // namespace

Loop::Loop() {
  event_config* config = event_config_new();
  // One thread per loop, so no locks; and Mailbox needs none of libevent's own.
  event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
  base_ = event_base_new_with_config(config);
  event_config_free(config);
  if (!base_) throw std::runtime_error("cannot make an event loop: the system has no epoll descriptor left");
}

Loop::~Loop() { event_base_free(base_); }

void Loop::run() { event_base_loop(base_, EVLOOP_NO_EXIT_ON_EMPTY); }

void Loop::stop() noexcept { event_base_loopbreak(base_); }

void Loop::turn(bool wait) { event_base_loop(base_, wait ? EVLOOP_ONCE : EVLOOP_NONBLOCK); }

Duration Loop::now() noexcept { return monotonic_now(); }

Watch::Watch(Loop& loop, int descriptor, short events, std::function<void(short)> handler)
    : handler_(std::move(handler)) {
  event_ = event_new(loop.base(), descriptor, static_cast<short>(events | EV_PERSIST),
                     c_callback(+[](evutil_socket_t, short what, void* self) noexcept {
                       contain("the handling of a descriptor", [&] { static_cast<Watch*>(self)->handler_(what); });
                     }),
                     this);
  if (!event_) throw std::bad_alloc();
  resume();
}

Watch::~Watch() { event_free(event_); }
void Watch::pause() noexcept { event_del(event_); }
void Watch::resume() noexcept { event_add(event_, nullptr); }

LoopTimer::LoopTimer(Loop& loop, std::function<void()> handler) : handler_(std::move(handler)) {
  event_ = event_new(loop.base(), -1, EV_PERSIST, c_callback(+[](evutil_socket_t, short, void* self) noexcept {
                       auto& timer = *static_cast<LoopTimer*>(self);
                       if (!timer.repeat_) event_del(timer.event_);
                       contain("a timer", timer.handler_);
                     }),
                     this);
  if (!event_) throw std::bad_alloc();
}

LoopTimer::~LoopTimer() { event_free(event_); }

void LoopTimer::start(Duration delay, bool repeat) noexcept {
  repeat_ = repeat;
  const timeval time = to_timeval(delay);
  event_add(event_, &time);
}

void LoopTimer::stop() noexcept { event_del(event_); }
bool LoopTimer::running() const noexcept { return event_pending(event_, EV_TIMEOUT, nullptr) != 0; }

LoopTask::LoopTask(Loop& loop, std::function<void()> handler) : handler_(std::move(handler)) {
  event_ = event_new(loop.base(), -1, 0, c_callback(+[](evutil_socket_t, short, void* self) noexcept {
                       contain("a task of the loop", static_cast<LoopTask*>(self)->handler_);
                     }),
                     this);
  if (!event_) throw std::bad_alloc();
}

LoopTask::~LoopTask() { event_free(event_); }
// An event that is active already stays where it is in the queue.
void LoopTask::run_soon() noexcept { event_active(event_, EV_TIMEOUT, 1); }

LoopSignal::LoopSignal(Loop& loop, int signal_number, std::function<void()> handler) : handler_(std::move(handler)) {
  event_ = event_new(loop.base(), signal_number, EV_SIGNAL | EV_PERSIST,
                     c_callback(+[](evutil_socket_t, short, void* self) noexcept {
                       contain("the handling of a signal", static_cast<LoopSignal*>(self)->handler_);
                     }),
                     this);
  if (!event_) throw std::bad_alloc();
  event_add(event_, nullptr);
}

LoopSignal::~LoopSignal() { event_free(event_); }

Mailbox::Mailbox(Loop& loop) : eventfd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  if (eventfd_ < 0) throw std::runtime_error("cannot make an eventfd: the process has no file descriptor left");
  watch_ = std::make_unique<Watch>(loop, eventfd_, Watch::kRead, [this](short) { take(); });
}

Mailbox::~Mailbox() {
  watch_.reset();
  close(eventfd_);
}

void Mailbox::post(std::function<void()> task) {
  bool wake = false;
  {
    const std::lock_guard lock(mutex_);
    wake = tasks_.empty();
    tasks_.push_back(std::move(task));
  }
  if (!wake) return;
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = write(eventfd_, &one, sizeof one);
}

void Mailbox::take() {
  std::uint64_t count = 0;
  [[maybe_unused]] const auto got = read(eventfd_, &count, sizeof count);
  std::vector<std::function<void()>> tasks;
  {
    const std::lock_guard lock(mutex_);
    tasks.swap(tasks_);
  }
  // Each by itself: those behind one that fails are still done.
  for (auto& task : tasks) contain("a task from another thread", task);
}

}  // namespace portolan
