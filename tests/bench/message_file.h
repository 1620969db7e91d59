// What a server has kept of a chat, read in its own SQLite file: while it runs, how far it has come, and after it has
// stopped, whether all that was said is there.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "net.h"

struct sqlite3;

namespace portolan::bench {

class MessageFile {
 public:
  static Result<MessageFile> open(const std::string& path);

  // So many messages have been numbered and written.
  Result<std::uint64_t> written() const;
  // That the newest `least`, or more, of the messages with the tags below `said` are there, each of them once and byte for
  // byte, and nothing else; answers how many they are.
  Result<std::uint64_t> check(std::uint32_t said, std::uint64_t least) const;

 private:
  struct Close {
    void operator()(sqlite3* database) const;
  };
  std::unique_ptr<sqlite3, Close> database_;
};

// It and what SQLite keeps beside it.
void remove_database(const std::string& path);

}  // namespace portolan::bench
