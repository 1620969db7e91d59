// Tables of Lua as messages of protobuf, and back.
//
// A field that is absent is nil. Lists are marked as such for JSON, values of enums are their names (or numbers, which have
// none), integers of 64 bits are Lua's, so that those of uint64 beyond 2^63 are negative. What is written is the same for
// the same table: by field number, maps by key. Refused, with the path to it: what the message has not or does not fit,
// text of proto3 that is not UTF-8, required fields that are absent, what is malformed, longer than 16 MiB, or nested
// deeper than 100.
//
// Both pay with instructions for what they do, and raise where Lua's memory or the budget ends. Besides what is in Lua,
// encoding holds the bytes and what it sorts; decoding nothing that grows with the message.
#pragma once

#include "script/protobuf_schema.h"

#include <string>
#include <string_view>

struct lua_State;

namespace portolan::protobuf {

inline constexpr std::size_t kLongestMessage = std::size_t{16} << 20U;

// The names of the schema's fields, then of its values, as a list: Lua's strings, made once.
void push_names(lua_State* state, const Schema& schema);

// In both `names` is where that list is on the stack.
struct SchemaOnStack {
  const Schema& schema;
  int names;
};

// Pushes the bytes of the table at `index`. False: nothing is pushed, and `error` says what is wrong and where.
bool encode_message(lua_State* state, SchemaOnStack schema, const Message& message, int index, std::string& error);
// Pushes a table, into which defaults are filled in if asked for. False as above.
bool decode_message(lua_State* state, SchemaOnStack schema, const Message& message, std::string_view bytes,
                    bool defaults, std::string& error);

}  // namespace portolan::protobuf
