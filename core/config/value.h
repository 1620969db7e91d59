// What a configuration file returned, as a plain tree: nothing in it belongs to Lua any more.
//
// A value. Functions are kept as the fact that there is one. Metatables are ignored: what is read is what was stored.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <vector>

struct lua_State;

namespace portolan {

struct Value {
  enum class Kind : std::uint8_t { nil, boolean, integer, number, text, table, function };
  struct Field;

  Kind kind = Kind::nil;
  bool boolean = false;
  std::int64_t integer = 0;
  double number = 0;
  std::string text;
  std::vector<Value> items;             // [1], [2], … of a table
  std::vector<Field> fields;            // its text keys, sorted
  std::vector<std::string> other_keys;  // "[7]" after a gap, "[true]": nothing wants these

  const Value* find(std::string_view key) const noexcept;
  void erase(std::string_view key);
  // For messages: the text "x", the number 3, a function.
  std::string describe() const;
};

struct Value::Field {
  std::string key;
  Value value;
};

// Text as it may stand in a message: quoted, without control characters, cut when long.
std::string quote(std::string_view text);

// Reads the value at `index`. The error is a sentence: nested too deep (or a cycle), too large.
std::expected<Value, std::string> read_value(lua_State* state, int index);

}  // namespace portolan
