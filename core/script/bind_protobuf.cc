// portolan.protobuf: schemas, and messages as tables.
#include "script/bind.h"
#include "script/protobuf_codec.h"
#include "script/protobuf_descriptor.h"
#include "script/protobuf_parser.h"

#include "config/nearest.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace portolan {
namespace {

using protobuf::Blueprint;
using protobuf::Message;
using protobuf::Schema;

constexpr const char* kSchemaType = "portolan.protobuf.schema";
// To read a schema takes about as long as a few instructions for each of its bytes.
constexpr std::size_t kInstructionsPerByte = 1;

// ---- Schemas ---------------------------------------------------------------------------------------------------

// The schema lies in Lua's own memory, with the names of its fields beside it.
void push_schema(lua_State* state, const Blueprint& blueprint) {
  const Schema* schema = blueprint.place(object_room(state, blueprint.bytes()).object);
  name_object(state, kSchemaType);
  Sandbox::of(state).charge(state, schema->fields().size() + schema->values().size());
  protobuf::push_names(state, *schema);
  lua_setiuservalue(state, -2, 1);
}

int push_or_raise(lua_State* state, const std::expected<Blueprint, std::string>& blueprint) {
  if (!blueprint) luaL_error(state, "schema: %s", blueprint.error().c_str());
  push_schema(state, *blueprint);
  return 1;
}

// The files of the option `imports`, which are Lua's strings of the table at `index`.
void add_imports(lua_State* state, int index, std::vector<protobuf::SourceFile>& files) {
  luaL_checktype(state, index, LUA_TTABLE);
  if (push_field(state, index, "imports") != LUA_TNIL) {
    luaL_argcheck(state, lua_istable(state, -1), index, "imports: expected a table of names and texts");
    for (lua_pushnil(state); lua_next(state, -2) != 0; lua_pop(state, 1)) {
      Sandbox::of(state).charge(state, 1);
      luaL_argcheck(state, lua_type(state, -2) == LUA_TSTRING && lua_type(state, -1) == LUA_TSTRING, index,
                    "imports: expected a table of names and texts");
      files.push_back({.name = check_text(state, -2), .text = check_text(state, -1)});
    }
  }
  lua_pop(state, 1);
}

int load(lua_State* state) {
  std::vector<protobuf::SourceFile> files = {{.name = {}, .text = check_text(state, 1)}};
  if (!lua_isnoneornil(state, 2)) add_imports(state, 2, files);
  std::size_t size = 0;
  for (const protobuf::SourceFile& file : files) size += file.text.size();
  Sandbox::of(state).charge(state, std::min(size, protobuf::kMostSource) * kInstructionsPerByte);
  return push_or_raise(state, protobuf::read_sources(files));
}

int load_descriptor(lua_State* state) {
  const std::string_view bytes = check_text(state, 1);
  Sandbox::of(state).charge(state, std::min(bytes.size(), protobuf::kMostSource) * kInstructionsPerByte);
  return push_or_raise(state, protobuf::read_descriptors(bytes));
}

const Schema& check_schema(lua_State* state) { return check_object<const Schema>(state, 1, kSchemaType); }

const Message& check_message(lua_State* state, const Schema& schema, int index) {
  const std::string_view name = check_text(state, index);
  const Message* message = schema.find_message(name);
  if (message && !message->is_map_entry) return *message;
  constexpr std::size_t kMostNames = 200;
  std::vector<std::string_view> known;
  for (const Message& one : schema.messages())
    if (!one.is_map_entry && known.size() < kMostNames) known.push_back(one.name);
  Sandbox::of(state).charge(state, known.size() * 16);
  const std::string_view meant = nearest(name, known);
  push_text(state, fmt::format("the schema has no message \"{}\"{}", name.substr(0, 64),
                               meant.empty() ? "" : fmt::format("; did you mean \"{}\"?", meant)));
  luaL_argerror(state, index, lua_tostring(state, -1));
  return *message;  // never reached: luaL_argerror is not declared so
}

// Lays the names on top of the arguments.
protobuf::SchemaOnStack on_stack(lua_State* state, const Schema& schema) {
  lua_getiuservalue(state, 1, 1);
  return {schema, lua_gettop(state)};
}

int encode(lua_State* state) {
  const Schema& schema = check_schema(state);
  const Message& message = check_message(state, schema, 2);
  luaL_checktype(state, 3, LUA_TTABLE);
  std::string error;
  if (!protobuf::encode_message(state, on_stack(state, schema), message, 3, error)) return push_failure(state, error);
  return 1;
}

int decode(lua_State* state) {
  const Schema& schema = check_schema(state);
  const Message& message = check_message(state, schema, 2);
  const std::string_view bytes = check_text(state, 3);
  bool defaults = false;
  if (!lua_isnoneornil(state, 4)) {
    luaL_checktype(state, 4, LUA_TTABLE);
    push_field(state, 4, "defaults");
    defaults = lua_toboolean(state, -1) != 0;
    lua_pop(state, 1);
  }
  std::string error;
  if (!protobuf::decode_message(state, on_stack(state, schema), message, bytes, defaults, error))
    return push_failure(state, error);
  return 1;
}

int messages(lua_State* state) {
  const Schema& schema = check_schema(state);
  Sandbox::of(state).charge(state, schema.messages().size());
  lua_newtable(state);
  lua_Integer place = 0;
  for (const Message& message : schema.messages()) {
    if (message.is_map_entry) continue;
    push_text(state, message.name);
    lua_rawseti(state, -2, ++place);
  }
  mark_list(state);
  return 1;
}

constexpr LuaFunction kFunctions[] = {
    {"load", &load, "(text, options?) -> schema",
     "reads a .proto file; options: imports, a table of the names and texts of what it imports. Raises line:column and "
     "what was expected"},
    {"load_descriptor", &load_descriptor, "(bytes) -> schema",
     "reads what `protoc --include_imports --descriptor_set_out=FILE` has written"},
};
constexpr LuaFunction kMethods[] = {
    {"encode", &encode, "(name, table) -> string | nil, reason",
     "the message of this full name, as bytes: the same for the same table"},
    {"decode", &decode, "(name, bytes, options?) -> table | nil, reason",
     "options: defaults (false), which fills in what is absent because it has the default value"},
    {"messages", &messages, "() -> list of names", "the full names of all messages"},
};

}  // namespace

void protobuf::push_names(lua_State* state, const Schema& schema) {
  lua_createtable(state, static_cast<int>(schema.fields().size() + schema.values().size()), 0);
  lua_Integer place = 0;
  for (const Field& field : schema.fields()) {
    push_text(state, field.name);
    lua_rawseti(state, -2, ++place);
  }
  for (const EnumValue& value : schema.values()) {
    push_text(state, value.name);
    lua_rawseti(state, -2, ++place);
  }
}

const LuaArea kProtobufArea = {"portolan.protobuf.", "Messages of Protocol Buffers: see [Protobuf](#protobuf).",
                               kFunctions};
const LuaArea kSchemaArea = {"schema:", "What load and load_descriptor answer.", kMethods};

void bind_protobuf(lua_State* state) {
  add_class(state, kSchemaType, "schema", kMethods);
  lua_newtable(state);
  add_functions(state, kFunctions);
  lua_setfield(state, -2, "protobuf");
}

}  // namespace portolan
