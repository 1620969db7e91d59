#include "read_connection.h"

#include "base/callback.h"
#include "base/file_status.h"
#include "database.h"
#include "histogram_functions.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>
#include <utility>

namespace portolan {
namespace {

constexpr int kBusyTimeoutMs = 1000;
// So many steps of SQLite's machine between two looks at the clock.
constexpr int kStepsBetweenLooks = 1000;
constexpr std::size_t kMostSqlBytes = 64 * 1024;

// What a statement may be and hold. LIKE's patterns are short because matching is quadratic in them and is one step.
constexpr std::pair<int, int> kLimits[] = {
    {SQLITE_LIMIT_LENGTH, 1 << 20},
    {SQLITE_LIMIT_SQL_LENGTH, static_cast<int>(kMostSqlBytes)},
    {SQLITE_LIMIT_COLUMN, 200},
    {SQLITE_LIMIT_EXPR_DEPTH, 200},
    {SQLITE_LIMIT_COMPOUND_SELECT, 50},
    {SQLITE_LIMIT_VDBE_OP, 100'000},
    {SQLITE_LIMIT_FUNCTION_ARG, 100},
    {SQLITE_LIMIT_ATTACHED, 0},
    {SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 200},
    {SQLITE_LIMIT_VARIABLE_NUMBER, 200},
    {SQLITE_LIMIT_WORKER_THREADS, 0},
};

constexpr std::string_view kPragmas[] = {"table_info", "table_xinfo", "table_list",
                                         "index_list", "index_info",  "index_xinfo"};

std::string_view or_empty(const char* text) noexcept { return text ? std::string_view(text) : std::string_view(); }

std::string_view name_of(int action) noexcept {
  switch (action) {
    case SQLITE_ATTACH: return "ATTACH";
    case SQLITE_DETACH: return "DETACH";
    case SQLITE_PRAGMA: return "PRAGMA";
    case SQLITE_TRANSACTION:
    case SQLITE_SAVEPOINT: return "a transaction";
    case SQLITE_FUNCTION: return "the function";
    case SQLITE_INSERT: return "writing to";
    case SQLITE_UPDATE: return "changing";
    case SQLITE_DELETE: return "deleting from";
    default: return "changing the schema";
  }
}

// Where in the statement it went wrong, as people count.
std::string place_of(sqlite3* handle, const std::string& sql) {
  const int offset = sqlite3_error_offset(handle);
  if (offset < 0 || static_cast<std::size_t>(offset) >= sql.size()) return "";
  std::string near = sql.substr(static_cast<std::size_t>(offset), 30);
  for (char& c : near)
    if (static_cast<unsigned char>(c) < ' ') c = ' ';
  return fmt::format(", at byte {}: \"{}\"", offset + 1, near);
}

std::unexpected<std::string> query_error(std::string_view what) {
  return std::unexpected(fmt::format("query: {}", what));
}

}  // namespace

int ReadConnection::on_progress(void* self) noexcept {
  auto& reader = *static_cast<ReadConnection*>(self);
  if (reader.cancelled_.load(std::memory_order_relaxed)) {
    reader.stop_ = Stop::cancelled;
  } else if (monotonic_now() >= reader.deadline_) {
    reader.stop_ = Stop::time;
  } else if (sqlite3_memory_used() - reader.memory_before_ > kMostMemory) {
    reader.stop_ = Stop::memory;
  } else {
    return 0;
  }
  return 1;
}

int ReadConnection::authorize(void* self, int action, const char* first, const char* second, const char*,
                              const char*) noexcept {
  switch (action) {
    case SQLITE_SELECT:
    case SQLITE_READ:
    case SQLITE_RECURSIVE: return SQLITE_OK;
    case SQLITE_FUNCTION:
      if (or_empty(second) != "load_extension") return SQLITE_OK;
      break;
    case SQLITE_UPDATE:
      // So SQLite announces a function that is read as a table (json_each). Nothing changes that table by UPDATE.
      if (or_empty(first) == "sqlite_master") return SQLITE_OK;
      break;
    case SQLITE_PRAGMA:
      if (std::ranges::find(kPragmas, or_empty(first)) != std::end(kPragmas)) return SQLITE_OK;
      break;
    default: break;
  }
  auto& reader = *static_cast<ReadConnection*>(self);
  contain("a refusal of SQL", [&] {
    const std::string_view name = action == SQLITE_FUNCTION ? or_empty(second) : or_empty(first);
    const bool named = action == SQLITE_PRAGMA || action == SQLITE_FUNCTION || action == SQLITE_INSERT ||
                       action == SQLITE_UPDATE || action == SQLITE_DELETE;
    if (reader.denied_.empty())
      reader.denied_ = named ? fmt::format("{} {}", name_of(action), name) : std::string(name_of(action));
  });
  return SQLITE_DENY;
}

std::expected<void, std::string> ReadConnection::open() {
  const auto found = file_status(path_);
  if (connection_ && found && found->device == device_ && found->inode == inode_) return {};
  connection_.close();
  if (!found) return std::unexpected(fmt::format("store \"{}\": the file is not there: put it back", path_));
  auto opened = Connection::open(path_.front() == '/' ? path_ : "./" + path_, SQLITE_OPEN_READONLY, kBusyTimeoutMs);
  if (!opened) return std::unexpected(explain(path_, opened.error()));
  sqlite3* const handle = opened->get();
  for (const auto& [limit, most] : kLimits) sqlite3_limit(handle, limit, most);
  sqlite3_db_config(handle, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  sqlite3_db_config(handle, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
  // "name" is a column and never a text: a misspelt one is an error and not an answer.
  sqlite3_db_config(handle, SQLITE_DBCONFIG_DQS_DML, 0, nullptr);
  // What is sorted stays in memory, where it is bounded; where /tmp is RAM, files there would not be.
  if (auto done = opened->execute("PRAGMA temp_store = MEMORY; PRAGMA cache_size = -1024; PRAGMA query_only = ON");
      !done) {
    return std::unexpected(explain(path_, done.error()));
  }
  if (auto done = add_histogram_functions(*opened); !done) return std::unexpected(explain(path_, done.error()));
  sqlite3_set_authorizer(handle, c_callback(authorize), this);
  sqlite3_progress_handler(handle, kStepsBetweenLooks, c_callback(on_progress), this);
  connection_ = std::move(*opened);
  device_ = found->device;
  inode_ = found->inode;
  return {};
}

std::expected<StoreAnswer, std::string> ReadConnection::run(const StoreQuestion& question, Duration deadline) {
  if (auto opened = open(); !opened) return std::unexpected(opened.error());
  deadline_ = deadline;
  stop_ = Stop::none;
  denied_.clear();
  memory_before_ = sqlite3_memory_used();
  auto statement = prepare(question.sql);
  if (!statement) return std::unexpected(statement.error());
  if (auto bound = bind(*statement, question.parameters); !bound) return std::unexpected(bound.error());
  return fetch(*statement, question.limits);
}

std::expected<Statement, std::string> ReadConnection::prepare(const std::string& sql) {
  if (sql.find('\0') != std::string::npos) return query_error("there is a zero byte in the statement");
  if (sql.size() > kMostSqlBytes)
    return query_error(fmt::format("the statement has {} bytes, more than {}", sql.size(), kMostSqlBytes));
  const char* rest = nullptr;
  auto statement = Statement::prepare(connection_, sql, &rest);
  if (!statement) {
    if (!denied_.empty()) return query_error(fmt::format("only what reads is allowed here, and not {}", denied_));
    return query_error(statement.error().message + place_of(connection_.get(), sql));
  }
  if (!statement->get()) return query_error("there is no statement");
  // What follows may be a comment, and no second statement.
  for (const char* end = sql.data() + sql.size(); rest < end;) {
    const char* const from = rest;
    const auto second = Statement::prepare(connection_, std::string_view(from, end), &rest);
    if (!second || second->get() || rest == from)
      return query_error(fmt::format("one statement at a time: another begins at byte {}", from - sql.data() + 1));
  }
  if (!sqlite3_stmt_readonly(statement->get())) return query_error("only what reads is allowed here");
  return std::move(*statement);
}

std::expected<void, std::string> ReadConnection::bind(Statement& statement, const std::vector<StoreValue>& parameters) {
  const auto wanted = static_cast<std::size_t>(sqlite3_bind_parameter_count(statement.get()));
  if (wanted != parameters.size()) {
    return query_error(fmt::format("the statement has {} parameter{} and {} {} given", wanted, wanted == 1 ? "" : "s",
                                   parameters.size(), parameters.size() == 1 ? "was" : "were"));
  }
  for (std::size_t i = 0; i < parameters.size(); ++i) statement.bind_value(static_cast<int>(i + 1), parameters[i]);
  return {};
}

std::string ReadConnection::stopped_or(const SqlError& error, const QueryLimits& limits) const {
  switch (stop_) {
    case Stop::cancelled: return "query: cancelled";
    case Stop::time:
      return fmt::format("query: stopped after {} ms: ask for less, or for less at a time", to_ms(limits.time));
    case Stop::memory:
      return fmt::format("query: stopped because it needs more than {} MiB of memory: sort or group less",
                         kMostMemory >> 20);
    case Stop::none: break;
  }
  if (!denied_.empty()) return fmt::format("query: only what reads is allowed here, and not {}", denied_);
  // What is wrong with the statement, or with the file?
  switch (error.code) {
    case SQLITE_ERROR:
    case SQLITE_TOOBIG:
    case SQLITE_MISMATCH:
    case SQLITE_RANGE: return "query: " + error.message;
    default: return explain(path_, error);
  }
}

std::expected<StoreAnswer, std::string> ReadConnection::fetch(Statement& statement, const QueryLimits& limits) {
  StoreAnswer answer;
  const int columns = sqlite3_column_count(statement.get());
  for (int i = 0; i < columns; ++i) answer.columns.emplace_back(or_empty(sqlite3_column_name(statement.get(), i)));
  std::size_t rows = 0;
  std::size_t bytes = 0;
  for (;;) {
    const auto row = statement.step();
    if (!row) {
      const int code = row.error().code;
      std::string sentence = stopped_or(row.error(), limits);
      // A connection that has met a broken disk is not asked again.
      if (code == SQLITE_IOERR || code == SQLITE_CORRUPT || code == SQLITE_NOTADB) {
        statement = {};
        connection_.close();
      }
      return std::unexpected(std::move(sentence));
    }
    if (!*row) return answer;
    std::size_t size = static_cast<std::size_t>(columns) * StoreAnswer::kValueBytes;
    for (int i = 0; i < columns; ++i) {
      const int type = sqlite3_column_type(statement.get(), i);
      if (type == SQLITE_TEXT || type == SQLITE_BLOB)
        size += static_cast<std::size_t>(sqlite3_column_bytes(statement.get(), i));
    }
    if (rows == limits.rows || bytes + size > limits.bytes) {
      answer.truncated = true;
      return answer;
    }
    for (int i = 0; i < columns; ++i) answer.values.push_back(statement.value(i));
    bytes += size;
    ++rows;
    // A statement whose rows come cheaply may never reach the steps between two looks.
    if (rows % 64 == 0 && on_progress(this) != 0)
      return std::unexpected(stopped_or({.code = SQLITE_INTERRUPT}, limits));
  }
}

}  // namespace portolan
