// The store: one SQLite file, and the one thread that writes it.
//
// Once per `flush_every` the thread takes a snapshot of every service's counters, the records handed in since, and
// writes all of it in one transaction (WAL, synchronous=FULL). An interval in which nothing happened writes nothing.
// A disk that is full or broken never stops traffic: counters keep adding up in memory and are written when it
// recovers; records beyond their bound are counted as lost. health() says what is wrong. Messages of chats do not wait
// for the next flush when many have come. Questions are answered beside all this, by a thread that only reads.
//
// Threads: open, start, stop, flush, chat_rooms on the main thread; add from any thread (a short lock; never in a
// message's path); health and all of StoreAccess from any thread.
#pragma once

#include "records.h"
#include "stats/service_stats.h"
#include "store_access.h"

#include <chrono>
#include <cstdint>
#include <expected>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace portolan {

inline constexpr int kSchemaVersion = 4;

struct StoreOptions {
  bool enabled = true;
  std::string path = "portolan.db";  // absolute, or below the state directory (resolved by the configuration)
  Duration flush_every = std::chrono::seconds(10);
  Duration keep = std::chrono::hours(24 * 90);         // days and events
  Duration keep_minutes = std::chrono::hours(24 * 2);  // then only hours remain
  Duration keep_hours = std::chrono::hours(24 * 30);   // then only days remain
  std::uint32_t session_records = 100;  // at most so many ended sessions kept per flush; the rest are only counted
  std::uint32_t event_records = 100;    // likewise for distinct (kind, service, client, detail)
  Duration keep_messages = std::chrono::hours(24 * 90);  // of chats
  std::uint32_t messages_per_service = 100'000;          // that are kept at most
  std::uint32_t script_keys = 10'000;                    // values of scripts, over all services
  std::uint64_t script_bytes = 16 << 20;                 // of them
};

class Store final : public StoreAccess {
 public:
  // Opens or creates the file, migrates it forward, checks it. The error is a sentence with the way out: a missing
  // directory, no permission, not a database, damaged, made by a newer version.
  static std::expected<std::unique_ptr<Store>, std::string> open(const StoreOptions& options);
  ~Store();  // stops

  // The bans in the file, those that are over as well. Before start.
  std::expected<std::vector<Ban>, std::string> bans();

  void start(std::shared_ptr<const StatsRegistry> registry);
  // Writes what is pending, closes.
  void stop() noexcept;
  // Answers every question that is under way with an error, and takes no more: before those go whom the answers go to.
  // stop does it as well.
  void stop_answering() noexcept;
  // Takes new intervals and bounds at a reload (a changed path wants a restart: the caller checks).
  void reconfigure(const StoreOptions& options);

  // Whether a session handed in now would be kept: a relaxed atomic, so that a worker need not make a record that
  // the bound of this interval would drop. Any thread.
  bool takes_sessions() const noexcept;
  void add(SessionRecord record) noexcept;
  void add(EventRecord record) noexcept;
  void add(BanRecord record) noexcept;

  // ---- StoreAccess ----
  std::expected<QuestionId, std::string> ask(StoreQuestion question, Answered answered) noexcept override;
  void cancel(QuestionId id) noexcept override;
  std::expected<void, std::string> put(std::string_view service, std::string_view key, StoreValue value,
                                       std::int64_t expires_ms = 0) noexcept override;
  std::expected<StoreValue, std::string> get(std::string_view service, std::string_view key) noexcept override;
  std::expected<std::int64_t, std::string> increment(std::string_view service, std::string_view key, std::int64_t by,
                                                     std::int64_t expires_ms = 0) noexcept override;
  void keep_message(std::string_view service, const KeptMessage& message) noexcept override;
  void keep_transfer(std::string_view service, const KeptTransfer& transfer) noexcept override;
  std::expected<QuestionId, std::string> recent_messages(std::string service, std::string room, std::uint32_t count,
                                                         Recalled recalled) noexcept override;

  // The last messages of every room of a service, the oldest first: read here and now, which takes kMostReading at most.
  static constexpr Duration kMostReading = std::chrono::seconds(2);
  using Rooms = std::map<std::string, std::vector<StoredMessage>>;
  std::expected<Rooms, std::string> chat_rooms(const std::string& service, std::uint32_t per_room);

  // Asks for a flush now; `done` is called on the store's thread with an empty text or the error.
  void flush(std::function<void(std::string error)> done);

  struct Health {
    bool ok = true;
    std::string error;  // a sentence, when not ok
    std::int64_t failing_since_ms = 0;
    std::int64_t last_flush_ms = 0;  // Unix time of the last successful flush; 0: none yet
    std::uint64_t flushes = 0;       // transactions committed
    std::uint64_t failures = 0;
    std::uint64_t records_lost = 0;
  };
  Health health() const;
  const std::string& path() const noexcept;

 private:
  class Impl;
  explicit Store(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace portolan
