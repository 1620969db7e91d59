// Looks into the store's file the way an operator with the sqlite3 program does: read-only, beside a daemon or after
// it. Main thread of the test.
#pragma once

#include <string>

namespace portolan::testing {

// The first column of the first row as text; a sentence beginning with "error: " when there is none. A database that
// a writer has locked for a moment is waited for.
std::string ask_database(const std::string& path, const std::string& query);
long number_from_database(const std::string& path, const std::string& query);  // -1: error or null

}  // namespace portolan::testing
