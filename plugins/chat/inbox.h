// What a worker's members are to get: pushed by any worker, taken in the order of arrival by the one that owns it.
//
// A stack of nodes that the owner turns around: pushing is one compare-and-swap, and tells whether it found the inbox
// empty, so that only the first of a batch wakes the owner. What one thread pushes stays in its order.
#pragma once

#include "plugin/service.h"
#include "plugins/chat/message.h"

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

namespace portolan::chat {

class Room;

struct Post {
  enum class Kind : std::uint8_t {
    room,    // to all members of `room` here
    direct,  // to the user `to`, as are the following
    kick,    // ends the session
    move,    // puts him out of `room`, into the first one
    mute,    // until `until` in `room`
  };
  Kind kind = Kind::room;
  std::shared_ptr<Room> room = nullptr;
  MessageRef message = {};  // may be none, but with `room` and `direct`
  std::uint64_t to = 0;
  Duration until{};
  Post* next = nullptr;  // the inbox's
};

class Inbox {
 public:
  Inbox() = default;
  Inbox(const Inbox&) = delete;
  Inbox& operator=(const Inbox&) = delete;
  ~Inbox() { free(take_all()); }

  // Any thread. True: it was empty, and the owner has to be woken.
  bool push(std::unique_ptr<Post> post) noexcept {
    Post* raw = post.release();
    // Beside the node: once that is pushed, the owner may have it and free it.
    Post* before = newest_.load(std::memory_order_relaxed);
    do {
      raw->next = before;
    } while (!newest_.compare_exchange_weak(before, raw, std::memory_order_release, std::memory_order_relaxed));
    return before == nullptr;
  }
  // The owner: all that is there, the oldest first, linked by `next`; they are the caller's.
  Post* take_all() noexcept {
    Post* post = newest_.exchange(nullptr, std::memory_order_acquire);
    Post* oldest = nullptr;
    while (post) {
      Post* next = post->next;
      post->next = oldest;
      oldest = post;
      post = next;
    }
    return oldest;
  }
  bool empty() const noexcept { return newest_.load(std::memory_order_relaxed) == nullptr; }
  static void free(Post* first) noexcept {
    while (first) delete std::exchange(first, first->next);
  }

 private:
  std::atomic<Post*> newest_{nullptr};
};

}  // namespace portolan::chat
