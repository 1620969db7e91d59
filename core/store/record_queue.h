// Ended sessions, events, transfers and bans on their way to the store's thread: bounded, and cheap to add to.
//
// add from any thread (a short lock); take_pending, put_back and set_bounds from the store's thread.
#pragma once

#include "message_queue.h"
#include "records.h"
#include "script_values.h"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <unordered_map>
#include <vector>

namespace portolan {

// Equal events are one, counted; `record.time_ms` is the first of them.
struct PendingEvent {
  EventRecord record;
  std::int64_t last_ms = 0;
};

struct PendingRecords {
  std::vector<SessionRecord> sessions;
  std::vector<PendingEvent> events;
  std::vector<TransferRecord> transfers;
  std::map<std::string, BanRecord> bans;  // by ban_text: the last change of each
  // Of queues of their own.
  std::vector<ValueChange> values;
  std::shared_ptr<const MessageQueue::Group> messages;
  bool empty() const noexcept {
    return sessions.empty() && events.empty() && transfers.empty() && bans.empty() && values.empty() && !messages;
  }
};

class RecordQueue {
 public:
  // Of bans, whatever the bounds of the others.
  static constexpr std::size_t kMostBans = 200'000;
  // Of transfers: a folder of many small files is over in seconds.
  static constexpr std::size_t kMostTransfers = 10'000;

  RecordQueue(std::size_t session_bound, std::size_t event_bound);

  // What is over its bound is counted as lost; with a bound of 0 it is not wanted, and not counted.
  void add(SessionRecord record) noexcept;
  void add(EventRecord record) noexcept;
  void add(BanRecord record) noexcept;
  // Not wanted where no events are.
  void add(std::string_view service, const KeptTransfer& transfer) noexcept;
  // Whether a session added now would be kept; without the lock.
  bool takes_sessions() const noexcept { return takes_sessions_.load(std::memory_order_relaxed); }
  void set_bounds(std::size_t sessions, std::size_t events) noexcept;

  PendingRecords take_pending() noexcept;
  // After a write that failed: in front of what has come since, within the bounds.
  void put_back(PendingRecords records) noexcept;
  std::uint64_t lost() const noexcept;

 private:
  void add_locked(PendingEvent event);
  void note_room() noexcept {
    takes_sessions_.store(pending_.sessions.size() < session_bound_, std::memory_order_relaxed);
  }

  mutable std::mutex mutex_;
  std::size_t session_bound_;
  std::size_t event_bound_;
  std::uint64_t lost_ = 0;
  std::atomic<bool> takes_sessions_;
  PendingRecords pending_;
  std::unordered_multimap<std::size_t, std::size_t> event_index_;  // hash -> place in pending_.events
};

}  // namespace portolan
