// SQLite as values that close themselves: a connection, a prepared statement, a transaction.
//
// Private to core/store and the commands that read its file. A connection and its statements are used by one thread
// at a time; a statement must go before its connection. Nothing here throws but std::bad_alloc: what fails is
// answered as an SqlError.
#pragma once

#include "store_access.h"

#include <sqlite3.h>

#include <concepts>
#include <cstdint>
#include <expected>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace portolan {

struct SqlError {
  int code = SQLITE_OK;  // the primary result code
  int extended = SQLITE_OK;
  int system = 0;  // errno, where there was one
  std::string message;
};
using SqlResult = std::expected<void, SqlError>;

class Connection {
 public:
  Connection() = default;
  // `flags` as sqlite3_open_v2 takes them; the busy timeout is how long a statement waits for a lock of another.
  static std::expected<Connection, SqlError> open(const std::string& name, int flags, int busy_timeout_ms);

  explicit operator bool() const noexcept { return handle_ != nullptr; }
  sqlite3* get() const noexcept { return handle_.get(); }
  void close() noexcept { handle_.reset(); }

  SqlResult execute(const std::string& sql);                                // any number of statements
  std::expected<std::int64_t, SqlError> integer(const std::string& query);  // first column of the first row; 0: none
  SqlError error() const;                                                   // of the call that failed last

 private:
  struct Close {
    void operator()(sqlite3* handle) const noexcept { sqlite3_close_v2(handle); }
  };
  std::unique_ptr<sqlite3, Close> handle_;
};

class Statement {
 public:
  Statement() = default;
  // The first statement in `sql`; `rest` is told where it ended. Without one (a comment), get() is null.
  static std::expected<Statement, SqlError> prepare(const Connection& connection, std::string_view sql,
                                                    const char** rest = nullptr);
  sqlite3_stmt* get() const noexcept { return handle_.get(); }

  // Parameters are numbered from 1, as in the statement's text; text is copied. What goes wrong in a bind (memory, or
  // a parameter that is not there) is reported by the next run or step.
  Statement& bind(int index, std::nullptr_t) noexcept;
  Statement& bind(int index, double value) noexcept;
  Statement& bind(int index, std::string_view text) noexcept;
  Statement& bind_value(int index, const StoreValue& value) noexcept;
  Statement& bind_blob(int index, std::string_view bytes) noexcept;
  template <std::signed_integral T>
  Statement& bind(int index, T value) noexcept {
    return bind_integer(index, value);
  }
  template <std::unsigned_integral T>
  Statement& bind(int index, T value) noexcept {  // SQLite's integers are signed: what does not fit is the largest
    return bind_integer(index,
                        value > static_cast<std::uint64_t>(INT64_MAX) ? INT64_MAX : static_cast<std::int64_t>(value));
  }

  // Runs to the end and is ready for the next binds.
  SqlResult run();
  // True: a row is there. False: the end; the statement is ready for the next binds.
  std::expected<bool, SqlError> step();
  void reset() noexcept;

  std::int64_t integer(int column) const noexcept { return sqlite3_column_int64(handle_.get(), column); }
  double real(int column) const noexcept { return sqlite3_column_double(handle_.get(), column); }
  bool is_null(int column) const noexcept { return sqlite3_column_type(handle_.get(), column) == SQLITE_NULL; }
  std::string text(int column) const;  // or the bytes of a blob
  StoreValue value(int column) const;  // likewise

 private:
  struct Finalize {
    void operator()(sqlite3_stmt* handle) const noexcept { sqlite3_finalize(handle); }
  };
  Statement& bind_integer(int index, std::int64_t value) noexcept;
  void keep(int result) noexcept {
    if (result != SQLITE_OK && bind_result_ == SQLITE_OK) bind_result_ = result;
  }

  std::unique_ptr<sqlite3_stmt, Finalize> handle_;
  int bind_result_ = SQLITE_OK;
};

// BEGIN IMMEDIATE; rolled back when it goes without a commit that succeeded.
class Transaction {
 public:
  static std::expected<Transaction, SqlError> begin(Connection& connection);
  Transaction(Transaction&& other) noexcept : connection_(std::exchange(other.connection_, nullptr)) {}
  Transaction& operator=(Transaction&&) = delete;
  ~Transaction();
  SqlResult commit();

 private:
  explicit Transaction(Connection& connection) noexcept : connection_(&connection) {}
  Connection* connection_;
};

}  // namespace portolan
