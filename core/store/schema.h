// The tables and views of the store, as SQL. Tables are private and change by migrations; the views are the public
// interface, described with examples in README.md beside this file.
#pragma once

#include <cstdint>

namespace portolan {

// "Port" in ASCII: how `file` and we tell the store from another program's database.
inline constexpr std::int64_t kApplicationId = 0x506F7274;

extern const char* const kSchemaTables1;  // schema version 1
extern const char* const kSchemaTables2;  // what version 2 adds
extern const char* const kSchemaTables3;
extern const char* const kSchemaTables4;
extern const char* const kSchemaViews;  // of the newest version; made anew after every migration

}  // namespace portolan
