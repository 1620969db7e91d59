// The store: one SQLite file, and the one thread that writes it.
//
// Once per `flush_every` the thread takes a snapshot of every service's counters, the records handed in since, and
// writes all of it in one transaction (WAL, synchronous=FULL). An interval in which nothing happened writes nothing.
// A disk that is full or broken never stops traffic: counters keep adding up in memory and are written when it
// recovers; records beyond their bound are counted as lost. health() says what is wrong.
//
// Threads: open, start, stop, flush on the main thread; add from any thread (a short lock; never in a message's
// path); health from any thread.
#pragma once

#include "records.h"
#include "stats/service_stats.h"

#include <chrono>
#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace portolan {

inline constexpr int kSchemaVersion = 2;

struct StoreOptions {
  bool enabled = true;
  std::string path = "portolan.db";  // absolute, or below the state directory (resolved by the configuration)
  Duration flush_every = std::chrono::seconds(10);
  Duration keep = std::chrono::hours(24 * 90);         // days and events
  Duration keep_minutes = std::chrono::hours(24 * 2);  // then only hours remain
  Duration keep_hours = std::chrono::hours(24 * 30);   // then only days remain
  std::uint32_t session_records = 100;  // at most so many ended sessions kept per flush; the rest are only counted
  std::uint32_t event_records = 100;    // likewise for distinct (kind, service, client, detail)
};

class Store {
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
  // Takes new intervals and bounds at a reload (a changed path wants a restart: the caller checks).
  void reconfigure(const StoreOptions& options);

  // Whether a session handed in now would be kept: a relaxed atomic, so that a worker need not make a record that
  // the bound of this interval would drop. Any thread.
  bool takes_sessions() const noexcept;
  void add(SessionRecord record) noexcept;
  void add(EventRecord record) noexcept;
  void add(BanRecord record) noexcept;

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
