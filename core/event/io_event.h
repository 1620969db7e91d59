// The event of one descriptor, embedded in the object that handles it: no allocation and no std::function, because
// there is one for each session. Watch (loop.h) is the comfortable form for the few others.
//
// Belongs to the thread of its loop. The handler may destroy the object that holds the event.
#pragma once

#include "loop.h"

#include <cstddef>

namespace portolan {

class IoEvent {
 public:
  static constexpr short kRead = Watch::kRead, kWrite = Watch::kWrite;
  using Handler = void (*)(int descriptor, short events, void* owner) noexcept;

  IoEvent() = default;
  ~IoEvent() { stop(); }
  IoEvent(const IoEvent&) = delete;
  IoEvent& operator=(const IoEvent&) = delete;

  void bind(Loop& loop, int descriptor, Handler handler, void* owner) noexcept;
  // Waits for these events from now on; 0 waits for none. False when the kernel has no room for it.
  bool want(short events) noexcept;
  short wanted() const noexcept { return wanted_; }
  void stop() noexcept { want(0); }

 private:
  // As large as libevent's `struct event` on every 64-bit platform; io_event.cc checks.
  alignas(8) std::byte event_[128]{};
  event_base* base_ = nullptr;
  short wanted_ = 0;
};

}  // namespace portolan
