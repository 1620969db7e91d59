#include "message_queue.h"

#include "base/clock.h"

#include <algorithm>
#include <utility>

namespace portolan {

WaitingMessage::WaitingMessage(std::int64_t id, std::string_view service, const KeptMessage& message,
                               std::int64_t time_ms)
    : id_(id), time_ms_(time_ms) {
  const std::array<std::string_view, 5> parts = {service, message.room, message.sender, message.kind, message.text};
  std::size_t size = 0;
  for (std::size_t i = 0; i < parts.size(); ++i) ends_[i] = static_cast<std::uint32_t>(size += parts[i].size());
  text_.reserve(size);
  for (const std::string_view one : parts) text_ += one;
}

StoredMessage WaitingMessage::stored() const {
  return {.id = id_,
          .time_ms = time_ms_,
          .service = std::string(service()),
          .room = std::string(room()),
          .sender = std::string(sender()),
          .kind = std::string(kind()),
          .text = std::string(text())};
}

void MessageQueue::start_after(std::int64_t last_id) noexcept {
  const std::lock_guard lock(mutex_);
  last_id_ = std::max(last_id_, last_id);
}

bool MessageQueue::add(std::string_view service, const KeptMessage& message) noexcept {
  const std::int64_t time_ms = message.time_ms != 0 ? message.time_ms : unix_ms();
  const std::lock_guard lock(mutex_);
  const std::size_t before = count_.load(std::memory_order_relaxed);
  const std::size_t size = sizeof(WaitingMessage) + service.size() + message.room.size() + message.sender.size() +
                           message.kind.size() + message.text.size();
  if (before >= kMostWaiting || bytes_ + size > kMostBytes || size > kMostMessageBytes) {
    lost_.fetch_add(1, std::memory_order_relaxed);
    return false;
  }
  try {
    if (waiting_.empty() || waiting_.back().size() >= kMostInGroup) waiting_.emplace_back();
    bytes_ += waiting_.back().emplace_back(last_id_ + 1, service, message, time_ms).bytes();
    ++last_id_;
  } catch (...) {  // no memory
    lost_.fetch_add(1, std::memory_order_relaxed);
    return false;
  }
  count_.store(before + 1, std::memory_order_relaxed);
  return before + 1 == kGroup;
}

std::vector<StoredMessage> MessageQueue::find(std::string_view service, const std::string* room) const {
  std::vector<StoredMessage> found;
  const auto collect = [&](const Group& group) {
    for (const WaitingMessage& message : group)
      if (message.service() == service && (!room || message.room() == *room)) found.push_back(message.stored());
  };
  const std::lock_guard lock(mutex_);
  if (being_written_) collect(*being_written_);
  for (const Group& group : waiting_) collect(group);
  return found;
}

std::shared_ptr<const MessageQueue::Group> MessageQueue::take() {
  const std::lock_guard lock(mutex_);
  if (!being_written_ && !waiting_.empty()) {
    being_written_ = std::make_shared<const Group>(std::move(waiting_.front()));
    waiting_.erase(waiting_.begin());
  }
  return being_written_;
}

void MessageQueue::written() noexcept {
  std::shared_ptr<const Group> group;  // freed without the lock
  const std::lock_guard lock(mutex_);
  group = std::exchange(being_written_, nullptr);
  if (!group) return;
  for (const WaitingMessage& message : *group) bytes_ -= message.bytes();
  count_.fetch_sub(group->size(), std::memory_order_relaxed);
}

}  // namespace portolan
