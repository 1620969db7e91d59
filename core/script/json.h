// Lua's values as JSON and back. Both raise when memory is short or a value has no JSON; they pay with instructions.
#pragma once

#include <string>
#include <string_view>

struct lua_State;

namespace portolan {

std::string encode_json(lua_State* state, int index);
// Leaves the value on the stack. False: `error` says what is wrong and where.
bool decode_json(lua_State* state, std::string_view text, std::string& error);

}  // namespace portolan
