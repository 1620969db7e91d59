// A connection that only reads, for SQL of somebody else's: one statement at a time, within limits.
//
// Refuses what does not read (by SQLite's own verdict and by an authorizer: no ATTACH, no transaction, of PRAGMA only
// those that describe tables), more than one statement, and stops what takes too long, too much memory, or was
// cancelled. One thread at a time. Never throws but std::bad_alloc; errors are sentences.
#pragma once

#include "sqlite.h"
#include "store_access.h"

#include <atomic>
#include <cstdint>
#include <expected>
#include <string>

namespace portolan {

class ReadConnection {
 public:
  // SQLite's memory, beyond what it had when the statement began, at which a statement is stopped: a sort without end
  // must not take a small machine down.
  static constexpr std::int64_t kMostMemory = 32 << 20;

  // `cancelled` may be set by any thread, and is looked at while a statement runs.
  ReadConnection(std::string path, const std::atomic<bool>& cancelled)
      : path_(std::move(path)), cancelled_(cancelled) {}
  ReadConnection(const ReadConnection&) = delete;
  ReadConnection& operator=(const ReadConnection&) = delete;

  // Opens the file first where that has not been done, or where another file is in its place. `deadline`: as
  // monotonic_now().
  std::expected<StoreAnswer, std::string> run(const StoreQuestion& question, Duration deadline);
  // What it holds of the system's.
  void close() noexcept { connection_.close(); }
  bool is_open() const noexcept { return static_cast<bool>(connection_); }

 private:
  static int on_progress(void* self) noexcept;
  static int authorize(void* self, int action, const char* first, const char* second, const char* database,
                       const char* by) noexcept;
  std::expected<void, std::string> open();
  std::expected<Statement, std::string> prepare(const std::string& sql);
  std::expected<void, std::string> bind(Statement& statement, const std::vector<StoreValue>& parameters);
  std::expected<StoreAnswer, std::string> fetch(Statement& statement, const QueryLimits& limits);
  std::string stopped_or(const SqlError& error, const QueryLimits& limits) const;

  enum class Stop : std::uint8_t { none, cancelled, time, memory };

  const std::string path_;
  const std::atomic<bool>& cancelled_;
  Connection connection_;
  std::uint64_t device_ = 0;
  std::uint64_t inode_ = 0;
  Duration deadline_{};
  std::int64_t memory_before_ = 0;
  Stop stop_ = Stop::none;
  std::string denied_;  // what the authorizer said no to
};

}  // namespace portolan
