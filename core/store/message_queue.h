// Messages of chats on their way to the file: taken in groups, and found here until the file has them.
//
// add and find from any thread (a short lock); take and written from the store's thread. Numbers the messages.
// Refuses, and counts as lost, what would wait beyond kMostWaiting messages or kMostBytes, and one over kMostMessageBytes.
#pragma once

#include "plugin/service.h"
#include "store_access.h"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace portolan {

// One allocation for all of its text.
class WaitingMessage {
 public:
  WaitingMessage(std::int64_t id, std::string_view service, const KeptMessage& message, std::int64_t time_ms);

  std::int64_t id() const noexcept { return id_; }
  std::int64_t time_ms() const noexcept { return time_ms_; }
  std::string_view service() const noexcept { return part(0); }
  std::string_view room() const noexcept { return part(1); }
  std::string_view sender() const noexcept { return part(2); }
  std::string_view kind() const noexcept { return part(3); }
  std::string_view text() const noexcept { return part(4); }
  std::size_t bytes() const noexcept { return sizeof *this + text_.capacity(); }
  StoredMessage stored() const;

 private:
  std::string_view part(std::size_t index) const noexcept {
    const std::uint32_t from = index == 0 ? 0 : ends_[index - 1];
    return std::string_view(text_).substr(from, ends_[index] - from);
  }

  std::int64_t id_;
  std::int64_t time_ms_;
  std::array<std::uint32_t, 5> ends_{};
  std::string text_;
};

class MessageQueue {
 public:
  static constexpr std::size_t kMostWaiting = 200'000;
  static constexpr std::size_t kMostBytes = 64 << 20;
  static constexpr std::size_t kMostMessageBytes = 256 * 1024;  // of one, its names included
  // When as many wait they are written without waiting for the next flush.
  static constexpr std::size_t kGroup = 2'000;
  static constexpr std::size_t kMostInGroup = 10'000;

  using Group = std::vector<WaitingMessage>;

  void start_after(std::int64_t last_id) noexcept;
  // True: with this one a group is complete, and the writer is to be woken.
  bool add(std::string_view service, const KeptMessage& message) noexcept;

  // Those of a room, or of every room when `room` is null, that the file may lack; the oldest first.
  std::vector<StoredMessage> find(std::string_view service, const std::string* room) const;

  // At most kMostInGroup, the oldest; null: none waits. Until `written` they are found here, and taken again.
  std::shared_ptr<const Group> take();
  void written() noexcept;

  std::size_t waiting() const noexcept { return count_.load(std::memory_order_relaxed); }
  std::uint64_t lost() const noexcept { return lost_.load(std::memory_order_relaxed); }

 private:
  mutable std::mutex mutex_;
  std::vector<Group> waiting_;  // each of kMostInGroup at most, the oldest first
  std::shared_ptr<const Group> being_written_;
  std::int64_t last_id_ = 0;
  std::size_t bytes_ = 0;  // with those that are being written
  std::atomic<std::size_t> count_{0};
  std::atomic<std::uint64_t> lost_{0};
};

}  // namespace portolan
