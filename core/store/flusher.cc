#include "flusher.h"

#include "base/callback.h"

#include <fmt/format.h>

#include <utility>

namespace portolan {
namespace {

constexpr std::int64_t kMinuteMs = 60'000;

// Free pages are used again by what comes next; only when they are many is the file made smaller, a piece at a time.
constexpr std::int64_t kFreePagesKept = 512;
constexpr int kPagesGivenBack = 128;

std::int64_t minute_of(std::int64_t now_ms) noexcept {
  std::int64_t minute = now_ms / kMinuteMs;
  if (now_ms % kMinuteMs < 0) --minute;
  return minute * 60;
}

}  // namespace

std::expected<Flusher, std::string> Flusher::open(const std::string& path) {
  Flusher flusher;
  flusher.path_ = path;
  auto lock = lock_database(path);
  if (!lock) return std::unexpected(lock.error());
  flusher.lock_ = std::move(*lock);
  if (auto connected = flusher.connect(Creation::allowed); !connected) return std::unexpected(connected.error());
  return flusher;
}

std::expected<void, std::string> Flusher::connect(Creation creation) {
  auto database = Database::open(path_, creation);
  if (!database) return std::unexpected(database.error());
  auto writer = Writer::make(database->connection());
  if (!writer) return std::unexpected(explain(path_, writer.error()));
  database_ = std::move(*database);
  writer_ = std::move(*writer);
  return {};
}

void Flusher::take(const StatsRegistry& registry, std::int64_t now_ms) {
  if (interval_start_ms_ < 0) interval_start_ms_ = now_ms;
  figures_.take(registry, minute_of(interval_start_ms_));
  interval_start_ms_ = now_ms;
}

std::expected<bool, std::string> Flusher::write(Inbox& inbox, const Retention& retention, std::int64_t now_ms,
                                                bool last) {
  PendingRecords pending = inbox.records.take_pending();
  std::expected<bool, std::string> written = std::unexpected(fmt::format("store \"{}\": out of memory", path_));
  contain("a flush of the store", [&] {
    pending.values = inbox.values.take(now_ms);
    pending.messages = inbox.messages.take();
    written = write_once(pending, retention, now_ms, last);
  });
  if (written) {
    inbox.values.written(pending.values);
    if (pending.messages) inbox.messages.written();
  } else {
    inbox.values.put_back(pending.values);
    inbox.records.put_back(std::move(pending));
  }
  return written;
}

std::expected<bool, std::string> Flusher::write_messages(MessageQueue& messages, const Retention& retention) {
  const auto group = messages.take();
  if (!group) return false;
  if (auto ready = check_file(true); !ready) return std::unexpected(ready.error());
  if (auto written = writer_->write_messages(*group, retention); !written) return failed(written.error());
  messages.written();
  return true;
}

// Open, and still where its name says when something is to be written: otherwise SQLite would go on writing a file that
// nobody can find.
std::expected<void, std::string> Flusher::check_file(bool looks) {
  if (!database_) {
    if (auto connected = connect(Creation::refused); !connected) return std::unexpected(connected.error());
  }
  if (!looks || database_->in_place()) return {};
  writer_.reset();
  database_.reset();
  return std::unexpected(fmt::format(
      "store \"{}\": the file was moved or deleted while portolan ran: put it back, or restart for a new one", path_));
}

std::unexpected<std::string> Flusher::failed(const SqlError& error) {
  // A disk that went away and came back is another file to the kernel: only what will pass on this very connection
  // keeps it.
  const bool keeps = error.code == SQLITE_FULL || error.code == SQLITE_BUSY || error.code == SQLITE_NOMEM;
  std::string sentence = explain(path_, error);
  if (!keeps) {
    writer_.reset();
    database_.reset();
  }
  return std::unexpected(std::move(sentence));
}

std::expected<bool, std::string> Flusher::write_once(const PendingRecords& records, const Retention& retention,
                                                     std::int64_t now_ms, bool last) {
  if (auto ready = check_file(!figures_.empty() || !records.empty()); !ready) return std::unexpected(ready.error());
  const std::int64_t minute = minute_of(now_ms);
  auto written = writer_->write(figures_, records, now_ms / 1000, last ? minute + 60 : minute, retention);
  if (!written) return failed(written.error());
  figures_.clear();
  if (*written) give_back_space();
  return *written;
}

// Best effort: the counts are safe already.
void Flusher::give_back_space() {
  Connection& connection = database_->connection();
  const auto free_pages = connection.integer("PRAGMA freelist_count");
  if (!free_pages || *free_pages <= kFreePagesKept) return;
  const auto pages = connection.integer("PRAGMA page_count");
  if (!pages || *free_pages < *pages / 4) return;
  std::ignore = connection.execute(fmt::format("PRAGMA incremental_vacuum({})", kPagesGivenBack));
}

std::expected<std::vector<Ban>, std::string> Flusher::bans() {
  std::vector<Ban> bans;
  auto query = Statement::prepare(database_->connection(),
                                  "SELECT address, since_ms, until_ms, reason, service, violations FROM ban");
  if (!query) return std::unexpected(explain(path_, query.error()));
  for (;;) {
    const auto row = query->step();
    if (!row) return std::unexpected(explain(path_, row.error()));
    if (!*row) return bans;
    // A row that is none (somebody wrote it by hand) is nobody's ban.
    if (const auto client = parse_banned(query->text(0)))
      bans.push_back({.client = *client,
                      .until_ms = query->integer(2),
                      .since_ms = query->integer(1),
                      .reason = query->text(3),
                      .service = query->text(4),
                      .violations = static_cast<std::uint32_t>(query->integer(5))});
  }
}

std::expected<std::vector<ValueChange>, std::string> Flusher::values() {
  std::vector<ValueChange> values;
  auto query =
      Statement::prepare(database_->connection(), "SELECT service, key, value, changed, expires FROM script_values");
  if (!query) return std::unexpected(explain(path_, query.error()));
  for (;;) {
    const auto row = query->step();
    if (!row) return std::unexpected(explain(path_, row.error()));
    if (!*row) return values;
    values.push_back({.name = value_name(query->text(0), query->text(1)),
                      .value = query->value(2),
                      .changed_ms = query->integer(3),
                      .expires_ms = query->integer(4)});
  }
}

std::expected<std::int64_t, std::string> Flusher::last_message_id() {
  const auto id = database_->connection().integer("SELECT max(id) FROM chat_messages");
  if (!id) return std::unexpected(explain(path_, id.error()));
  return *id;
}

void Flusher::close() noexcept {
  writer_.reset();
  if (database_) database_->close();
  database_.reset();
  lock_.reset();
}

}  // namespace portolan
