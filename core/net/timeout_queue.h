// A list of objects that all have the same timeout, in the order in which it will strike: O(1) to add, touch and
// remove, and no kernel timer for each. Intrusive: the objects derive from TimeoutNode and belong to others.
#pragma once

#include "plugin/descriptor.h"

#include <cstddef>

namespace portolan {

struct TimeoutNode {
  TimeoutNode* previous = nullptr;
  TimeoutNode* next = nullptr;
  Duration queued_at{};
};

class TimeoutQueue {
 public:
  TimeoutQueue() noexcept { head_.previous = head_.next = &head_; }
  TimeoutQueue(const TimeoutQueue&) = delete;
  TimeoutQueue& operator=(const TimeoutQueue&) = delete;

  // Zero: nothing in this queue ever expires.
  void set_timeout(Duration timeout) noexcept { timeout_ = timeout; }
  Duration timeout() const noexcept { return timeout_; }

  void add(TimeoutNode& node, Duration now) noexcept {
    node.queued_at = now;
    node.previous = head_.previous;
    node.next = &head_;
    head_.previous->next = &node;
    head_.previous = &node;
    ++size_;
  }
  void remove(TimeoutNode& node) noexcept {
    node.previous->next = node.next;
    node.next->previous = node.previous;
    node.previous = node.next = nullptr;
    --size_;
  }
  // Activity. Moves the node only when an eighth of the timeout has gone by since it was last moved, which spares
  // most messages the writes; in return a timeout strikes up to an eighth late, never early.
  void touch(TimeoutNode& node, Duration now) noexcept {
    if (now - node.queued_at < timeout_ / 8) return;
    if (timeout_ == Duration::zero()) return;
    remove(node);
    add(node, now);
  }
  // When the first one expires; max() when none does.
  Duration deadline() const noexcept {
    if (size_ == 0 || timeout_ == Duration::zero()) return Duration::max();
    return head_.next->queued_at + timeout_ + timeout_ / 8;
  }
  TimeoutNode* expired(Duration now) const noexcept { return deadline() <= now ? head_.next : nullptr; }
  TimeoutNode* first() const noexcept { return size_ ? head_.next : nullptr; }
  TimeoutNode* after(const TimeoutNode& node) const noexcept { return node.next == &head_ ? nullptr : node.next; }
  std::size_t size() const noexcept { return size_; }

 private:
  TimeoutNode head_;
  Duration timeout_{};
  std::size_t size_ = 0;
};

}  // namespace portolan
