#include "plugins/chat/history.h"

#include "base/callback.h"

#include <algorithm>
#include <iterator>

namespace portolan::chat {
namespace {

// So many may wait on the stack before a sender sorts them.
constexpr std::uint32_t kMostWaiting = 32;

}  // namespace

History::~History() {
  for (const Message* message = added_.load(); message;) message = MessageRef::adopt(message)->next_;
}

void History::add(const MessageRef& message, const HistoryLimits& limits) noexcept {
  if (limits.messages == 0) return;
  MessageRef held = message;
  const Message* raw = held.release();
  raw->next_ = added_.load(std::memory_order_relaxed);
  while (!added_.compare_exchange_weak(raw->next_, raw, std::memory_order_release, std::memory_order_relaxed)) {
  }
  if (waiting_.fetch_add(1, std::memory_order_relaxed) + 1 < kMostWaiting) return;
  // Never waits: who holds the lock takes what is here, or the next sender does.
  const std::unique_lock lock(mutex_, std::try_to_lock);
  if (lock.owns_lock()) contain("the history of a room", [&] { sort(limits); });
}

std::vector<MessageRef> History::last(std::size_t count, const HistoryLimits& limits) {
  const std::lock_guard lock(mutex_);
  sort(limits);
  const std::size_t from = messages_.size() - std::min(count, messages_.size());
  return {messages_.begin() + static_cast<std::ptrdiff_t>(from), messages_.end()};
}

void History::sort(const HistoryLimits& limits) {
  const Message* newest = added_.exchange(nullptr, std::memory_order_acquire);
  std::vector<MessageRef> fresh;
  for (const Message* message = newest; message;) {
    const Message* next = message->next_;
    fresh.push_back(MessageRef::adopt(message));
    message = next;
  }
  waiting_.fetch_sub(static_cast<std::uint32_t>(fresh.size()), std::memory_order_relaxed);
  for (auto message = fresh.rbegin(); message != fresh.rend(); ++message) {
    bytes_ += (*message)->size();
    messages_.push_back(std::move(*message));
  }
  trim(limits);
}

void History::trim(const HistoryLimits& limits) noexcept {
  while (!messages_.empty() && (messages_.size() > limits.messages || bytes_ > limits.bytes)) {
    bytes_ -= messages_.front()->size();
    messages_.pop_front();
  }
}

void History::recall(std::vector<MessageRef> earlier, const HistoryLimits& limits) {
  const std::lock_guard lock(mutex_);
  sort(limits);
  for (const MessageRef& message : earlier) bytes_ += message->size();
  messages_.insert(messages_.begin(), std::make_move_iterator(earlier.begin()), std::make_move_iterator(earlier.end()));
  trim(limits);
}

}  // namespace portolan::chat
