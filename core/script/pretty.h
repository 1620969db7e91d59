// How the console shows Lua's values to people.
//
// Called from a function that scripts are given, as part of a task: it pays with instructions, raises when there are none left,
// and may call __tostring, within the same budget. It changes nothing. Control characters, and bytes that are no UTF-8, come out
// as escapes where a text stands between quotes or in a cell: what a peer has sent does not steer the terminal.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

struct lua_State;

namespace portolan {

struct PrettyLimits {
  std::size_t bytes = 1U << 20U;  // of what is shown
  std::size_t entries = 200;      // of one table
  int depth = 6;                  // of tables in tables
  std::size_t text = 1000;        // bytes of a text within a table
};

// As Lua's own prompt shows it, but a table with what is in it: its list first, then its keys in order; on one line where
// that is short. A table within itself is "<cycle>", and "…" stands for what is left out.
std::string pretty(lua_State* state, int index, const PrettyLimits& limits = {});

// A list of flat tables, of which the widest has all the keys that there are, as lines of cells with tabs between: the keys
// first, with ">" in front of those of numbers. Empty when the value is something else.
std::string pretty_rows(lua_State* state, int index, const PrettyLimits& limits = {});

// Without control characters: \n, \t, \27, \195 and so on. Pure.
std::string escaped(std::string_view text);
// A cell: escaped, and no longer than is good for a table. Pure.
std::string cell_text(std::string_view text);

}  // namespace portolan
