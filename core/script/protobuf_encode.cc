#include "base/utf8.h"
#include "config/nearest.h"
#include "script/bind.h"
#include "script/protobuf_codec.h"
#include "script/protobuf_path.h"
#include "script/protobuf_wire.h"

#include <lua.hpp>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <span>

namespace portolan::protobuf {
namespace {

constexpr std::size_t kBytesPerInstruction = 16;
// Moving what was written behind its length is quicker than writing it.
constexpr std::size_t kMovedPerInstruction = 64;
// Names among which the one is looked for that was meant.
constexpr std::size_t kMostNames = 200;
constexpr std::size_t kMostShown = 12;

// What one field holds, but for messages: bits as they are sent, or a text.
struct Scalar {
  std::uint64_t bits = 0;
  std::string_view text;
  bool is_default() const noexcept { return bits == 0 && text.empty(); }
};

// A key of a map. Numbers are ordered as unsigned ones once the sign is turned over where there is one.
struct MapKey {
  std::string_view text;
  std::uint64_t order = 0;
  lua_Integer number = 0;
  bool operator<(const MapKey& other) const noexcept {
    return order != other.order ? order < other.order : text < other.text;
  }
};

bool is_null(lua_State* state, int index) {
  return lua_type(state, index) == LUA_TLIGHTUSERDATA && lua_touserdata(state, index) == nullptr;
}

class Encoder {
 public:
  Encoder(lua_State* state, SchemaOnStack schema, const Message& message, std::string& error)
      : state_(state),
        sandbox_(Sandbox::of(state)),
        schema_(schema.schema),
        names_(schema.names),
        path_(message),
        error_(error) {}

  // Of the table on top.
  bool encode(const Message& message) { return write_message(message); }
  const std::string& bytes() const noexcept { return writer_.bytes(); }

 private:
  bool fail(std::string_view what) {
    error_ = fmt::format("{}: {}", path_.text(), what);
    return false;
  }
  void pay(std::uint64_t instructions) { sandbox_.charge(state_, instructions); }

  // "expected a number, found a string", of the value on top.
  bool mismatch(std::string_view expected) {
    std::string found;
    if (lua_isinteger(state_, -1) != 0)
      found = fmt::format("{}", lua_tointeger(state_, -1));
    else if (lua_type(state_, -1) == LUA_TNUMBER)
      found = fmt::format("{}", lua_tonumber(state_, -1));
    else
      found = lua_isnil(state_, -1) ? "nothing" : fmt::format("a {}", luaL_typename(state_, -1));
    return fail(fmt::format("expected {}, found {}", expected, found));
  }

  bool check_size() {
    return writer_.size() <= kLongestMessage || fail(fmt::format("longer than {} bytes", kLongestMessage));
  }
  bool close(std::size_t from) {
    pay((writer_.size() - from) / kMovedPerInstruction);
    writer_.close(from);
    return check_size();
  }

  // ---- Messages ------------------------------------------------------------------------------------------------

  bool write_message(const Message& message) {
    if (lua_type(state_, -1) != LUA_TTABLE) return mismatch("a table");
    if (++depth_ > kDeepestMessage) return fail(fmt::format("nested deeper than {}", kDeepestMessage));
    luaL_checkstack(state_, 12, "nested too deeply");
    const std::size_t begin = present_.size();
    if (!find_present(message) || !check_oneofs(begin) || !check_required(message, begin)) return false;
    for (std::size_t at = begin; at < present_.size(); ++at) {
      const Field& field = schema_.fields()[present_[at]];
      lua_rawgeti(state_, names_, static_cast<lua_Integer>(present_[at]) + 1);
      lua_rawget(state_, -2);
      path_.enter(field);
      if (!write_field(field)) return false;
      path_.leave();
      lua_pop(state_, 1);
    }
    present_.resize(begin);
    --depth_;
    return true;
  }

  // Which fields the table has, by number.
  bool find_present(const Message& message) {
    const std::size_t begin = present_.size();
    for (lua_pushnil(state_); lua_next(state_, -2) != 0; lua_pop(state_, 1)) {
      pay(1);
      if (lua_type(state_, -2) != LUA_TSTRING) {
        const char* type = luaL_typename(state_, -2);
        return fail(fmt::format("expected names of fields as keys, found a {}", type));
      }
      const std::string_view name = check_text(state_, -2);
      const Field* field = schema_.find_field(message, name);
      if (field == nullptr) return fail_unknown(message, name);
      if (!is_null(state_, -1)) present_.push_back(static_cast<std::uint32_t>(schema_.index_of(*field)));
    }
    std::sort(present_.begin() + static_cast<std::ptrdiff_t>(begin), present_.end());
    return true;
  }

  bool fail_unknown(const Message& message, std::string_view name) {
    const auto fields = schema_.fields(message).first(std::min<std::size_t>(message.field_count, kMostNames));
    pay(fields.size() * 16);
    std::vector<std::string_view> known;
    for (const Field& field : fields) known.push_back(field.name);
    const std::string_view meant = nearest(name, known);
    std::string hint = meant.empty() ? "" : fmt::format("; did you mean \"{}\"?", meant);
    if (meant.empty() && !known.empty() && known.size() <= kMostShown) {
      hint = "; its fields are: ";
      for (const std::string_view one : known) hint.append(one).append(one == known.back() ? "" : ", ");
    }
    return fail(fmt::format("{} has no field \"{}\"{}", message.name, name.substr(0, 64), hint));
  }

  bool check_oneofs(std::size_t begin) {
    const auto present = std::span(present_).subspan(begin);
    const auto oneof_at = [this](std::uint32_t index) { return schema_.fields()[index].oneof; };
    std::vector<std::uint32_t> set;
    for (const std::uint32_t index : present)
      if (oneof_at(index) != kNone) set.push_back(oneof_at(index));
    std::sort(set.begin(), set.end());
    const auto twice = std::ranges::adjacent_find(set);
    if (twice == set.end()) return true;
    const auto one = std::ranges::find(present, *twice, oneof_at);
    const auto other =
        std::find_if(one + 1, present.end(), [&](std::uint32_t index) { return oneof_at(index) == *twice; });
    const Field& first = schema_.fields()[*one];
    return fail(fmt::format("both \"{}\" and \"{}\", expected one of those in \"{}\"", first.name,
                            schema_.fields()[*other].name, schema_.oneof_name(first)));
  }

  bool check_required(const Message& message, std::size_t begin) {
    if (!message.requires_fields) return true;
    pay(message.field_count);
    const auto present = std::span(present_).subspan(begin);
    for (const Field& field : schema_.fields(message)) {
      if (field.presence != Presence::required) continue;
      if (std::ranges::binary_search(present, static_cast<std::uint32_t>(schema_.index_of(field)))) continue;
      path_.enter(field);
      return fail("required, but absent");
    }
    return true;
  }

  // ---- Fields, of which the value is on top --------------------------------------------------------------------

  bool write_field(const Field& field) {
    if (field.presence == Presence::repeated) return write_list(field);
    if (field.presence == Presence::map) return write_map(field);
    if (field.type == FieldType::message) {
      writer_.tag(field.number, WireType::bytes);
      const std::size_t from = writer_.size();
      return write_message(schema_.message_of(field)) && close(from);
    }
    Scalar scalar;
    if (!to_scalar(field, scalar)) return false;
    if (field.presence == Presence::implicit && scalar.is_default()) return true;
    writer_.tag(field.number, wire_type(field.type));
    return write_scalar(field, scalar);
  }

  bool write_scalar(const Field& field, const Scalar& scalar) {
    switch (wire_type(field.type)) {
      case WireType::varint: writer_.varint(scalar.bits); break;
      case WireType::fixed32: writer_.fixed32(static_cast<std::uint32_t>(scalar.bits)); break;
      case WireType::fixed64: writer_.fixed64(scalar.bits); break;
      default:
        pay(scalar.text.size() / kBytesPerInstruction);
        // Before it is copied.
        if (scalar.text.size() > kLongestMessage) return fail(fmt::format("longer than {} bytes", kLongestMessage));
        writer_.bytes(scalar.text);
    }
    return check_size();
  }

  // The keys 1 to n and no others.
  bool check_list(lua_Integer count) {
    lua_Integer found = 0;
    for (lua_pushnil(state_); lua_next(state_, -2) != 0; lua_pop(state_, 1)) {
      const bool is_place =
          lua_isinteger(state_, -2) != 0 && lua_tointeger(state_, -2) >= 1 && lua_tointeger(state_, -2) <= count;
      if (!is_place) return fail("expected a list with the keys 1 to n, found another key");
      ++found;
    }
    return found == count || fail("expected a list with the keys 1 to n, found holes in it");
  }

  bool write_list(const Field& field) {
    if (lua_type(state_, -1) != LUA_TTABLE) return mismatch("a list");
    const auto count = static_cast<lua_Integer>(lua_rawlen(state_, -1));
    pay(static_cast<std::uint64_t>(count));
    if (!check_list(count)) return false;
    if (count == 0) return true;
    std::size_t from = 0;
    if (field.packed) {
      writer_.tag(field.number, WireType::bytes);
      from = writer_.size();
    }
    for (lua_Integer at = 1; at <= count; ++at) {
      path_.at(at);
      lua_rawgeti(state_, -1, at);
      if (!write_item(field)) return false;
      lua_pop(state_, 1);
    }
    return !field.packed || close(from);
  }

  bool write_item(const Field& field) {
    if (field.type == FieldType::message) {
      writer_.tag(field.number, WireType::bytes);
      const std::size_t from = writer_.size();
      return write_message(schema_.message_of(field)) && close(from);
    }
    Scalar scalar;
    if (!to_scalar(field, scalar)) return false;
    if (!field.packed) writer_.tag(field.number, wire_type(field.type));
    return write_scalar(field, scalar);
  }

  bool write_map(const Field& field) {
    if (lua_type(state_, -1) != LUA_TTABLE) return mismatch("a table");
    luaL_checkstack(state_, 12, "nested too deeply");
    const auto entry = schema_.fields(schema_.message_of(field));
    std::vector<MapKey> keys;
    if (!find_keys(entry[0], keys)) return false;
    std::ranges::sort(keys, [](const MapKey& a, const MapKey& b) { return a < b; });
    for (const MapKey& key : keys) {
      push_key(entry[0], key);
      Scalar scalar;
      if (!to_scalar(entry[0], scalar)) return false;
      writer_.tag(field.number, WireType::bytes);
      const std::size_t from = writer_.size();
      writer_.tag(1, wire_type(entry[0].type));
      if (!write_scalar(entry[0], scalar)) return false;
      lua_rawget(state_, -2);
      name_key(entry[0], key);
      if (!write_map_value(entry[1]) || !close(from)) return false;
      lua_pop(state_, 1);
    }
    return true;
  }

  bool write_map_value(const Field& value) {
    writer_.tag(2, wire_type(value.type));
    if (value.type == FieldType::message) {
      const std::size_t from = writer_.size();
      return write_message(schema_.message_of(value)) && close(from);
    }
    Scalar scalar;
    return to_scalar(value, scalar) && write_scalar(value, scalar);
  }

  bool find_keys(const Field& key, std::vector<MapKey>& keys) {
    for (lua_pushnil(state_); lua_next(state_, -2) != 0; lua_pop(state_, 1)) {
      pay(8);  // they are sorted, too
      MapKey found;
      lua_pushvalue(state_, -2);
      Scalar scalar;
      if (!to_scalar(key, scalar)) {
        error_ += ", as a key";
        return false;
      }
      if (key.type == FieldType::string) {
        pay(scalar.text.size() / kBytesPerInstruction);
        found.text = check_text(state_, -1);
      } else {
        found.number = key.type == FieldType::boolean ? lua_toboolean(state_, -1) : lua_tointeger(state_, -1);
        const bool is_signed = key.type != FieldType::uint64 && key.type != FieldType::fixed64;
        found.order = static_cast<std::uint64_t>(found.number) ^ (is_signed ? std::uint64_t{1} << 63U : 0);
      }
      lua_pop(state_, 1);
      keys.push_back(found);
    }
    return true;
  }

  void push_key(const Field& field, const MapKey& key) {
    if (field.type == FieldType::string)
      push_text(state_, key.text);
    else if (field.type == FieldType::boolean)
      lua_pushboolean(state_, static_cast<int>(key.number));
    else
      lua_pushinteger(state_, key.number);
  }

  void name_key(const Field& field, const MapKey& key) {
    if (field.type == FieldType::string)
      path_.at(key.text);
    else if (field.type == FieldType::boolean)
      path_.at(key.number != 0 ? std::string_view("true") : std::string_view("false"));
    else
      path_.at(key.number);
  }

  // ---- Values --------------------------------------------------------------------------------------------------

  bool to_integer(std::int64_t least, std::int64_t most, std::string_view expected, std::int64_t& value) {
    int is_integer = 0;
    if (lua_type(state_, -1) == LUA_TNUMBER) value = lua_tointegerx(state_, -1, &is_integer);
    return (is_integer != 0 && value >= least && value <= most) || mismatch(expected);
  }

  bool to_scalar(const Field& field, Scalar& scalar) {
    constexpr std::int64_t kLeast = std::numeric_limits<std::int64_t>::min();
    constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
    std::int64_t value = 0;
    bool is_good = true;
    switch (field.type) {
      case FieldType::float64:
      case FieldType::float32: return to_float(field, scalar);
      case FieldType::boolean:
        if (lua_type(state_, -1) != LUA_TBOOLEAN) return mismatch("a boolean");
        value = lua_toboolean(state_, -1);
        break;
      case FieldType::string:
      case FieldType::bytes:
        if (lua_type(state_, -1) != LUA_TSTRING) return mismatch("a string");
        scalar.text = check_text(state_, -1);
        return !field.utf8 || valid_utf8(scalar.text) || fail("expected UTF-8, found other bytes");
      case FieldType::enumeration: is_good = to_enum_number(field, value); break;
      case FieldType::int32:
      case FieldType::sint32:
      case FieldType::sfixed32:
        is_good = to_integer(-0x80000000LL, 0x7FFFFFFF, "an integer from -2147483648 to 2147483647", value);
        break;
      case FieldType::uint32:
      case FieldType::fixed32: is_good = to_integer(0, 0xFFFFFFFF, "an integer from 0 to 4294967295", value); break;
      default: is_good = to_integer(kLeast, kMost, "an integer of 64 bits", value);
    }
    const bool is_zigzag = field.type == FieldType::sint32 || field.type == FieldType::sint64;
    scalar.bits = is_zigzag ? zigzag(value) : static_cast<std::uint64_t>(value);
    return is_good;
  }

  bool to_float(const Field& field, Scalar& scalar) {
    if (lua_type(state_, -1) != LUA_TNUMBER) return mismatch("a number");
    const double value = lua_tonumber(state_, -1);
    if (field.type == FieldType::float64) {
      scalar.bits = std::bit_cast<std::uint64_t>(value);
      return true;
    }
    if (std::isfinite(value) && std::abs(value) > std::numeric_limits<float>::max())
      return mismatch("a number that fits float");
    scalar.bits = std::bit_cast<std::uint32_t>(static_cast<float>(value));
    return true;
  }

  bool to_enum_number(const Field& field, std::int64_t& number) {
    const Enum& of = schema_.enum_of(field);
    if (lua_type(state_, -1) != LUA_TSTRING)
      return to_integer(-0x80000000LL, 0x7FFFFFFF, fmt::format("a value of {}, or its number", of.name), number);
    const std::string_view name = check_text(state_, -1);
    if (const EnumValue* value = schema_.find_value(of, name)) {
      number = value->number;
      return true;
    }
    const auto values = schema_.values(of).first(std::min<std::size_t>(of.value_count, kMostNames));
    pay(values.size() * 16);
    std::vector<std::string_view> known;
    for (const EnumValue& value : values) known.push_back(value.name);
    const std::string_view meant = nearest(name, known);
    return fail(fmt::format("{} has no value \"{}\"{}", of.name, name.substr(0, 64),
                            meant.empty() ? "" : fmt::format("; did you mean \"{}\"?", meant)));
  }

  lua_State* state_;
  Sandbox& sandbox_;
  const Schema& schema_;
  const int names_;
  WireWriter writer_;
  std::vector<std::uint32_t> present_;  // of all messages that are open, the fields that their tables have
  FieldPath path_;
  std::string& error_;
  int depth_ = 0;
};

}  // namespace

bool encode_message(lua_State* state, SchemaOnStack schema, const Message& message, int index, std::string& error) {
  const int top = lua_gettop(state);
  Encoder encoder(state, schema, message, error);
  lua_pushvalue(state, index);
  const bool encoded = encoder.encode(message);
  lua_settop(state, top);
  if (encoded) push_text(state, encoder.bytes());
  return encoded;
}

}  // namespace portolan::protobuf
