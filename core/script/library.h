// The functions that a configuration may call: Lua's own that are harmless, bounded versions of those that are not,
// and the table `portolan`.
#pragma once

struct lua_State;

namespace portolan {

// Opens them in a fresh state. Call it protected: it raises when memory is short.
void open_library(lua_State* state);

}  // namespace portolan
