#include "record_queue.h"

#include "base/clock.h"

#include <algorithm>
#include <functional>
#include <string_view>
#include <utility>

namespace portolan {
namespace {

// Room that is made once; larger bounds grow when they are really used.
constexpr std::size_t kReserve = 256;

std::size_t hash_of(const EventRecord& record) noexcept {
  std::uint64_t hash = 0;
  for (const std::string_view part : {std::string_view(record.kind), std::string_view(record.service),
                                      std::string_view(record.client), std::string_view(record.detail)}) {
    hash = hash * 1099511628211ULL + std::hash<std::string_view>{}(part);
  }
  return static_cast<std::size_t>(hash);
}

bool same(const EventRecord& a, const EventRecord& b) noexcept {
  return a.kind == b.kind && a.service == b.service && a.client == b.client && a.detail == b.detail;
}

}  // namespace

RecordQueue::RecordQueue(std::size_t session_bound, std::size_t event_bound)
    : session_bound_(session_bound), event_bound_(event_bound), takes_sessions_(session_bound > 0) {
  pending_.sessions.reserve(std::min(session_bound, kReserve));
  pending_.events.reserve(std::min(event_bound, kReserve));
}

void RecordQueue::add(SessionRecord record) noexcept {
  const std::lock_guard lock(mutex_);
  if (session_bound_ == 0) return;
  if (pending_.sessions.size() >= session_bound_) {
    ++lost_;
    return;
  }
  try {
    pending_.sessions.push_back(std::move(record));
    note_room();
  } catch (...) {  // no memory: the session is counted, its record is not kept
    ++lost_;
  }
}

void RecordQueue::add(EventRecord record) noexcept {
  const std::lock_guard lock(mutex_);
  try {
    const std::int64_t time = record.time_ms;
    add_locked({std::move(record), time});
  } catch (...) {
    ++lost_;
  }
}

void RecordQueue::add(BanRecord record) noexcept {
  const std::lock_guard lock(mutex_);
  try {
    std::string text = ban_text(record.ban.client);
    if (pending_.bans.size() < kMostBans || pending_.bans.contains(text))
      pending_.bans.insert_or_assign(std::move(text), std::move(record));
    else
      ++lost_;
  } catch (...) {
    ++lost_;
  }
}

void RecordQueue::add(std::string_view service, const KeptTransfer& transfer) noexcept {
  const std::lock_guard lock(mutex_);
  if (event_bound_ == 0) return;
  if (pending_.transfers.size() >= kMostTransfers) {
    ++lost_;
    return;
  }
  try {
    pending_.transfers.push_back({.time_ms = transfer.time_ms != 0 ? transfer.time_ms : unix_ms(),
                                  .service = std::string(service),
                                  .peer = std::string(transfer.peer),
                                  .direction = std::string(transfer.direction),
                                  .name = std::string(transfer.name),
                                  .bytes = transfer.bytes,
                                  .new_bytes = transfer.new_bytes,
                                  .duration_ms = to_ms(transfer.duration),
                                  .sha256 = std::string(transfer.sha256),
                                  .outcome = std::string(transfer.outcome),
                                  .detail = std::string(transfer.detail)});
  } catch (...) {
    ++lost_;
  }
}

void RecordQueue::add_locked(PendingEvent event) {
  if (event_bound_ == 0) return;
  const std::size_t hash = hash_of(event.record);
  const auto [first, last] = event_index_.equal_range(hash);
  for (auto entry = first; entry != last; ++entry) {
    PendingEvent& known = pending_.events[entry->second];
    if (!same(known.record, event.record)) continue;
    known.record.count += event.record.count;
    known.record.time_ms = std::min(known.record.time_ms, event.record.time_ms);
    known.last_ms = std::max(known.last_ms, event.last_ms);
    return;
  }
  if (pending_.events.size() >= event_bound_) {
    lost_ += event.record.count;
    return;
  }
  pending_.events.push_back(std::move(event));
  event_index_.emplace(hash, pending_.events.size() - 1);
}

void RecordQueue::set_bounds(std::size_t sessions, std::size_t events) noexcept {
  const std::lock_guard lock(mutex_);
  session_bound_ = sessions;
  event_bound_ = events;
  note_room();
}

PendingRecords RecordQueue::take_pending() noexcept {
  const std::lock_guard lock(mutex_);
  event_index_.clear();
  PendingRecords taken = std::exchange(pending_, {});
  note_room();
  return taken;
}

void RecordQueue::put_back(PendingRecords records) noexcept {
  const std::lock_guard lock(mutex_);
  PendingRecords later = std::exchange(pending_, std::move(records));
  event_index_.clear();
  for (auto& session : later.sessions) {
    try {
      if (pending_.sessions.size() >= session_bound_) {
        ++lost_;
      } else {
        pending_.sessions.push_back(std::move(session));
      }
    } catch (...) {
      ++lost_;
    }
  }
  for (auto& transfer : later.transfers) {
    try {
      if (pending_.transfers.size() >= kMostTransfers) {
        ++lost_;
      } else {
        pending_.transfers.push_back(std::move(transfer));
      }
    } catch (...) {
      ++lost_;
    }
  }
  later.bans.merge(pending_.bans);  // what is newer stays
  pending_.bans = std::move(later.bans);
  std::vector<PendingEvent> earlier_events = std::exchange(pending_.events, {});
  for (auto* events : {&earlier_events, &later.events}) {
    for (PendingEvent& event : *events) {
      try {
        add_locked(std::move(event));
      } catch (...) {
        ++lost_;
      }
    }
  }
  note_room();
}

std::uint64_t RecordQueue::lost() const noexcept {
  const std::lock_guard lock(mutex_);
  return lost_;
}

}  // namespace portolan
