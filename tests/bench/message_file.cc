#include "message_file.h"

#include <fmt/format.h>
#include <sqlite3.h>

#include <filesystem>
#include <system_error>
#include <vector>

#include "load_chat.h"

namespace portolan::bench {
namespace {

struct Finalize {
  void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
};
using Query = std::unique_ptr<sqlite3_stmt, Finalize>;

Failure failed(sqlite3* database) { return Failure(fmt::format("its file: {}", sqlite3_errmsg(database))); }

Query prepare(sqlite3* database, const char* sql) {
  sqlite3_stmt* statement = nullptr;
  sqlite3_prepare_v2(database, sql, -1, &statement, nullptr);
  return Query(statement);
}

std::string_view text_of(const Query& query, int column) {
  const void* text = sqlite3_column_blob(query.get(), column);
  return {static_cast<const char*>(text), static_cast<std::size_t>(sqlite3_column_bytes(query.get(), column))};
}

}  // namespace

void MessageFile::Close::operator()(sqlite3* database) const { sqlite3_close(database); }

Result<MessageFile> MessageFile::open(const std::string& path) {
  sqlite3* database = nullptr;
  const int code = sqlite3_open_v2(path.c_str(), &database, SQLITE_OPEN_READONLY, nullptr);
  MessageFile file;
  file.database_.reset(database);
  if (code != SQLITE_OK) return failed(database);
  sqlite3_busy_timeout(database, kSilenceMs);
  return file;
}

Result<std::uint64_t> MessageFile::written() const {
  const Query query = prepare(database_.get(), "SELECT max(id) FROM chat_messages");
  if (!query || sqlite3_step(query.get()) != SQLITE_ROW) return failed(database_.get());
  return static_cast<std::uint64_t>(sqlite3_column_int64(query.get(), 0));
}

Result<std::uint64_t> MessageFile::check(std::uint32_t said, std::uint64_t least) const {
  const Query query = prepare(database_.get(), "SELECT text FROM chat_messages WHERE kind = 'said' ORDER BY id");
  std::vector<bool> found(said, false);
  std::uint64_t rows = 0;
  std::uint32_t oldest = said;
  int code = query ? SQLITE_ROW : SQLITE_ERROR;
  while (code == SQLITE_ROW && (code = sqlite3_step(query.get())) == SQLITE_ROW) {
    const std::string_view text = text_of(query, 0);
    const std::uint32_t tag = text.size() < kTagSize ? UINT32_MAX : read_tag(text.data());
    if (tag >= said) return Failure("kept what nobody said");
    if (text != std::string_view(chat_line(tag)).substr(0, kChatLineSize - 1)) return Failure("kept something else");
    if (found[tag]) return Failure("kept a message twice");
    found[tag] = true;
    oldest = std::min(oldest, tag);
    ++rows;
  }
  if (code != SQLITE_DONE) return failed(database_.get());
  if (rows < least || rows != said - oldest)
    return Failure(fmt::format("kept {} of the {} messages from number {} to {}", rows, said - oldest, oldest, said));
  return rows;
}

void remove_database(const std::string& path) {
  std::error_code ignored;
  for (const char* suffix : {"", "-wal", "-shm"}) std::filesystem::remove(path + suffix, ignored);
}

}  // namespace portolan::bench
