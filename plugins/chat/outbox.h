// What waits for one member who reads slower than others write: references to messages, bounded in number and bytes.
//
// Owned by a session, on its thread. Empty it takes two words.
#pragma once

#include "plugins/chat/message.h"

#include <cstddef>
#include <deque>
#include <memory>
#include <utility>

namespace portolan::chat {

struct OutboxLimits {
  std::size_t messages = 1000;
  std::size_t bytes = 256 * 1024;
  bool drop_oldest = true;  // or else a message that has no room is not taken
};

class Outbox {
 public:
  bool empty() const noexcept { return !waiting_ && missed_ == 0; }
  std::size_t size() const noexcept { return waiting_ ? waiting_->messages.size() : 0; }

  // False: there is no room for it. How many gave way is counted. Throws std::bad_alloc.
  bool push(const MessageRef& message, Format format, const OutboxLimits& limits) {
    const std::size_t bytes = message->line(format).size();
    if (!waiting_) waiting_ = std::make_unique<Waiting>();
    while (!waiting_->messages.empty() &&
           (waiting_->messages.size() >= limits.messages || waiting_->bytes + bytes > limits.bytes)) {
      if (!limits.drop_oldest) return false;
      pop(format);
      ++missed_;
    }
    waiting_->bytes += bytes;
    waiting_->messages.push_back(message);
    return true;
  }
  // The oldest; there is one.
  MessageRef take(Format format) noexcept {
    MessageRef message = pop(format);
    if (waiting_->messages.empty()) waiting_.reset();
    return message;
  }
  // How many gave way since it was asked last: they were older than all that wait.
  std::uint32_t take_missed() noexcept { return std::exchange(missed_, 0); }

 private:
  struct Waiting {
    std::deque<MessageRef> messages;
    std::size_t bytes = 0;
  };
  MessageRef pop(Format format) noexcept {
    MessageRef message = std::move(waiting_->messages.front());
    waiting_->messages.pop_front();
    waiting_->bytes -= message->line(format).size();
    return message;
  }

  std::unique_ptr<Waiting> waiting_;
  std::uint32_t missed_ = 0;
};

}  // namespace portolan::chat
