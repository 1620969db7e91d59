#include "script/bus.h"

#include "base/callback.h"
#include "net/worker_io.h"

#include <algorithm>
#include <utility>

namespace portolan {

bool fits(std::string_view pattern, std::string_view topic) noexcept {
  return pattern.ends_with('*') ? topic.starts_with(pattern.substr(0, pattern.size() - 1)) : topic == pattern;
}

std::size_t ScriptBus::publish(Message message) {
  const auto table = std::atomic_load(&table_);
  std::vector<Inbox*> inboxes;
  const auto [from, to] = table->topics.equal_range(message->topic);
  for (auto entry = from; entry != to; ++entry) inboxes.push_back(entry->second.get());
  for (const auto& [beginning, inbox] : table->beginnings)
    if (message->topic.starts_with(beginning)) inboxes.push_back(inbox.get());
  std::ranges::sort(inboxes);
  const auto repeated = std::ranges::unique(inboxes);
  inboxes.erase(repeated.begin(), repeated.end());
  for (Inbox* inbox : inboxes) inbox->put(message);
  return inboxes.size();
}

void ScriptBus::change(const std::string& pattern, const std::shared_ptr<Inbox>& inbox, bool add) {
  const std::lock_guard lock(mutex_);
  auto next = std::make_shared<Table>(*std::atomic_load(&table_));
  if (pattern.ends_with('*')) {
    const std::pair entry(pattern.substr(0, pattern.size() - 1), inbox);
    if (add)
      next->beginnings.push_back(entry);
    else if (const auto place = std::ranges::find(next->beginnings, entry); place != next->beginnings.end())
      next->beginnings.erase(place);
  } else if (add) {
    next->topics.emplace(pattern, inbox);
  } else {
    auto [from, to] = next->topics.equal_range(pattern);
    const auto place = std::find_if(from, to, [&](const auto& entry) { return entry.second == inbox; });
    if (place != to) next->topics.erase(place);
  }
  std::atomic_store(&table_, std::shared_ptr<const Table>(std::move(next)));
}

void ScriptBus::Inbox::add(Listener& listener, const std::string& pattern) {
  listeners_.push_back(&listener);
  bus_.change(pattern, shared_from_this(), true);
}

void ScriptBus::Inbox::remove(Listener& listener, const std::string& pattern) noexcept {
  std::erase(listeners_, &listener);
  contain("the end of a subscription", [&] { bus_.change(pattern, shared_from_this(), false); });
}

void ScriptBus::Inbox::close() noexcept {
  const std::lock_guard lock(mutex_);
  io_ = nullptr;
  messages_.clear();
}

void ScriptBus::Inbox::put(Message message) {
  const std::lock_guard lock(mutex_);
  if (!io_ || messages_.size() >= kMost || bytes_ > kMostBytes) return;
  bytes_ += message->value.size();
  messages_.push_back(std::move(message));
  if (!std::exchange(posted_, true)) io_->post([inbox = shared_from_this()] { inbox->deliver(); });
}

void ScriptBus::Inbox::deliver() noexcept {
  std::vector<Message> messages;
  WorkerIo* io = nullptr;
  {
    const std::lock_guard lock(mutex_);
    posted_ = false;
    messages.swap(messages_);
    bytes_ = 0;
    io = io_;
  }
  if (!io) return;
  io->tick();
  for (const Message& message : messages) {
    // One that is told may end others.
    contain("a published message", [&] {
      for (Listener* listener : std::vector(listeners_))
        if (std::ranges::find(listeners_, listener) != listeners_.end() && listener->wants(message->topic))
          listener->on_message(message);
    });
  }
  io->settle();
}

}  // namespace portolan
