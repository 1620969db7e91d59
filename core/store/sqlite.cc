#include "sqlite.h"

#include "base/callback.h"
#include "base/file_status.h"

#include <ctime>
#include <mutex>
#include <utility>

#include <sys/stat.h>

namespace portolan {
namespace {

SqlError error_of(sqlite3* handle, int result) {
  SqlError error;
  error.code = result & 0xff;
  error.extended = result;
  error.message = sqlite3_errstr(result);
  if (handle) {
    const int extended = sqlite3_extended_errcode(handle);
    // The connection's own text belongs to its last call only.
    if ((extended & 0xff) == error.code) {
      error.extended = extended;
      error.message = sqlite3_errmsg(handle);
    }
    error.system = sqlite3_system_errno(handle);
  }
  return error;
}

// Where time_t has 32 bits, the stat, lstat and fstat that SQLite calls fail for a file that was touched after 2038-01-19,
// and with them everything. It lets us put others in their place; of what they answer it looks at no time.
int fill(const std::optional<FileStatus>& found, struct stat* out) noexcept {
  if (!found) return -1;
  *out = {};
  out->st_dev = static_cast<dev_t>(found->device);
  out->st_ino = static_cast<ino_t>(found->inode);
  out->st_mode = found->mode;
  out->st_nlink = static_cast<nlink_t>(found->links);
  out->st_uid = found->user;
  out->st_gid = found->group;
  out->st_size = static_cast<off_t>(found->size);
  out->st_blksize = 4096;  // it divides by this when a file grows in chunks
  return 0;
}
int stat_by_path(const char* path, struct stat* out) noexcept { return fill(file_status(path), out); }
int stat_of_link(const char* path, struct stat* out) noexcept { return fill(link_status(path), out); }
int stat_by_descriptor(int descriptor, struct stat* out) noexcept { return fill(file_status(descriptor), out); }

// Once in a process, before its first connection.
void replace_stat() {
  sqlite3_vfs* const files = sqlite3_vfs_find(nullptr);
  if (!files || files->iVersion < 3) return;
  files->xSetSystemCall(files, "stat", reinterpret_cast<sqlite3_syscall_ptr>(c_callback(stat_by_path)));
  files->xSetSystemCall(files, "lstat", reinterpret_cast<sqlite3_syscall_ptr>(c_callback(stat_of_link)));
  files->xSetSystemCall(files, "fstat", reinterpret_cast<sqlite3_syscall_ptr>(c_callback(stat_by_descriptor)));
}

}  // namespace

std::expected<Connection, SqlError> Connection::open(const std::string& name, int flags, int busy_timeout_ms) {
  if constexpr (sizeof(std::time_t) < 8) {
    static std::once_flag replaced;
    std::call_once(replaced, replace_stat);
  }
  sqlite3* raw = nullptr;
  // One thread at a time uses a connection, so it needs no mutex of its own.
  const int result = sqlite3_open_v2(name.c_str(), &raw, flags | SQLITE_OPEN_NOMUTEX, nullptr);
  Connection connection;
  connection.handle_.reset(raw);
  if (result != SQLITE_OK) return std::unexpected(error_of(raw, result));
  sqlite3_extended_result_codes(raw, 0);
  sqlite3_busy_timeout(raw, busy_timeout_ms);
  return connection;
}

SqlResult Connection::execute(const std::string& sql) {
  const int result = sqlite3_exec(get(), sql.c_str(), nullptr, nullptr, nullptr);
  if (result != SQLITE_OK) return std::unexpected(error_of(get(), result));
  return {};
}

std::expected<std::int64_t, SqlError> Connection::integer(const std::string& query) {
  auto statement = Statement::prepare(*this, query);
  if (!statement) return std::unexpected(statement.error());
  const auto row = statement->step();
  if (!row) return std::unexpected(row.error());
  return *row ? statement->integer(0) : 0;
}

SqlError Connection::error() const { return error_of(get(), sqlite3_errcode(get())); }

std::expected<Statement, SqlError> Statement::prepare(const Connection& connection, std::string_view sql,
                                                      const char** rest) {
  sqlite3_stmt* raw = nullptr;
  const int result = sqlite3_prepare_v3(connection.get(), sql.data(), static_cast<int>(sql.size()),
                                        SQLITE_PREPARE_PERSISTENT, &raw, rest);
  Statement statement;
  statement.handle_.reset(raw);
  if (result != SQLITE_OK) return std::unexpected(error_of(connection.get(), result));
  return statement;
}

Statement& Statement::bind(int index, std::nullptr_t) noexcept {
  keep(sqlite3_bind_null(handle_.get(), index));
  return *this;
}
Statement& Statement::bind(int index, double value) noexcept {
  keep(sqlite3_bind_double(handle_.get(), index, value));
  return *this;
}
Statement& Statement::bind(int index, std::string_view text) noexcept {
  // A view of nothing may have no address, which SQLite would take for NULL.
  keep(sqlite3_bind_text64(handle_.get(), index, text.empty() ? "" : text.data(), text.size(), SQLITE_TRANSIENT,
                           SQLITE_UTF8));
  return *this;
}
Statement& Statement::bind_value(int index, const StoreValue& value) noexcept {
  switch (value.index()) {
    case 1: return bind(index, std::get<std::int64_t>(value));
    case 2: return bind(index, std::get<double>(value));
    case 3: return bind(index, std::string_view(std::get<std::string>(value)));
    default: return bind(index, nullptr);
  }
}
Statement& Statement::bind_blob(int index, std::string_view bytes) noexcept {
  keep(sqlite3_bind_blob64(handle_.get(), index, bytes.empty() ? "" : bytes.data(), bytes.size(), SQLITE_TRANSIENT));
  return *this;
}
Statement& Statement::bind_integer(int index, std::int64_t value) noexcept {
  keep(sqlite3_bind_int64(handle_.get(), index, value));
  return *this;
}

SqlResult Statement::run() {
  const auto row = step();
  if (!row) return std::unexpected(row.error());
  reset();
  return {};
}

std::expected<bool, SqlError> Statement::step() {
  sqlite3* const handle = sqlite3_db_handle(handle_.get());
  if (bind_result_ != SQLITE_OK) {
    const int result = bind_result_;
    reset();
    return std::unexpected(error_of(nullptr, result));
  }
  const int result = sqlite3_step(handle_.get());
  if (result == SQLITE_ROW) return true;
  if (result == SQLITE_DONE) {
    reset();
    return false;
  }
  SqlError error = error_of(handle, result);
  reset();
  return std::unexpected(std::move(error));
}

void Statement::reset() noexcept {
  sqlite3_reset(handle_.get());
  bind_result_ = SQLITE_OK;
}

std::string Statement::text(int column) const {
  const void* const bytes = sqlite3_column_blob(handle_.get(), column);
  const auto size = static_cast<std::size_t>(sqlite3_column_bytes(handle_.get(), column));
  return bytes ? std::string(static_cast<const char*>(bytes), size) : std::string();
}

StoreValue Statement::value(int column) const {
  switch (sqlite3_column_type(handle_.get(), column)) {
    case SQLITE_INTEGER: return integer(column);
    case SQLITE_FLOAT: return real(column);
    case SQLITE_NULL: return std::monostate();
    default: return text(column);
  }
}

std::expected<Transaction, SqlError> Transaction::begin(Connection& connection) {
  if (auto begun = connection.execute("BEGIN IMMEDIATE"); !begun) return std::unexpected(begun.error());
  return Transaction(connection);
}

Transaction::~Transaction() {
  // Some errors (a full disk, a failed write) have rolled back already.
  if (connection_ && !sqlite3_get_autocommit(connection_->get())) {
    sqlite3_exec(connection_->get(), "ROLLBACK", nullptr, nullptr, nullptr);
  }
}

SqlResult Transaction::commit() {
  auto done = connection_->execute("COMMIT");
  if (done) connection_ = nullptr;
  return done;
}

}  // namespace portolan
