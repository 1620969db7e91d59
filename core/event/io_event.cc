#include "io_event.h"

#include "base/callback.h"

#include <event2/event.h>
#include <event2/event_struct.h>

namespace portolan {

static_assert(sizeof(struct event) <= 128);
static_assert(alignof(struct event) <= 8);

void IoEvent::bind(Loop& loop, int descriptor, Handler handler, void* owner) noexcept {
  base_ = loop.base();
  auto* raw = static_cast<struct event*>(static_cast<void*>(event_));
  event_assign(raw, base_, descriptor, 0, c_callback(handler), owner);
}

bool IoEvent::want(short events) noexcept {
  if (events == wanted_) return true;
  auto* raw = static_cast<struct event*>(static_cast<void*>(event_));
  const auto descriptor = event_get_fd(raw);
  const auto handler = event_get_callback(raw);  // the one that bind gave
  void* owner = event_get_callback_arg(raw);
  if (wanted_) event_del(raw);
  wanted_ = 0;
  if (!events) return true;
  event_assign(raw, base_, descriptor, static_cast<short>(events | EV_PERSIST), handler, owner);
  if (event_add(raw, nullptr) != 0) return false;
  wanted_ = events;
  return true;
}

}  // namespace portolan
