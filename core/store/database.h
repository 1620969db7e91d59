// The store's file, opened by the one process that may write it: checked, locked, migrated.
//
// Refuses, with a sentence that has the way out: a missing directory, what is not a file of ours, a damaged or newer
// one, one that may not be written, one that another daemon has. A file that is refused is left as it is.
#pragma once

#include "base/unique_fd.h"
#include "sqlite.h"

#include <cstdint>
#include <expected>
#include <string>

#include <sys/types.h>

namespace portolan {

// Holds `<path>.lock` (flock): two daemons on one file would count on top of each other. The file stays when the lock
// goes, since removing it would race with the next owner.
std::expected<UniqueFd, std::string> lock_database(const std::string& path);

enum class Creation : std::uint8_t {
  allowed,  // at start-up
  refused,  // reopening: a file that has gone is not replaced by an empty one (its disk may come back)
};

class Database {
 public:
  static std::expected<Database, std::string> open(const std::string& path, Creation creation);

  Connection& connection() noexcept { return *connection_; }
  // False when the path no longer leads to the file that is open: it was moved, deleted or replaced.
  bool in_place() const noexcept;
  // The log goes into the database and is emptied; it and the -shm stay, so that readers without write permission can
  // open the database while no daemon runs.
  void close() noexcept;

 private:
  std::string path_;
  std::unique_ptr<Connection> connection_;  // statements point at it: it does not move
  std::uint64_t device_ = 0;
  std::uint64_t inode_ = 0;
};

// "store "/x.db": <what>" for an error of SQLite, with the way out where there is one.
std::string explain(const std::string& path, const SqlError& error);

}  // namespace portolan
