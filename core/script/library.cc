#include "script/library.h"

#include "base/clock.h"
#include "base/log.h"
#include "script/bind.h"
#include "script/pattern.h"
#include "script/sandbox.h"

#include <lua.hpp>

#include <bit>
#include <cmath>
#include <cstdio>

namespace portolan {
namespace {

// ---- Functions of C that may run long on a few instructions: they pay for what they do -------------------------

int call_original(lua_State* state) { return lua_tocfunction(state, lua_upvalueindex(1))(state); }

std::uint64_t positive(lua_Integer value) { return value > 0 ? static_cast<std::uint64_t>(value) : 0; }

// A length that a metamethod makes up costs nothing to state and years to walk.
std::uint64_t check_length(lua_State* state, int index) {
  luaL_checktype(state, index, LUA_TTABLE);
  if (luaL_getmetafield(state, index, "__len") != LUA_TNIL) {
    luaL_error(state, "tables with a __len of their own are not allowed here");
  }
  return lua_rawlen(state, index);
}

std::uint64_t range(lua_Integer from, lua_Integer to) {
  return to < from ? 0 : static_cast<std::uint64_t>(to) - static_cast<std::uint64_t>(from) + 1;
}

int string_rep(lua_State* state) {
  std::size_t length = 0;
  std::size_t separator_length = 0;
  luaL_checklstring(state, 1, &length);
  const std::uint64_t times = positive(luaL_checkinteger(state, 2));
  luaL_optlstring(state, 3, "", &separator_length);
  if (length + separator_length == 0) {
    lua_pushliteral(state, "");
    return 1;
  }
  Sandbox::of(state).charge(state, times / 32);
  return call_original(state);
}

int pay_by_results(lua_State* state) {
  const int count = call_original(state);
  Sandbox::of(state).charge(state, static_cast<std::uint64_t>(count) / 4);
  return count;
}

int pay_by_text(lua_State* state) {
  std::size_t length = 0;
  luaL_checklstring(state, 1, &length);
  Sandbox::of(state).charge(state, length / 16);
  return call_original(state);
}

int pay_by_any(lua_State* state) {
  if (lua_type(state, 1) == LUA_TSTRING) Sandbox::of(state).charge(state, lua_rawlen(state, 1) / 16);
  return call_original(state);
}

int table_insert(lua_State* state) {
  const std::uint64_t length = check_length(state, 1);
  if (lua_gettop(state) == 3) {
    Sandbox::of(state).charge(state, range(luaL_checkinteger(state, 2), static_cast<lua_Integer>(length)) / 2);
  }
  return call_original(state);
}

int table_remove(lua_State* state) {
  const std::uint64_t length = check_length(state, 1);
  if (lua_gettop(state) >= 2) {
    Sandbox::of(state).charge(state, range(luaL_checkinteger(state, 2), static_cast<lua_Integer>(length)) / 2);
  }
  return call_original(state);
}

int table_move(lua_State* state) {
  Sandbox::of(state).charge(state, range(luaL_checkinteger(state, 2), luaL_checkinteger(state, 3)));
  return call_original(state);
}

int table_concat(lua_State* state) {
  const auto length = static_cast<lua_Integer>(check_length(state, 1));
  lua_settop(state, 4);
  Sandbox::of(state).charge(state, range(luaL_optinteger(state, 3, 1), luaL_optinteger(state, 4, length)) / 2);
  return call_original(state);
}

int table_sort(lua_State* state) {
  const std::uint64_t length = check_length(state, 1);
  // To compare two texts is to walk along both, as often as sorting compares.
  std::uint64_t bytes = 0;
  for (std::uint64_t index = 1; index <= length; ++index) {
    if (lua_rawgeti(state, 1, static_cast<lua_Integer>(index)) == LUA_TSTRING) bytes += lua_rawlen(state, -1);
    lua_pop(state, 1);
  }
  Sandbox::of(state).charge(state, length * 8 + bytes / 32 * static_cast<std::uint64_t>(std::bit_width(length)));
  return call_original(state);
}

// A finalizer runs when garbage is collected, where no budget is looked at.
int checked_setmetatable(lua_State* state) {
  if (lua_type(state, 2) == LUA_TTABLE) {
    lua_pushliteral(state, "__gc");
    if (lua_rawget(state, 2) != LUA_TNIL) luaL_error(state, "a metatable with __gc is not allowed here");
    lua_pop(state, 1);
  }
  return call_original(state);
}

// ---- portolan.* -------------------------------------------------------------------------------------------------

void write_log(lua_State* state, const char* text, std::size_t length) {
  const Sandbox& sandbox = Sandbox::of(state);
  if (!log::enabled(sandbox.log_level())) return;
  constexpr std::size_t kLongest = 4096;
  log::write(sandbox.log_level(), {.service = sandbox.log_service()}, {text, length < kLongest ? length : kLongest});
}

int portolan_log(lua_State* state) {
  std::size_t length = 0;
  const char* text = luaL_tolstring(state, 1, &length);
  write_log(state, text, length);
  return 0;
}

int print(lua_State* state) {
  const int count = lua_gettop(state);
  luaL_Buffer buffer;
  luaL_buffinit(state, &buffer);
  for (int index = 1; index <= count; ++index) {
    if (index > 1) luaL_addchar(&buffer, ' ');
    luaL_tolstring(state, index, nullptr);
    luaL_addvalue(&buffer);
  }
  luaL_pushresult(&buffer);
  std::size_t length = 0;
  const char* text = lua_tolstring(state, -1, &length);
  if (std::FILE* file = Sandbox::of(state).print_file()) {
    std::fwrite(text, 1, length, file);
    std::fputc('\n', file);
    std::fflush(file);
  } else {
    write_log(state, text, length);
  }
  return 0;
}

int portolan_now(lua_State* state) {
  lua_pushnumber(state, static_cast<lua_Number>(unix_ms()) / 1000);
  return 1;
}

int portolan_date(lua_State* state) {
  const lua_Number at = luaL_optnumber(state, 1, static_cast<lua_Number>(unix_ms()) / 1000);
  if (!(at >= -1e11 && at <= 1e12)) luaL_argerror(state, 1, "seconds since 1970");
  const CalendarTime time = utc_time(static_cast<std::int64_t>(std::floor(at)));
  char text[32];
  const int size = std::snprintf(text, sizeof text, "%04d-%02u-%02uT%02u:%02u:%02uZ", static_cast<int>(time.year),
                                 time.month, time.day, time.hour, time.minute, time.second);
  lua_pushlstring(state, text, static_cast<std::size_t>(size));
  return 1;
}

constexpr LuaFunction kLogFunctions[] = {
    {"log", &portolan_log, "(text)", "a line in the log, with the name of the service; print(…) does the same"},
    {"now", &portolan_now, "() -> number", "the time: seconds since 1970, with their fraction"},
    {"date", &portolan_date, "(time?) -> string", "the time as 2026-01-31T23:59:59Z, in UTC (ISO 8601)"},
};

// ---- Putting it together ----------------------------------------------------------------------------------------

// Replaces a function of the table on top of the stack by one that may call it through its first upvalue.
void wrap(lua_State* state, const char* name, lua_CFunction wrapper) {
  lua_getfield(state, -1, name);
  lua_pushcclosure(state, wrapper, 1);
  lua_setfield(state, -2, name);
}

void forget(lua_State* state, const char* name) {
  lua_pushnil(state);
  lua_setfield(state, -2, name);
}

}  // namespace

const LuaArea kLogArea = {"portolan.", "The log and the clock.", kLogFunctions};

void open_library(lua_State* state) {
  luaL_requiref(state, LUA_GNAME, &luaopen_base, 1);
  // load and its kin accept bytecode, which can break any promise; collectgarbage steers a collector that is not the
  // script's; an xpcall handler would run where no budget is looked at.
  for (const char* name : {"load", "loadfile", "loadstring", "dofile", "require", "collectgarbage", "xpcall", "warn"}) {
    forget(state, name);
  }
  wrap(state, "setmetatable", &checked_setmetatable);
  wrap(state, "tonumber", &pay_by_any);
  lua_pushcfunction(state, &print);
  lua_setfield(state, -2, "print");
  lua_pop(state, 1);

  luaL_requiref(state, LUA_STRLIBNAME, &luaopen_string, 1);
  forget(state, "dump");
  wrap(state, "rep", &string_rep);
  wrap(state, "byte", &pay_by_results);
  for (const char* name : {"pack", "packsize", "unpack"}) wrap(state, name, &pay_by_text);
  open_patterns(state);
  lua_pop(state, 1);

  luaL_requiref(state, LUA_TABLIBNAME, &luaopen_table, 1);
  wrap(state, "insert", &table_insert);
  wrap(state, "remove", &table_remove);
  wrap(state, "move", &table_move);
  wrap(state, "concat", &table_concat);
  wrap(state, "sort", &table_sort);
  wrap(state, "unpack", &pay_by_results);
  lua_pop(state, 1);

  luaL_requiref(state, LUA_MATHLIBNAME, &luaopen_math, 1);
  lua_pop(state, 1);

  luaL_requiref(state, LUA_UTF8LIBNAME, &luaopen_utf8, 1);
  wrap(state, "codepoint", &pay_by_results);
  wrap(state, "len", &pay_by_text);
  wrap(state, "offset", &pay_by_text);
  lua_pop(state, 1);

  lua_newtable(state);
  add_functions(state, kLogFunctions);
  bind_tasks(state);
  bind_streams(state);
  bind_udp(state);
  bind_bus(state);
  bind_net(state);
  bind_limits(state);
  bind_store(state);
  bind_json(state);
  bind_protobuf(state);
  bind_encodings(state);
  lua_setglobal(state, "portolan");
}

}  // namespace portolan
