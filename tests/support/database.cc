#include "support/database.h"

#include <cstdio>
#include <cstdlib>

#include <sqlite3.h>

namespace portolan::testing {

std::string ask_database(const std::string& path, const std::string& query) {
  sqlite3* database = nullptr;
  std::string answer;
  // Read-write all the same: after a crash the first reader has to recover the write-ahead log.
  if (sqlite3_open_v2(path.c_str(), &database, SQLITE_OPEN_READWRITE, nullptr) != SQLITE_OK) {
    answer = std::string("error: ") + sqlite3_errmsg(database);
    sqlite3_close(database);
    return answer;
  }
  sqlite3_busy_timeout(database, 20'000);
  sqlite3_stmt* statement = nullptr;
  if (sqlite3_prepare_v2(database, query.c_str(), -1, &statement, nullptr) == SQLITE_OK &&
      sqlite3_step(statement) == SQLITE_ROW) {
    const unsigned char* text = sqlite3_column_text(statement, 0);
    answer = text ? reinterpret_cast<const char*>(text) : "";
  } else {
    answer = std::string("error: ") + sqlite3_errmsg(database);
  }
  sqlite3_finalize(statement);
  sqlite3_close(database);
  return answer;
}

long number_from_database(const std::string& path, const std::string& query) {
  const std::string answer = ask_database(path, query);
  if (answer.starts_with("error")) {
    std::fprintf(stderr, "%s: %s\n", query.c_str(), answer.c_str());
    return -1;
  }
  return answer.empty() ? -1 : std::atol(answer.c_str());
}

}  // namespace portolan::testing
