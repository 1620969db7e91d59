#include "database.h"

#include "base/file_status.h"
#include "histogram_functions.h"
#include "migrations.h"
#include "schema.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

namespace portolan {
namespace {

constexpr mode_t kFileMode = 0640;
constexpr int kBusyTimeoutMs = 3000;
constexpr int kCloseTimeoutMs = 500;
// A file that was closed in order is read whole at start-up as long as that takes no time worth mentioning.
constexpr std::uint64_t kAlwaysCheckedBytes = 64 << 20;

std::string directory_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

std::unexpected<std::string> refuse(const std::string& path, std::string_view why) {
  return std::unexpected(fmt::format("store \"{}\": {}", path, why));
}

std::string may_not(const std::string& what, int error_number) {
  if (error_number == EROFS) {
    return fmt::format("{} is on a read-only file system: mount it writable or change store.path", what);
  }
  if (error_number == EACCES || error_number == EPERM) {
    return fmt::format("user id {} may not write {}: change its owner or mode, or change store.path", ::geteuid(),
                       what);
  }
  if (error_number == ENOSPC || error_number == EDQUOT) {
    return fmt::format("no space left for {}: make room or change store.path", what);
  }
  return fmt::format("cannot open {}: {}", what, std::strerror(error_number));
}

std::expected<void, std::string> check_directory(const std::string& path) {
  const std::string directory = directory_of(path);
  const auto found = file_status(directory);
  if (!found) {
    const int error_number = errno;
    if (error_number == ENOENT) {
      return refuse(path,
                    fmt::format("the directory \"{0}\" does not exist: create it (mkdir -p {0}) or change store.path",
                                directory));
    }
    if (error_number == EACCES) {
      return refuse(path, fmt::format("user id {} may not enter the directory \"{}\": change its owner or mode, or"
                                      " change store.path",
                                      ::geteuid(), directory));
    }
    return refuse(path, fmt::format("cannot look at \"{}\": {}", directory, std::strerror(error_number)));
  }
  if (!found->is_directory()) {
    return refuse(path, fmt::format("\"{}\" is not a directory: change store.path", directory));
  }
  return {};
}

// SQLite would make it world-readable; the -wal and -shm take their mode from it.
std::expected<void, std::string> make_file(const std::string& path) {
  UniqueFd file(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, kFileMode));
  if (!file) return refuse(path, may_not(fmt::format("the directory \"{}\"", directory_of(path)), errno));
  ::fchmod(file.get(), kFileMode);
  return {};
}

std::string move_aside(const std::string& path) {
  return fmt::format(
      "move it aside with its log (mv {0} {0}.damaged; mv {0}-wal {0}.damaged-wal) and start again: a"
      " new one is made, and \"sqlite3 {0}.damaged .recover\" gets out what can still be read",
      path);
}

std::uint64_t size_of(const std::string& path) noexcept {
  const auto found = file_status(path);
  return found ? found->size : 0;
}

std::expected<void, std::string> check_content(const std::string& path, Connection& connection, bool orderly) {
  const auto found = schema_version(connection);
  if (!found) return std::unexpected(explain(path, found.error()));
  if (found->state == SchemaState::foreign) {
    return refuse(path, "it is an SQLite database of another program: change store.path");
  }
  if (found->state == SchemaState::newer) {
    return refuse(path,
                  fmt::format("its schema has version {}, and this portolan knows versions up to {}: run the newer"
                              " portolan that made it, or change store.path",
                              found->version, migrations().back().version));
  }
  if (found->state == SchemaState::empty || (orderly && size_of(path) > kAlwaysCheckedBytes)) return {};
  auto check = Statement::prepare(connection, "PRAGMA quick_check(1)");
  if (!check) return std::unexpected(explain(path, check.error()));
  const auto row = check->step();
  if (!row) return std::unexpected(explain(path, row.error()));
  const std::string verdict = *row ? check->text(0) : "no answer";
  if (verdict != "ok") {
    std::string one_line = verdict;
    for (char& c : one_line) {
      if (c == '\n') c = ' ';
    }
    return refuse(path, fmt::format("the file is damaged ({}): {}", one_line, move_aside(path)));
  }
  return {};
}

SqlResult set_up(Connection& connection, bool fresh) {
  // Only an empty file can still be given these, and they must come before the first page is written. A flush changes a
  // few rows in a few tables, and each changed page is written whole: small pages spare the flash (half of it, measured).
  if (fresh) {
    if (auto done = connection.execute("PRAGMA page_size = 1024; PRAGMA auto_vacuum = INCREMENTAL"); !done) return done;
  }
  // FULL: with NORMAL a power cut takes all since the last checkpoint. The log is kept short: a start reads it.
  if (auto done = connection.execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
                                     "PRAGMA wal_autocheckpoint = 1024; PRAGMA journal_size_limit = 1048576;"
                                     "PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -1024");
      !done) {
    return done;
  }
  if (auto done = add_histogram_functions(connection); !done) return done;
  return migrate(connection);
}

}  // namespace

std::string explain(const std::string& path, const SqlError& error) {
  const auto sentence = [&](std::string_view what) { return fmt::format("store \"{}\": {}", path, what); };
  switch (error.code) {
    case SQLITE_NOTADB:
      return sentence("the file is not an SQLite database (or its first page is damaged): change store.path, or " +
                      move_aside(path));
    case SQLITE_CORRUPT: return sentence(fmt::format("the file is damaged ({}): {}", error.message, move_aside(path)));
    case SQLITE_FULL:
      return sentence("the disk is full: make room; what is counted until then stays in memory and is written later");
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return sentence("another program holds a lock on the file: end its transaction (an open sqlite3 shell?)");
    case SQLITE_READONLY:
      return sentence(
          fmt::format("the file is read-only for user id {}: change its owner or mode, or mount its file"
                      " system writable",
                      ::geteuid()));
    case SQLITE_IOERR:
      return sentence(fmt::format("reading or writing failed ({}{}{}): check the disk", error.message,
                                  error.system ? ", " : "", error.system ? std::strerror(error.system) : ""));
    case SQLITE_CANTOPEN:
      return sentence(
          fmt::format("cannot be opened ({})", error.system ? std::strerror(error.system) : error.message.c_str()));
    default: return sentence(error.message);
  }
}

std::expected<UniqueFd, std::string> lock_database(const std::string& path) {
  if (auto checked = check_directory(path); !checked) return std::unexpected(checked.error());
  if (const auto found = file_status(path); found && found->is_directory()) {
    return refuse(path, "is a directory: give the path of a file in store.path");
  }
  const std::string name = path + ".lock";
  UniqueFd lock(::open(name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, kFileMode));
  if (!lock) return refuse(path, may_not(fmt::format("\"{}\"", name), errno));
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) {
      return refuse(path, "another portolan is writing it: stop that one, or give each its own store.path");
    }
    return refuse(path, fmt::format("cannot lock \"{}\": {}", name, std::strerror(errno)));
  }
  return lock;
}

std::expected<Database, std::string> Database::open(const std::string& path, Creation creation) {
  if (auto checked = check_directory(path); !checked) return std::unexpected(checked.error());
  const auto before = file_status(path);
  if (!before) {
    if (errno != ENOENT) return refuse(path, may_not("the file", errno));
    if (creation == Creation::refused) {
      return refuse(path, "the file has gone while portolan ran: put it back, or restart for a new one");
    }
    if (auto made = make_file(path); !made) return std::unexpected(made.error());
  } else if (before->is_directory()) {
    return refuse(path, "is a directory: give the path of a file in store.path");
  } else if (!before->is_regular()) {
    return refuse(path, "is not a regular file: give another path in store.path");
  } else if (::faccessat(AT_FDCWD, path.c_str(), R_OK | W_OK, AT_EACCESS) != 0) {
    return refuse(path, may_not("the file", errno));
  }
  const bool fresh = size_of(path) == 0;
  const bool orderly = size_of(path + "-wal") == 0;

  // "./": a name like ":memory:" is a file here, too.
  auto opened = Connection::open(path.front() == '/' ? path : "./" + path, SQLITE_OPEN_READWRITE, kBusyTimeoutMs);
  if (!opened) return std::unexpected(explain(path, opened.error()));
  Database database;
  database.path_ = path;
  database.connection_ = std::make_unique<Connection>(std::move(*opened));
  Connection& connection = *database.connection_;

  // Until it has passed, closing it must not write the log into it either.
  sqlite3_db_config(connection.get(), SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
  int keep_log = 1;
  sqlite3_file_control(connection.get(), "main", SQLITE_FCNTL_PERSIST_WAL, &keep_log);
  if (auto checked = check_content(path, connection, orderly); !checked) return std::unexpected(checked.error());
  if (auto done = set_up(connection, fresh); !done) return std::unexpected(explain(path, done.error()));
  sqlite3_db_config(connection.get(), SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, nullptr);

  const auto found = file_status(path);
  if (!found) return refuse(path, "the file has gone while it was opened");
  database.device_ = found->device;
  database.inode_ = found->inode;
  return database;
}

bool Database::in_place() const noexcept {
  const auto found = file_status(path_);
  return found && found->device == device_ && found->inode == inode_;
}

void Database::close() noexcept {
  if (!connection_ || !*connection_) return;
  // A reader may keep it from finishing; the log is then read at the next start, and the stop is not held up.
  sqlite3_busy_timeout(connection_->get(), kCloseTimeoutMs);
  sqlite3_wal_checkpoint_v2(connection_->get(), nullptr, SQLITE_CHECKPOINT_TRUNCATE, nullptr, nullptr);
  connection_->close();
}

}  // namespace portolan
