// What scripts can call, written down: made from the tables of the bindings, so that it cannot differ from them.
#pragma once

#include <string>

namespace portolan {

std::string lua_reference();    // Markdown: the tables of lua/README.md
std::string lua_annotations();  // for editors with the Lua language server: lua/types/portolan.lua

}  // namespace portolan
