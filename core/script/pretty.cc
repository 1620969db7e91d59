#include "script/pretty.h"

#include "base/utf8.h"
#include "script/sandbox.h"

#include <fmt/format.h>
#include <lua.hpp>

#include <algorithm>
#include <tuple>
#include <utility>
#include <vector>

namespace portolan {
namespace {

// A table that is no longer than this stands on one line.
constexpr std::size_t kLine = 76;
// Entries of one table that are looked at: what is shown of a larger one is some of it.
constexpr std::size_t kLooked = 20'000;
constexpr std::size_t kMostColumns = 40;
constexpr std::size_t kMostRows = 1000;
constexpr std::size_t kLongestCell = 80;
constexpr std::string_view kMore = "…";

bool is_name(std::string_view text) noexcept {
  static constexpr std::string_view kWords[] = {"and",      "break",  "do",   "else", "elseif", "end",  "false", "for",
                                                "function", "goto",   "if",   "in",   "local",  "nil",  "not",   "or",
                                                "repeat",   "return", "then", "true", "until",  "while"};
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; };
  return !text.empty() && letter(text.front()) &&
         std::ranges::all_of(text, [&](char c) { return letter(c) || (c >= '0' && c <= '9'); }) &&
         std::ranges::find(kWords, text) == std::end(kWords);
}

std::string_view text_at(lua_State* state, int index) {
  std::size_t size = 0;
  const char* text = lua_tolstring(state, index, &size);
  return {text, size};
}

// By __tostring or __name where there is one, its first `most` bytes; raises.
std::string shown(lua_State* state, int index, std::size_t most) {
  std::size_t size = 0;
  const char* text = luaL_tolstring(state, index, &size);
  Sandbox::of(state).charge(state, std::min(size, most) / 8);
  std::string copy(text, std::min(size, most));
  lua_pop(state, 1);
  return copy;
}

bool has_tostring(lua_State* state, int index) {
  if (luaL_getmetafield(state, index, "__tostring") == LUA_TNIL) return false;
  lua_pop(state, 1);
  return true;
}

// A key that can be looked up again: numbers before texts before booleans, each in its order.
struct Key {
  enum class Kind : std::uint8_t { number, text, boolean };
  Kind kind = Kind::text;
  bool is_integer = false;
  lua_Integer integer = 0;
  lua_Number number = 0;  // also of an integer, for the order
  std::string text;
  bool operator<(const Key& other) const {
    return std::tie(kind, number, integer, text) < std::tie(other.kind, other.number, other.integer, other.text);
  }
  void push(lua_State* state) const {
    if (kind == Kind::text) {
      lua_pushlstring(state, text.data(), text.size());
    } else if (kind == Kind::boolean) {
      lua_pushboolean(state, integer != 0 ? 1 : 0);
    } else {
      is_integer ? lua_pushinteger(state, integer) : lua_pushnumber(state, number);
    }
  }
};

class Printer {
 public:
  Printer(lua_State* state, const PrettyLimits& limits) : state_(state), limits_(limits) {}

  // `index` is absolute.
  std::string value(int index, std::size_t indent) {
    Sandbox::of(state_).charge(state_, 4);
    if (used_ > limits_.bytes) return std::string(kMore);
    std::string text;
    if (lua_type(state_, index) == LUA_TTABLE && !has_tostring(state_, index)) {
      text = table(index, indent);
    } else if (lua_type(state_, index) == LUA_TSTRING) {
      const std::string_view whole = text_at(state_, index);
      Sandbox::of(state_).charge(state_, std::min(whole.size(), limits_.text) / 8);
      text = "\"" + escaped(whole.substr(0, limits_.text)) + "\"";
      if (whole.size() > limits_.text) text += fmt::format("{} ({} bytes)", kMore, whole.size());
    } else {
      text = escaped(shown(state_, index, limits_.text));
    }
    used_ += text.size();
    return text;
  }

 private:
  struct Keys {
    std::vector<Key> simple;
    std::vector<std::string> others;  // "[function: 0x...] = ...", as they stand
    bool all = true;
  };

  std::string table(int index, std::size_t indent) {
    luaL_checkstack(state_, 12, "nested too deeply");
    const void* self = lua_topointer(state_, index);
    if (std::ranges::find(path_, self) != path_.end()) return "<cycle>";
    if (path_.size() >= static_cast<std::size_t>(limits_.depth)) {
      lua_pushnil(state_);
      if (lua_next(state_, index) == 0) return "{}";
      lua_pop(state_, 2);
      return fmt::format("{{ {} }}", kMore);
    }
    path_.push_back(self);
    std::vector<std::string> parts = list_of(index, indent);
    const Keys keys = keys_of(index, indent);
    std::size_t left = parts.size() < limits_.entries ? limits_.entries - parts.size() : 0;
    for (const Key& key : keys.simple) {
      if (left == 0) break;
      --left;
      key.push(state_);
      lua_rawget(state_, index);
      parts.push_back(label(key) + " = " + value(lua_gettop(state_), indent + 2));
      lua_pop(state_, 1);
      if (used_ > limits_.bytes) break;
    }
    parts.insert(parts.end(), keys.others.begin(), keys.others.end());
    const std::size_t length = lua_rawlen(state_, index);
    const std::size_t hidden = (length > limits_.entries ? length - limits_.entries : 0) +
                               (keys.simple.size() > limits_.entries ? keys.simple.size() - limits_.entries : 0);
    if (!keys.all || used_ > limits_.bytes)
      parts.emplace_back(kMore);
    else if (hidden > 0)
      parts.push_back(fmt::format("{} {} more", kMore, hidden));
    path_.pop_back();
    return together(parts, indent);
  }

  std::vector<std::string> list_of(int index, std::size_t indent) {
    std::vector<std::string> parts;
    const std::size_t length = std::min(static_cast<std::size_t>(lua_rawlen(state_, index)), limits_.entries);
    for (std::size_t at = 1; at <= length && used_ <= limits_.bytes; ++at) {
      lua_rawgeti(state_, index, static_cast<lua_Integer>(at));
      parts.push_back(value(lua_gettop(state_), indent + 2));
      lua_pop(state_, 1);
    }
    return parts;
  }

  // Those that are not in the list.
  Keys keys_of(int index, std::size_t indent) {
    Keys keys;
    const auto length = static_cast<lua_Integer>(lua_rawlen(state_, index));
    std::size_t looked = 0;
    for (lua_pushnil(state_); lua_next(state_, index) != 0; lua_pop(state_, 1)) {
      Sandbox::of(state_).charge(state_, 1);
      if (++looked > kLooked || used_ > limits_.bytes) {
        keys.all = false;
        lua_pop(state_, 2);
        break;
      }
      switch (lua_type(state_, -2)) {
        case LUA_TNUMBER: {
          const bool is_integer = lua_isinteger(state_, -2) != 0;
          const lua_Integer integer = is_integer ? lua_tointeger(state_, -2) : 0;
          if (is_integer && integer >= 1 && integer <= length) break;
          keys.simple.push_back({.kind = Key::Kind::number,
                                 .is_integer = is_integer,
                                 .integer = integer,
                                 .number = lua_tonumber(state_, -2)});
          break;
        }
        case LUA_TSTRING:
          Sandbox::of(state_).charge(state_, lua_rawlen(state_, -2) / 16);
          keys.simple.push_back({.text = std::string(text_at(state_, -2))});
          break;
        case LUA_TBOOLEAN:
          keys.simple.push_back({.kind = Key::Kind::boolean, .integer = lua_toboolean(state_, -2)});
          break;
        default: {
          if (keys.others.size() >= limits_.entries) {
            keys.all = false;
            break;
          }
          const int top = lua_gettop(state_);
          const std::string name = escaped(shown(state_, top - 1, limits_.text));
          used_ += name.size();
          keys.others.push_back(fmt::format("[{}] = {}", name, value(top, indent + 2)));
        }
      }
    }
    std::ranges::sort(keys.simple, std::less<>());
    return keys;
  }

  std::string label(const Key& key) const {
    if (key.kind == Key::Kind::text) {
      const std::string_view text = std::string_view(key.text).substr(0, limits_.text);
      return is_name(text) ? std::string(text) : "[\"" + escaped(text) + "\"]";
    }
    if (key.kind == Key::Kind::boolean) return key.integer != 0 ? "[true]" : "[false]";
    key.push(state_);
    std::string text = "[" + shown(state_, lua_gettop(state_), limits_.text) + "]";
    lua_pop(state_, 1);
    return text;
  }

  static std::string together(const std::vector<std::string>& parts, std::size_t indent) {
    if (parts.empty()) return "{}";
    std::size_t length = indent + 4;
    bool lines = false;
    for (const std::string& part : parts) {
      length += part.size() + 2;
      lines = lines || part.contains('\n');
    }
    if (!lines && length <= kLine) return fmt::format("{{ {} }}", fmt::join(parts, ", "));
    std::string text = "{\n";
    for (const std::string& part : parts) text += std::string(indent + 2, ' ') + part + ",\n";
    return text + std::string(indent, ' ') + "}";
  }

  lua_State* const state_;
  const PrettyLimits limits_;
  std::size_t used_ = 0;
  std::vector<const void*> path_;  // the tables that this one is in
};

// The texts of a row's values by its keys; false: it is not flat.
using Row = std::vector<std::pair<std::string, std::string>>;
bool read_row(lua_State* state, int index, Row& row, std::vector<std::string>& texts) {
  if (lua_type(state, index) != LUA_TTABLE || has_tostring(state, index)) return false;
  for (lua_pushnil(state); lua_next(state, index) != 0; lua_pop(state, 1)) {
    Sandbox::of(state).charge(state, 4);
    const int type = lua_type(state, -1);
    const bool flat = type == LUA_TSTRING || type == LUA_TNUMBER || type == LUA_TBOOLEAN;
    if (lua_type(state, -2) != LUA_TSTRING || !flat || row.size() >= kMostColumns) {
      lua_pop(state, 2);
      return false;
    }
    std::string key(text_at(state, -2));
    if (type != LUA_TNUMBER && std::ranges::find(texts, key) == texts.end()) texts.push_back(key);
    row.emplace_back(std::move(key), type == LUA_TSTRING ? cell_text(text_at(state, -1))
                                                         : shown(state, lua_gettop(state), kLongestCell));
  }
  std::ranges::sort(row);
  return !row.empty();
}

}  // namespace

std::string escaped(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const char c = text.front();
    if (const std::size_t size = printable_size(text); size > 0) {
      if (c == '"' || c == '\\') out += '\\';
      out += text.substr(0, size);
      text.remove_prefix(size);
      continue;
    }
    if (c == '\n')
      out += "\\n";
    else if (c == '\t')
      out += "\\t";
    else if (c == '\r')
      out += "\\r";
    else
      out += fmt::format("\\{:03}", static_cast<unsigned char>(c));
    text.remove_prefix(1);
  }
  return out;
}

std::string cell_text(std::string_view text) {
  std::string out;
  std::size_t characters = 0;
  while (!text.empty()) {
    if (++characters > kLongestCell) return out + std::string(kMore);
    const std::size_t size = printable_size(text);
    out += size > 0 ? std::string(text.substr(0, size)) : escaped(text.substr(0, 1));
    text.remove_prefix(std::max<std::size_t>(size, 1));
  }
  return out;
}

std::string pretty(lua_State* state, int index, const PrettyLimits& limits) {
  const int at = lua_absindex(state, index);
  luaL_checkstack(state, 12, "no room to show a value");
  if (lua_type(state, at) == LUA_TTABLE && !has_tostring(state, at)) return Printer(state, limits).value(at, 0);
  return shown(state, at, limits.bytes);
}

std::string pretty_rows(lua_State* state, int index, const PrettyLimits& limits) {
  const int at = lua_absindex(state, index);
  luaL_checkstack(state, 12, "no room to show a value");
  if (lua_type(state, at) != LUA_TTABLE || has_tostring(state, at)) return {};
  const auto length = static_cast<std::size_t>(lua_rawlen(state, at));
  if (length == 0 || length > kMostRows) return {};
  std::size_t count = 0;
  for (lua_pushnil(state); lua_next(state, at) != 0; lua_pop(state, 1)) {
    const bool in_list = lua_isinteger(state, -2) != 0 && lua_tointeger(state, -2) >= 1 &&
                         static_cast<std::size_t>(lua_tointeger(state, -2)) <= length;
    if (in_list && ++count <= length) continue;
    lua_pop(state, 2);
    return {};
  }
  std::vector<Row> rows(length);
  std::vector<std::string> texts;  // the keys whose values are not all numbers
  const Row* widest = nullptr;
  for (std::size_t place = 0; place < length; ++place) {
    lua_rawgeti(state, at, static_cast<lua_Integer>(place) + 1);
    const bool flat = read_row(state, lua_gettop(state), rows[place], texts);
    lua_pop(state, 1);
    if (!flat) return {};
    if (!widest || rows[place].size() > widest->size()) widest = &rows[place];
  }
  std::string out;
  for (const auto& [key, ignored] : *widest) {
    if (!out.empty()) out += '\t';
    out += (std::ranges::find(texts, key) == texts.end() ? ">" : "") + cell_text(key);
  }
  for (const Row& row : rows) {
    auto cell = row.begin();
    std::string line;
    for (const auto& [key, ignored] : *widest) {
      if (&key != &widest->front().first) line += '\t';
      if (cell != row.end() && cell->first == key) line += (cell++)->second;
    }
    if (cell != row.end()) return {};  // it has a key that the widest has not
    if (out.size() + line.size() > limits.bytes) break;
    out += "\n" + line;
  }
  return out;
}

}  // namespace portolan
