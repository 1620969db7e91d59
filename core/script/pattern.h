// string.find, match, gmatch and gsub with a budget.
//
// Lua's own matcher is C without a way to stop it: a pattern such as ("a*"):rep(20) .. "b" runs for years on a short
// text, unseen by the instruction budget. This one speaks the same language of patterns (Lua 5.4, section 6.4.1) and
// takes an instruction from the sandbox for each step.
#pragma once

struct lua_State;

namespace portolan {

// Puts the four functions into the table on top of the stack.
void open_patterns(lua_State* state);

}  // namespace portolan
