#include "plugins/relay/wait_queue.h"

#include <limits>

namespace portolan::relay {
namespace {

constexpr std::int64_t kNobody = std::numeric_limits<std::int64_t>::max();

}  // namespace

void Waiters::wake_oldest() noexcept {
  const std::lock_guard lock(mutex_);
  WaitQueue* first = nullptr;
  std::int64_t oldest = kNobody;
  for (WaitQueue* queue : queues_) {
    const std::int64_t age = queue->oldest_.load(std::memory_order_seq_cst);
    if (age >= oldest) continue;
    oldest = age;
    first = queue;
  }
  if (first) first->handler_.on_place_free();
}

void Waiters::wake_all() noexcept {
  if (count() == 0) return;
  const std::lock_guard lock(mutex_);
  for (WaitQueue* queue : queues_)
    if (queue->oldest_.load(std::memory_order_seq_cst) != kNobody) queue->handler_.on_place_free();
}

void Waiters::wake_each() noexcept {
  const std::lock_guard lock(mutex_);
  for (WaitQueue* queue : queues_) queue->handler_.on_place_free();
}

WaitQueue::WaitQueue(Waiters& waiters, const QueueSettings& settings, WakeHandler& handler)
    : waiters_(waiters), handler_(handler), max_(settings.max), timeout_(settings.timeout), oldest_(kNobody) {
  head_.previous = head_.next = &head_;
  const std::lock_guard lock(waiters_.mutex_);
  waiters_.queues_.push_back(this);
}

WaitQueue::~WaitQueue() {
  while (WaitNode* node = front()) remove(*node);
  const std::lock_guard lock(waiters_.mutex_);
  std::erase(waiters_.queues_, this);
}

bool WaitQueue::push(WaitNode& node, Duration now) noexcept {
  node.queued_at = now;
  // The time is told before the count: whoever sees the count finds somebody to wake.
  if (size_ == 0) oldest_.store(now.count(), std::memory_order_seq_cst);
  if (waiters_.count_.fetch_add(1, std::memory_order_seq_cst) >= max_) {
    waiters_.count_.fetch_sub(1, std::memory_order_seq_cst);
    publish();
    return false;
  }
  node.ticket = tickets_++;
  node.previous = head_.previous;
  node.next = &head_;
  head_.previous->next = &node;
  head_.previous = &node;
  ++size_;
  return true;
}

void WaitQueue::remove(WaitNode& node) noexcept {
  const bool was_front = head_.next == &node;
  node.previous->next = node.next;
  node.next->previous = node.previous;
  node.previous = node.next = nullptr;
  --size_;
  if (was_front) publish();
  waiters_.count_.fetch_sub(1, std::memory_order_seq_cst);
}

void WaitQueue::publish() noexcept {
  oldest_.store(size_ == 0 ? kNobody : head_.next->queued_at.count(), std::memory_order_seq_cst);
}

}  // namespace portolan::relay
