// Sessions that wait until a backend has a place for them: first come, first served.
//
// A WaitQueue is one worker's, on its thread; the nodes belong to the sessions. Waiters, one for a service, counts all
// that wait and knows the workers' queues: a place that becomes free on one worker is offered to whoever waits longest
// on any. Between queues the order is kept as far as a hint can: a new session may take the place first.
//
// The rules for whoever uses it:
// - A session that comes while its own worker's queue is not empty joins it, and asks no Balancer.
// - After push, ask the Balancer once more for the front: a place may have become free just before.
// - When woken, and at every tick (a rate lets more in without a word): for each front() that gets a place, remove it.
#pragma once

#include "plugin/descriptor.h"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

namespace portolan::relay {

struct QueueSettings {
  std::uint32_t max = 1000;  // of the service, on all workers; 0: nobody waits
  Duration timeout = std::chrono::seconds(5);
};

struct WaitNode {
  WaitNode* previous = nullptr;
  WaitNode* next = nullptr;
  Duration queued_at{};
  std::uint64_t ticket = 0;
  bool waiting() const noexcept { return next != nullptr; }
};

// How a worker hears that a place may be free for the front of its queue.
class WakeHandler {
 public:
  // From any thread, under a lock: it posts to the worker's thread and returns.
  virtual void on_place_free() noexcept = 0;

 protected:
  ~WakeHandler() = default;
};

class WaitQueue;

// Any thread.
class Waiters {
 public:
  std::uint32_t count() const noexcept { return count_.load(std::memory_order_seq_cst); }
  // Offers a free place to the queue whose front waits longest. Costs one load when nobody waits.
  void wake() noexcept {
    if (count() != 0) wake_oldest();
  }
  // Backends have come back: there is more than one place.
  void wake_all() noexcept;
  // Every worker, whether anybody waits there or not: something else has changed.
  void wake_each() noexcept;

 private:
  friend class WaitQueue;
  void wake_oldest() noexcept;

  std::atomic<std::uint32_t> count_{0};
  std::mutex mutex_;
  std::vector<WaitQueue*> queues_;
};

class WaitQueue {
 public:
  // `waiters` and `handler` outlive it. Throws std::bad_alloc.
  WaitQueue(Waiters& waiters, const QueueSettings& settings, WakeHandler& handler);
  ~WaitQueue();
  WaitQueue(const WaitQueue&) = delete;
  WaitQueue& operator=(const WaitQueue&) = delete;

  // False: as many wait as may.
  bool push(WaitNode& node, Duration now) noexcept;
  void remove(WaitNode& node) noexcept;

  WaitNode* front() const noexcept { return size_ == 0 ? nullptr : head_.next; }
  std::size_t size() const noexcept { return size_; }
  // How many of this worker's are before it, at most: who left from the middle is counted until the front has passed.
  std::uint64_t position(const WaitNode& node) const noexcept { return node.ticket - head_.next->ticket; }

  // When the front has waited too long; max() when nobody waits.
  Duration deadline() const noexcept { return size_ == 0 ? Duration::max() : head_.next->queued_at + timeout_; }
  // One that has; the caller removes it. Null: none.
  WaitNode* expired(Duration now) const noexcept { return deadline() <= now ? head_.next : nullptr; }

 private:
  friend class Waiters;
  void publish() noexcept;

  Waiters& waiters_;
  WakeHandler& handler_;
  const std::uint32_t max_;
  const Duration timeout_;
  WaitNode head_;
  std::size_t size_ = 0;
  std::uint64_t tickets_ = 0;
  std::atomic<std::int64_t> oldest_;  // queued_at of the front, for other threads
};

}  // namespace portolan::relay
