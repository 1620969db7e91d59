#include "message_writer.h"

#include <algorithm>
#include <array>
#include <utility>

namespace portolan {
namespace {

// So far a service may be over its bound before the oldest go: one batch for many messages.
constexpr std::int64_t kSlackRows = 1'000;
constexpr std::int64_t kPruneRows = 1'000;
// At a time, where the bound was lowered.
constexpr std::int64_t kMostTrimmed = 20'000;

}  // namespace

std::expected<MessageWriter, SqlError> MessageWriter::make(Connection& connection) {
  MessageWriter writer;
  const std::array<std::pair<Statement*, const char*>, 5> statements = {{
      // REPLACE: a commit that seemed to fail may have come through, and is made again.
      {&writer.add_,
       "INSERT OR REPLACE INTO chat_messages (id, ts, service, room, sender, kind, text)"
       " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"},
      // In the order of the ids, from where the service begins: an index by service would cost more than it saves.
      {&writer.cut_,
       "SELECT id FROM chat_messages NOT INDEXED WHERE id >= ?2 AND service = ?1 ORDER BY id LIMIT 1 OFFSET ?3"},
      {&writer.remove_, "DELETE FROM chat_messages WHERE id >= ?2 AND id < ?3 AND +service = ?1"},
      {&writer.count_, "SELECT count(*) FROM chat_messages WHERE service = ?1"},
      {&writer.remove_old_,
       "DELETE FROM chat_messages WHERE id IN (SELECT id FROM (SELECT id, ts FROM chat_messages ORDER BY id LIMIT ?2)"
       " WHERE ts < ?1) RETURNING service"},
  }};
  for (const auto& [statement, sql] : statements) {
    auto prepared = Statement::prepare(connection, sql);
    if (!prepared) return std::unexpected(prepared.error());
    *statement = std::move(*prepared);
  }
  auto query = Statement::prepare(connection, "SELECT service, count(*), min(id) FROM chat_messages GROUP BY service");
  if (!query) return std::unexpected(query.error());
  for (;;) {
    const auto row = query->step();
    if (!row) return std::unexpected(row.error());
    if (!*row) break;
    writer.rows_[query->text(0)] = {.count = query->integer(1), .from = query->integer(2)};
  }
  writer.after_ = writer.rows_;
  return writer;
}

SqlResult MessageWriter::write(const MessageQueue::Group& group, std::int64_t most) {
  for (const WaitingMessage& message : group) {
    auto done = add_.bind(1, message.id())
                    .bind(2, message.time_ms())
                    .bind(3, message.service())
                    .bind(4, message.room())
                    .bind(5, message.sender())
                    .bind(6, message.kind())
                    .bind(7, message.text())
                    .run();
    if (!done) return done;
    auto rows = after_.find(message.service());
    if (rows == after_.end()) rows = after_.emplace(std::string(message.service()), Rows{0, message.id()}).first;
    ++rows->second.count;
  }
  for (auto& [service, rows] : after_) {
    if (rows.count <= most + std::max(most / 10, kSlackRows)) continue;
    if (auto done = trim(service, rows, most); !done) return done;
  }
  return {};
}

SqlResult MessageWriter::trim(const std::string& service, Rows& rows, std::int64_t most) {
  const std::int64_t excess = std::min(rows.count - most, kMostTrimmed);
  const auto found = cut_.bind(1, service).bind(2, rows.from).bind(3, excess).step();
  if (!found) return std::unexpected(found.error());
  if (!*found) {  // somebody deleted rows by hand: what is left is counted anew
    const auto counted = count_.bind(1, service).step();
    if (!counted) return std::unexpected(counted.error());
    rows.count = count_.integer(0);
    count_.reset();
    return {};
  }
  const std::int64_t first_kept = cut_.integer(0);
  cut_.reset();
  if (auto done = remove_.bind(1, service).bind(2, rows.from).bind(3, first_kept).run(); !done) return done;
  rows = {.count = rows.count - excess, .from = first_kept};
  return {};
}

SqlResult MessageWriter::prune(std::int64_t oldest_ms, std::int64_t most) {
  remove_old_.bind(1, oldest_ms).bind(2, kPruneRows);
  for (;;) {
    const auto row = remove_old_.step();
    if (!row) return std::unexpected(row.error());
    if (!*row) break;
    if (const auto rows = after_.find(remove_old_.text(0)); rows != after_.end()) --rows->second.count;
  }
  for (auto& [service, rows] : after_) {
    if (rows.count <= most) continue;
    if (auto done = trim(service, rows, most); !done) return done;
  }
  return {};
}

}  // namespace portolan
