// portolan.json: encode and decode. An empty table is an object; portolan.json.array marks one that is a list, and null
// stands for JSON's own.
#include "script/bind.h"
#include "script/json.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <charconv>
#include <cmath>

namespace portolan {
namespace {

constexpr const char* kArrayType = "portolan.json.array";
constexpr int kDeepest = 100;
constexpr std::size_t kLongest = 16U << 20U;
// Bytes read or written for one instruction.
constexpr std::size_t kBytesPerInstruction = 8;

// ---- Encoding --------------------------------------------------------------------------------------------------

void write_string(std::string& out, std::string_view text) {
  constexpr char kHex[] = "0123456789abcdef";
  out += '"';
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    switch (c) {
      case '"': out += "\\\""; break;
      case '\\': out += "\\\\"; break;
      case '\n': out += "\\n"; break;
      case '\r': out += "\\r"; break;
      case '\t': out += "\\t"; break;
      default:
        if (byte < 0x20 || byte == 0x7f) {
          out += "\\u00";
          out += kHex[byte >> 4U];
          out += kHex[byte & 15U];
        } else {
          out += c;
        }
    }
  }
  out += '"';
}

void write_text(lua_State* state, std::string_view text, std::string& out) {
  Sandbox::of(state).charge(state, text.size() / kBytesPerInstruction);
  if (out.size() + text.size() > kLongest) luaL_error(state, "longer than %d bytes", static_cast<int>(kLongest));
  write_string(out, text);
}

void write_value(lua_State* state, int index, std::string& out, int depth);

// A list has the keys 1 to n and no others.
bool is_list(lua_State* state, int index) {
  const auto length = static_cast<lua_Integer>(lua_rawlen(state, index));
  if (length == 0) {
    if (lua_getmetatable(state, index) == 0) return false;
    luaL_getmetatable(state, kArrayType);
    const bool marked = lua_rawequal(state, -1, -2) != 0;
    lua_pop(state, 2);
    return marked;
  }
  lua_Integer count = 0;
  for (lua_pushnil(state); lua_next(state, index) != 0; lua_pop(state, 1)) {
    if (lua_isinteger(state, -2) == 0 || lua_tointeger(state, -2) < 1 || lua_tointeger(state, -2) > length) {
      lua_pop(state, 2);
      return false;
    }
    ++count;
  }
  return count == length;
}

void write_table(lua_State* state, int index, std::string& out, int depth) {
  luaL_checkstack(state, 8, "nested too deeply");
  if (is_list(state, index)) {
    out += '[';
    const auto length = static_cast<lua_Integer>(lua_rawlen(state, index));
    for (lua_Integer at = 1; at <= length; ++at) {
      if (at > 1) out += ',';
      lua_rawgeti(state, index, at);
      write_value(state, lua_gettop(state), out, depth + 1);
      lua_pop(state, 1);
    }
    out += ']';
    return;
  }
  out += '{';
  bool first = true;
  for (lua_pushnil(state); lua_next(state, index) != 0; lua_pop(state, 1)) {
    if (!std::exchange(first, false)) out += ',';
    if (lua_type(state, -2) == LUA_TSTRING) {
      write_text(state, check_text(state, -2), out);
    } else if (lua_isinteger(state, -2) != 0) {
      out += '"' + std::to_string(lua_tointeger(state, -2)) + '"';
    } else {
      luaL_error(state, "a key of JSON is a text or an integer, not a %s", luaL_typename(state, -2));
    }
    out += ':';
    write_value(state, lua_gettop(state), out, depth + 1);
  }
  out += '}';
}

void write_value(lua_State* state, int index, std::string& out, int depth) {
  if (depth > kDeepest) luaL_error(state, "nested deeper than %d", kDeepest);
  Sandbox::of(state).charge(state, 1);
  if (out.size() > kLongest) luaL_error(state, "longer than %d bytes", static_cast<int>(kLongest));
  switch (lua_type(state, index)) {
    case LUA_TNIL: out += "null"; return;
    case LUA_TBOOLEAN: out += lua_toboolean(state, index) != 0 ? "true" : "false"; return;
    case LUA_TNUMBER: {
      char digits[32];
      if (lua_isinteger(state, index) != 0) {
        out.append(digits, std::to_chars(digits, digits + sizeof digits, lua_tointeger(state, index)).ptr);
        return;
      }
      const lua_Number number = lua_tonumber(state, index);
      if (!std::isfinite(number)) luaL_error(state, "JSON has no number for %f", number);
      // The shortest text that reads as the same number. (std::to_chars would bring large tables of its own.)
      out.append(digits, fmt::format_to_n(digits, sizeof digits, "{}", number).size);
      return;
    }
    case LUA_TSTRING: write_text(state, check_text(state, index), out); return;
    case LUA_TTABLE: write_table(state, index, out, depth); return;
    case LUA_TLIGHTUSERDATA:
      if (lua_touserdata(state, index) == nullptr) {
        out += "null";
        return;
      }
      [[fallthrough]];
    default: luaL_error(state, "JSON has no %s", luaL_typename(state, index));
  }
}

// ---- Decoding --------------------------------------------------------------------------------------------------

// Builds Lua's values as the parser finds JSON's. What it raises goes through the parser as an exception of Lua.
class Builder {
 public:
  using Json = nlohmann::json;
  using number_integer_t = Json::number_integer_t;
  using number_unsigned_t = Json::number_unsigned_t;
  using number_float_t = Json::number_float_t;
  using string_t = Json::string_t;
  using binary_t = Json::binary_t;

  explicit Builder(lua_State* state) : state_(state) {}
  const std::string& error() const noexcept { return error_; }

  bool null() {
    lua_pushlightuserdata(state_, nullptr);
    return add();
  }
  bool boolean(bool value) {
    lua_pushboolean(state_, value ? 1 : 0);
    return add();
  }
  bool number_integer(number_integer_t value) {
    lua_pushinteger(state_, value);
    return add();
  }
  bool number_unsigned(number_unsigned_t value) {
    if (value > static_cast<number_unsigned_t>(LUA_MAXINTEGER))
      lua_pushnumber(state_, static_cast<lua_Number>(value));
    else
      lua_pushinteger(state_, static_cast<lua_Integer>(value));
    return add();
  }
  bool number_float(number_float_t value, const string_t&) {
    lua_pushnumber(state_, value);
    return add();
  }
  bool string(string_t& value) {
    push_text(state_, value);
    return add();
  }
  bool binary(binary_t&) { return false; }
  bool start_object(std::size_t) { return begin(0); }
  bool key(string_t& value) {
    push_text(state_, value);
    return true;
  }
  bool end_object() { return end(); }
  bool start_array(std::size_t) { return begin(1); }
  bool end_array() {
    luaL_setmetatable(state_, kArrayType);
    return end();
  }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception& problem) {
    const std::string_view text = problem.what();
    const std::size_t colon = text.find(": ");
    error_ = "at byte " + std::to_string(position) + ": " +
             std::string(colon == std::string_view::npos ? text : text.substr(colon + 2));
    return false;
  }

 private:
  bool begin(lua_Integer next) {
    if (depth_ >= kDeepest) {
      error_ = "nested deeper than " + std::to_string(kDeepest);
      return false;
    }
    luaL_checkstack(state_, 8, "nested too deeply");
    lua_newtable(state_);
    next_[depth_++] = next;
    return true;
  }
  bool end() {
    --depth_;
    return add();
  }
  // Puts the value on top into the table below it.
  bool add() {
    if (depth_ == 0) return true;
    lua_Integer& next = next_[depth_ - 1];
    if (next == 0)
      lua_rawset(state_, -3);
    else
      lua_rawseti(state_, -2, next++);
    return true;
  }

  lua_State* state_;
  std::string error_;
  int depth_ = 0;
  lua_Integer next_[kDeepest] = {};  // of a list; 0: it is an object
};

int encode(lua_State* state) {
  luaL_checkany(state, 1);
  lua_settop(state, 1);
  push_text(state, encode_json(state, 1));
  return 1;
}

int decode(lua_State* state) {
  const std::string_view text = check_text(state, 1);
  std::string error;
  if (!decode_json(state, text, error)) return push_failure(state, error);
  return 1;
}

int array(lua_State* state) {
  if (lua_isnoneornil(state, 1)) lua_newtable(state);
  luaL_checktype(state, -1, LUA_TTABLE);
  luaL_setmetatable(state, kArrayType);
  return 1;
}

constexpr LuaFunction kFunctions[] = {
    {"encode", &encode, "(value) -> string", "a table with the keys 1 to n is a list, any other an object"},
    {"decode", &decode, "(text) -> value | nil, reason", "null is portolan.json.null"},
    {"array", &array, "(table?) -> table", "marks a table as a list, which matters when it is empty"},
};

}  // namespace

std::string encode_json(lua_State* state, int index) {
  std::string out;
  write_value(state, index, out, 0);
  return out;
}

bool decode_json(lua_State* state, std::string_view text, std::string& error) {
  Sandbox::of(state).charge(state, text.size() / kBytesPerInstruction);
  const int top = lua_gettop(state);
  Builder builder(state);
  if (nlohmann::json::sax_parse(text, &builder)) return true;
  lua_settop(state, top);
  error = builder.error();
  return false;
}

const LuaArea kJsonArea = {"portolan.json.", "JSON (RFC 8259).", kFunctions};

void mark_list(lua_State* state) { luaL_setmetatable(state, kArrayType); }

void bind_json(lua_State* state) {
  luaL_newmetatable(state, kArrayType);
  lua_pushliteral(state, "list");
  lua_setfield(state, -2, "__metatable");
  lua_pop(state, 1);
  lua_newtable(state);
  add_functions(state, kFunctions);
  lua_pushlightuserdata(state, nullptr);
  lua_setfield(state, -2, "null");
  lua_setfield(state, -2, "json");
}

}  // namespace portolan
