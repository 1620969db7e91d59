#include "base/utf8.h"
#include "script/bind.h"
#include "script/protobuf_codec.h"
#include "script/protobuf_path.h"
#include "script/protobuf_wire.h"

#include <lua.hpp>

#include <algorithm>
#include <bit>

namespace portolan::protobuf {
namespace {

constexpr std::size_t kBytesPerInstruction = 16;

class Decoder {
 public:
  Decoder(lua_State* state, SchemaOnStack schema, const Message& message, std::string_view bytes, bool defaults,
          std::string& error)
      : state_(state),
        sandbox_(Sandbox::of(state)),
        schema_(schema.schema),
        names_(schema.names),
        bytes_(bytes),
        defaults_(defaults),
        path_(message),
        error_(error) {}

  // Leaves the table on the stack.
  bool decode(const Message& message) {
    lua_newtable(state_);
    return read_message(message, bytes_) && finish(message);
  }

 private:
  bool fail(std::string_view what) {
    error_ = fmt::format("{}: {}", path_.text(), what);
    return false;
  }
  bool fail_at(const WireReader& reader, std::string_view bytes) {
    const auto from = static_cast<std::size_t>(bytes.data() - bytes_.data());
    return fail(fmt::format("malformed at byte {}: {}", from + reader.position(), reader.why()));
  }
  void pay(std::uint64_t instructions) { sandbox_.charge(state_, instructions); }
  // A group is walked through.
  bool skip(protobuf::WireReader& reader, std::uint32_t number, WireType type) {
    const std::size_t before = reader.position();
    const bool done = reader.skip(number, type);
    if (type == WireType::begin_group) pay((reader.position() - before) / 2);
    return done;
  }
  void push_name(const Field& field) {
    lua_rawgeti(state_, names_, static_cast<lua_Integer>(schema_.index_of(field)) + 1);
  }

  // Into the table on top, which an earlier part of the same message may have begun.
  bool read_message(const Message& message, std::string_view bytes) {
    if (++depth_ > kDeepestMessage) return fail(fmt::format("nested deeper than {}", kDeepestMessage));
    luaL_checkstack(state_, 12, "nested too deeply");
    WireReader reader(bytes);
    while (!reader.at_end()) {
      std::uint32_t number = 0;
      WireType type{};
      pay(1);
      if (!reader.tag(number, type)) return fail_at(reader, bytes);
      const Field* field = schema_.find_field(message, number);
      if (field == nullptr || !is_sent_as(*field, type)) {
        if (!skip(reader, number, type)) return fail_at(reader, bytes);
        continue;
      }
      path_.enter(*field);
      if (!read_field(*field, type, reader, bytes)) return false;
      path_.leave();
    }
    --depth_;
    return true;
  }

  // What is sent otherwise is as unknown as a field without a name; but lists may be packed or not, whatever the schema says.
  static bool is_sent_as(const Field& field, WireType type) noexcept {
    return type == wire_type(field.type) ||
           (type == WireType::bytes && field.presence == Presence::repeated && is_packable(field.type));
  }

  bool read_field(const Field& field, WireType type, WireReader& reader, std::string_view bytes) {
    if (field.presence == Presence::repeated) return read_item(field, type, reader, bytes);
    std::string_view part;
    if (field.type == FieldType::message && !reader.bytes(part)) return fail_at(reader, bytes);
    if (field.presence == Presence::map) {
      push_table(field, false);
      const bool read = read_entry(field, part);
      lua_pop(state_, 1);
      return read;
    }
    if (field.oneof != kNone) clear_others(field);
    if (field.type == FieldType::message) {
      push_table(field, false);
      const bool read = read_message(schema_.message_of(field), part);
      lua_pop(state_, 1);
      return read;
    }
    push_name(field);
    if (!push_scalar(field, reader, bytes)) return false;
    lua_rawset(state_, -3);
    return true;
  }

  // The table in this field of the table on top, made if there is none.
  void push_table(const Field& field, bool is_list) {
    push_name(field);
    if (lua_rawget(state_, -2) == LUA_TTABLE) return;
    lua_pop(state_, 1);
    lua_newtable(state_);
    if (is_list) mark_list(state_);
    push_name(field);
    lua_pushvalue(state_, -2);
    lua_rawset(state_, -4);
  }

  void clear_others(const Field& field) {
    const auto members = schema_.oneof_members(field);
    pay(members.size());
    for (const std::uint32_t member : members) {
      const Field& other = schema_.fields()[member];
      if (&other == &field) continue;
      push_name(other);
      lua_pushnil(state_);
      lua_rawset(state_, -3);
    }
  }

  bool read_item(const Field& field, WireType type, WireReader& reader, std::string_view bytes) {
    std::string_view part;
    const bool is_part = type == WireType::bytes && field.type != FieldType::string && field.type != FieldType::bytes;
    if (is_part && !reader.bytes(part)) return fail_at(reader, bytes);
    const bool is_packed = is_part && field.type != FieldType::message;
    if (is_packed && part.empty()) return true;
    push_table(field, true);
    auto next = static_cast<lua_Integer>(lua_rawlen(state_, -1)) + 1;
    path_.at(next);
    bool read = true;
    if (is_packed) {
      read = read_packed(field, part, next);
    } else if (is_part) {
      lua_newtable(state_);
      lua_pushvalue(state_, -1);
      lua_rawseti(state_, -3, next);
      read = read_message(schema_.message_of(field), part);
      lua_pop(state_, 1);
    } else if ((read = push_scalar(field, reader, bytes))) {
      lua_rawseti(state_, -2, next);
    }
    if (read) lua_pop(state_, 1);
    return read;
  }

  bool read_packed(const Field& field, std::string_view part, lua_Integer next) {
    WireReader reader(part);
    while (!reader.at_end()) {
      pay(1);
      path_.at(next);
      if (!push_scalar(field, reader, part)) return false;
      lua_rawseti(state_, -2, next++);
    }
    return true;
  }

  // Into the map on top. What is absent of an entry is its default.
  bool read_entry(const Field& map, std::string_view bytes) {
    const auto entry = schema_.fields(schema_.message_of(map));
    const Field& key = entry[0];
    const Field& value = entry[1];
    luaL_checkstack(state_, 12, "nested too deeply");
    push_default(key);
    push_default(value);
    WireReader reader(bytes);
    while (!reader.at_end()) {
      std::uint32_t number = 0;
      WireType type{};
      pay(1);
      if (!reader.tag(number, type)) return fail_at(reader, bytes);
      if (number == key.number && type == wire_type(key.type)) {
        if (!push_scalar(key, reader, bytes)) return false;
        lua_replace(state_, -3);
      } else if (number == value.number && type == wire_type(value.type)) {
        if (value.type == FieldType::message) {
          std::string_view part;
          if (!reader.bytes(part)) return fail_at(reader, bytes);
          if (!read_message(schema_.message_of(value), part)) return false;
        } else {
          if (!push_scalar(value, reader, bytes)) return false;
          lua_replace(state_, -2);
        }
      } else if (!skip(reader, number, type)) {
        return fail_at(reader, bytes);
      }
    }
    lua_rawset(state_, -3);
    return true;
  }

  // What follows a tag, as Lua's value.
  bool push_scalar(const Field& field, WireReader& reader, std::string_view bytes) {
    if (field.type == FieldType::string || field.type == FieldType::bytes) {
      std::string_view text;
      if (!reader.bytes(text)) return fail_at(reader, bytes);
      pay(text.size() / kBytesPerInstruction);
      if (field.utf8 && !valid_utf8(text)) return fail("text that is not UTF-8");
      push_text(state_, text);
      return true;
    }
    std::uint64_t bits = 0;
    if (!reader.number(wire_type(field.type), bits)) return fail_at(reader, bytes);
    switch (field.type) {
      case FieldType::float64: lua_pushnumber(state_, std::bit_cast<double>(bits)); break;
      case FieldType::float32:
        lua_pushnumber(state_, static_cast<lua_Number>(std::bit_cast<float>(static_cast<std::uint32_t>(bits))));
        break;
      case FieldType::sint32: lua_pushinteger(state_, unzigzag(static_cast<std::uint32_t>(bits))); break;
      case FieldType::sint64: lua_pushinteger(state_, unzigzag(bits)); break;
      default: push_number(field, bits);
    }
    return true;
  }

  // Of a type that is sent as it is: an integer, a bool, or the number of an enum's value.
  void push_number(const Field& field, std::uint64_t bits) {
    switch (field.type) {
      case FieldType::boolean: lua_pushboolean(state_, bits != 0 ? 1 : 0); return;
      case FieldType::uint32:
      case FieldType::fixed32: lua_pushinteger(state_, static_cast<std::uint32_t>(bits)); return;
      case FieldType::int32:
      case FieldType::sfixed32: lua_pushinteger(state_, static_cast<std::int32_t>(bits)); return;
      case FieldType::enumeration: {
        const auto number = static_cast<std::int32_t>(bits);
        const EnumValue* value = schema_.find_value(schema_.enum_of(field), number);
        if (value)
          lua_rawgeti(state_, names_, static_cast<lua_Integer>(schema_.fields().size() + schema_.index_of(*value)) + 1);
        else
          lua_pushinteger(state_, number);
        return;
      }
      default: lua_pushinteger(state_, static_cast<lua_Integer>(bits));
    }
  }

  // What an absent field stands for.
  void push_default(const Field& field) {
    switch (field.type) {
      case FieldType::string:
      case FieldType::bytes: push_text(state_, field.default_text); return;
      case FieldType::message: lua_newtable(state_); return;
      case FieldType::float64:
      case FieldType::float32: lua_pushnumber(state_, std::bit_cast<double>(field.default_number)); return;
      default: push_number(field, field.default_number);
    }
  }

  // ---- What can be said only when the whole has come -----------------------------------------------------------

  // Of the table on top: what is required is there, and defaults are filled in.
  bool finish(const Message& message) {
    if (!message.requires_fields && !defaults_) return true;
    luaL_checkstack(state_, 12, "nested too deeply");
    const auto fields = schema_.fields(message);
    pay(fields.size());
    for (const Field& field : fields) {
      push_name(field);
      const bool is_absent = lua_rawget(state_, -2) == LUA_TNIL;
      path_.enter(field);
      if (is_absent && field.presence == Presence::required) return fail("required, but absent");
      const bool is_good = is_absent || finish_field(field);
      lua_pop(state_, 1);
      if (!is_good) return false;
      if (is_absent && defaults_) fill_in(field);
      path_.leave();
    }
    return true;
  }

  // Of the value on top.
  bool finish_field(const Field& field) {
    if (field.type != FieldType::message) return true;
    const Message& message = schema_.message_of(field);
    if (field.presence == Presence::map) {
      const Field& value = schema_.fields(message)[1];
      if (value.type != FieldType::message) return true;
      for (lua_pushnil(state_); lua_next(state_, -2) != 0; lua_pop(state_, 1))
        if (!finish(schema_.message_of(value))) return false;
      return true;
    }
    if (field.presence != Presence::repeated) return finish(message);
    const auto count = static_cast<lua_Integer>(lua_rawlen(state_, -1));
    for (lua_Integer at = 1; at <= count; ++at) {
      path_.at(at);
      lua_rawgeti(state_, -1, at);
      if (!finish(message)) return false;
      lua_pop(state_, 1);
    }
    return true;
  }

  // Only what cannot be told from its default when it is sent, and what declares one.
  void fill_in(const Field& field) {
    if (field.presence == Presence::map || field.presence == Presence::repeated) {
      push_table(field, field.presence == Presence::repeated);
      lua_pop(state_, 1);
    } else if (field.presence == Presence::implicit || field.declares_default) {
      if (field.oneof != kNone) return;
      push_name(field);
      push_default(field);
      lua_rawset(state_, -3);
    }
  }

  lua_State* state_;
  Sandbox& sandbox_;
  const Schema& schema_;
  const int names_;
  const std::string_view bytes_;
  const bool defaults_;
  FieldPath path_;
  std::string& error_;
  int depth_ = 0;
};

}  // namespace

bool decode_message(lua_State* state, SchemaOnStack schema, const Message& message, std::string_view bytes,
                    bool defaults, std::string& error) {
  const int top = lua_gettop(state);
  if (bytes.size() > kLongestMessage) {
    error = fmt::format("{} bytes; expected {} at most", bytes.size(), kLongestMessage);
    return false;
  }
  if (Decoder(state, schema, message, bytes, defaults, error).decode(message)) return true;
  lua_settop(state, top);
  return false;
}

}  // namespace portolan::protobuf
