// The last messages of a room, in memory: what `/history` shows.
//
// Any thread. Adding takes no lock: messages are put on a stack, which whoever finds it long, and nobody else at it,
// sorts into the ring behind the lock. What is over either bound goes, the oldest first. The store keeps them on disk, too,
// when the configuration says so (ChatService::said), and recall() brings those of earlier back.
#pragma once

#include "plugins/chat/message.h"

#include <atomic>
#include <cstddef>
#include <deque>
#include <mutex>
#include <vector>

namespace portolan::chat {

struct HistoryLimits {
  std::size_t messages = 100;  // 0: nothing is kept
  std::size_t bytes = 256 * 1024;
};

class History {
 public:
  History() = default;
  ~History();
  History(const History&) = delete;
  History& operator=(const History&) = delete;

  void add(const MessageRef& message, const HistoryLimits& limits) noexcept;
  // Puts what was said earlier in front of what is here. Throws std::bad_alloc.
  void recall(std::vector<MessageRef> earlier, const HistoryLimits& limits);
  // At most so many, the oldest first. Throws std::bad_alloc.
  std::vector<MessageRef> last(std::size_t count, const HistoryLimits& limits);

 private:
  void sort(const HistoryLimits& limits);  // with the lock
  void trim(const HistoryLimits& limits) noexcept;

  std::atomic<const Message*> added_{nullptr};  // the newest first
  std::atomic<std::uint32_t> waiting_{0};       // about: on the stack
  std::mutex mutex_;
  std::deque<MessageRef> messages_;
  std::size_t bytes_ = 0;
};

}  // namespace portolan::chat
