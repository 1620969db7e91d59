#include "config/value.h"

#include <fmt/format.h>
#include <lua.hpp>

#include <algorithm>
#include <map>

namespace portolan {
namespace {

// A table that stands in many places is copied to each: both bounds keep a small file from growing into a large tree.
constexpr int kDeepest = 32;
constexpr std::size_t kMostValues = 200'000;
constexpr std::size_t kMostBytes = std::size_t{32} << 20U;

class Reader {
 public:
  explicit Reader(lua_State* state) : state_(state) {}

  // Answers what is wrong, or an empty text.
  std::string read(int index, Value& out, int depth) {
    if (++values_ > kMostValues) return "the table it returns holds more than 200,000 values";
    switch (lua_type(state_, index)) {
      case LUA_TBOOLEAN:
        out.kind = Value::Kind::boolean;
        out.boolean = lua_toboolean(state_, index) != 0;
        return {};
      case LUA_TNUMBER:
        out.number = lua_tonumber(state_, index);
        if (lua_isinteger(state_, index) != 0) {
          out.kind = Value::Kind::integer;
          out.integer = lua_tointeger(state_, index);
        } else {
          out.kind = Value::Kind::number;
        }
        return {};
      case LUA_TSTRING: {
        std::size_t length = 0;
        const char* text = lua_tolstring(state_, index, &length);
        bytes_ += length;
        if (bytes_ > kMostBytes) return "the table it returns holds more than 32MiB of text";
        out.kind = Value::Kind::text;
        out.text.assign(text, length);
        return {};
      }
      case LUA_TFUNCTION: out.kind = Value::Kind::function; return {};
      case LUA_TTABLE: return read_table(lua_absindex(state_, index), out, depth);
      default: return {};
    }
  }

 private:
  std::string read_table(int index, Value& out, int depth) {
    out.kind = Value::Kind::table;
    if (depth >= kDeepest) return "the table it returns is nested deeper than 32 tables, or contains itself";
    if (lua_checkstack(state_, 4) == 0) return "there is no memory left to read the table it returns";
    std::map<lua_Integer, Value> numbered;
    lua_pushnil(state_);
    while (lua_next(state_, index) != 0) {
      Value value;
      if (std::string wrong = read(-1, value, depth + 1); !wrong.empty()) return wrong;
      lua_pop(state_, 1);
      if (lua_type(state_, -1) == LUA_TSTRING) {
        std::size_t length = 0;
        const char* key = lua_tolstring(state_, -1, &length);
        bytes_ += length;
        out.fields.emplace_back(std::string(key, length), std::move(value));
      } else if (lua_isinteger(state_, -1) != 0) {
        numbered.emplace(lua_tointeger(state_, -1), std::move(value));
      } else if (lua_type(state_, -1) == LUA_TNUMBER) {
        out.other_keys.push_back(fmt::format("[{}]", lua_tonumber(state_, -1)));
      } else if (lua_type(state_, -1) == LUA_TBOOLEAN) {
        out.other_keys.push_back(lua_toboolean(state_, -1) != 0 ? "[true]" : "[false]");
      } else {
        out.other_keys.push_back(fmt::format("[a {}]", lua_typename(state_, lua_type(state_, -1))));
      }
    }
    for (auto& [number, value] : numbered) {
      if (number == static_cast<lua_Integer>(out.items.size()) + 1) {
        out.items.push_back(std::move(value));
      } else {
        out.other_keys.push_back(fmt::format("[{}]", number));
      }
    }
    std::ranges::sort(out.fields, {}, &Value::Field::key);
    return {};
  }

  lua_State* state_;
  std::size_t values_ = 0;
  std::size_t bytes_ = 0;
};

}  // namespace

const Value* Value::find(std::string_view key) const noexcept {
  for (const auto& [name, value] : fields) {
    if (name == key) return &value;
  }
  return nullptr;
}

void Value::erase(std::string_view key) {
  std::erase_if(fields, [key](const auto& field) { return field.key == key; });
}

std::string quote(std::string_view text) {
  constexpr std::size_t kLongest = 80;
  std::string out = "\"";
  for (const char c : text.substr(0, kLongest)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) {
      out += fmt::format("\\x{:02x}", byte);
    } else {
      out += c;
    }
  }
  out += text.size() > kLongest ? "…\"" : "\"";
  return out;
}

std::string Value::describe() const {
  switch (kind) {
    case Kind::nil: return "nothing";
    case Kind::boolean: return boolean ? "true" : "false";
    case Kind::integer: return fmt::format("the number {}", integer);
    case Kind::number: return fmt::format("the number {}", number);
    case Kind::text: return "the text " + quote(text);
    case Kind::table: return "a table";
    case Kind::function: return "a function";
  }
  return {};
}

std::expected<Value, std::string> read_value(lua_State* state, int index) {
  Value value;
  const int top = lua_gettop(state);
  std::string wrong = Reader(state).read(index, value, 0);
  lua_settop(state, top);
  if (!wrong.empty()) return std::unexpected(std::move(wrong));
  return value;
}

}  // namespace portolan
