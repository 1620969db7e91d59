// What holds of every schema, wherever it came from.
#pragma once

#include "fuzz_target.h"
#include "support/protobuf_schema.h"

namespace portolan::fuzz {

inline void check_schema(const protobuf::Schema& schema) {
  using namespace protobuf;
  for (const Message& message : schema.messages()) {
    check(schema.find_message(message.name) == &message, "a message is found by its name");
    std::uint32_t last = 0;
    for (const Field& field : schema.fields(message)) {
      check(field.number > last && field.number <= kHighestNumber, "fields are ordered by number");
      last = field.number;
      check(schema.find_field(message, field.number) == &field, "a field is found by its number");
      check(schema.find_field(message, field.name) == &field, "a field is found by its name");
      if (field.oneof != kNone) {
        bool is_member = false;
        for (const std::uint32_t member : schema.oneof_members(field))
          is_member = is_member || member == schema.index_of(field);
        check(is_member && !schema.oneof_name(field).empty(), "a oneof knows its fields");
      }
      if (field.type == FieldType::message) check(field.target < schema.messages().size(), "a message is one of all");
      if (field.presence == Presence::map) {
        const auto entry = schema.fields(schema.message_of(field));
        check(entry.size() == 2 && entry[0].number == 1 && entry[1].number == 2, "a map has keys and values");
      }
      if (field.type == FieldType::enumeration) {
        const Enum& of = schema.enum_of(field);
        check(of.value_count > 0, "an enum has a value");
        for (const EnumValue& value : schema.values(of)) {
          check(schema.find_value(of, value.name) == &value, "a value is found by its name");
          check(schema.find_value(of, value.number)->number == value.number, "a value is found by its number");
        }
      }
    }
  }
  check(!testing::describe(schema).empty() || schema.messages().empty(), "all of it can be said");
}

}  // namespace portolan::fuzz
