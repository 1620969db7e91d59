// Answers questions in SQL, one after the other, on a thread and a connection of its own.
//
// The thread begins with the first question; the connection closes when nothing was asked for kIdle. Owned by Store; ask,
// cancel and stop from any thread. Refuses at once when too many wait (kMostWaiting, kMostUrgent). Every question that was taken is answered
// once, on the reader's thread, and by stop at the latest.
#pragma once

#include "read_connection.h"
#include "store_access.h"

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <string>
#include <thread>

namespace portolan {

class QueryReader {
 public:
  static constexpr std::size_t kMostWaiting = 256;
  static constexpr std::size_t kMostUrgent = 4096;
  static constexpr Duration kIdle = std::chrono::seconds(30);

  // Two queues: core's own questions, which are short and known, do not wait behind those of scripts.
  enum class Urgency : std::uint8_t { urgent, usual };

  explicit QueryReader(std::string path, Duration idle = kIdle);
  ~QueryReader() { stop(); }

  std::expected<StoreAccess::QuestionId, std::string> ask(StoreQuestion question, StoreAccess::Answered answered,
                                                          Urgency urgency = Urgency::usual) noexcept;
  void cancel(StoreAccess::QuestionId id) noexcept;
  // Answers what waits and what runs with an error, and ends the thread; it takes milliseconds. Not from a callback.
  void stop() noexcept;
  // For tests: whether it has the file open now.
  bool holds_file() const noexcept { return holds_file_.load(std::memory_order_relaxed); }

 private:
  struct Waiting {
    StoreAccess::QuestionId id = 0;
    StoreQuestion question;
    StoreAccess::Answered answered;
    Duration asked{};
    bool cancelled = false;
  };
  bool any_waits() const noexcept { return !waiting_[0].empty() || !waiting_[1].empty(); }
  void run() noexcept;
  void answer(Waiting& waiting, bool stopping) noexcept;

  const std::string path_;
  const Duration idle_;
  std::atomic<bool> cancel_running_{false};
  std::atomic<bool> holds_file_{false};
  ReadConnection connection_;  // the thread's

  std::mutex mutex_;  // guards what follows
  std::condition_variable wake_;
  std::array<std::deque<Waiting>, 2> waiting_;  // by urgency
  StoreAccess::QuestionId last_id_ = 0;
  StoreAccess::QuestionId running_ = 0;  // 0: none
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace portolan
