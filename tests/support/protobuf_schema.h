// What tests of protobuf share: a schema in memory of its own, and all that it says as a text.
#pragma once

#include "script/protobuf_blueprint.h"
#include "script/protobuf_descriptor.h"
#include "script/protobuf_parser.h"

#include <fmt/format.h>

#include <cstddef>
#include <expected>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace portolan::testing {

struct HeldSchema {
  std::unique_ptr<std::max_align_t[]> block;
  const protobuf::Schema* schema = nullptr;  // null: the error says why
  std::string error;
};

inline HeldSchema hold(const std::expected<protobuf::Blueprint, std::string>& blueprint) {
  HeldSchema held;
  if (!blueprint) {
    held.error = blueprint.error();
    return held;
  }
  held.block = std::make_unique<std::max_align_t[]>(blueprint->bytes() / sizeof(std::max_align_t) + 1);
  held.schema = blueprint->place(held.block.get());
  return held;
}

inline HeldSchema schema_of(std::string_view text, std::vector<protobuf::SourceFile> imports = {}) {
  imports.insert(imports.begin(), {.name = {}, .text = text});
  return hold(protobuf::read_sources(imports));
}

inline HeldSchema schema_of_descriptors(std::string_view bytes) { return hold(protobuf::read_descriptors(bytes)); }

// A line for each message, field and value of an enum; maps with the entries that they have.
inline std::string describe(const protobuf::Schema& schema) {
  using namespace protobuf;
  constexpr std::string_view kPresences[] = {"implicit", "optional", "required", "repeated", "map"};
  std::string out;
  for (const Message& message : schema.messages()) {
    out += fmt::format("message {}{}{}\n", message.name, message.is_map_entry ? " entry" : "",
                       message.requires_fields ? " requires" : "");
    for (const Field& field : schema.fields(message)) {
      out += fmt::format("  {} = {} {} {}", field.name, field.number, kPresences[static_cast<int>(field.presence)],
                         name_of(field.type));
      if (field.type == FieldType::message) out += fmt::format(" {}", schema.message_of(field).name);
      if (field.type == FieldType::enumeration) {
        out += fmt::format(" {} {{", schema.enum_of(field).name);
        for (const EnumValue& value : schema.values(schema.enum_of(field)))
          out += fmt::format(" {}={}", value.name, value.number);
        out += " }";
      }
      if (field.oneof != kNone) out += fmt::format(" of {}", schema.oneof_name(field));
      if (field.packed) out += " packed";
      if (field.utf8) out += " utf8";
      if (field.declares_default) out += fmt::format(" default {:x} '{}'", field.default_number, field.default_text);
      out += "\n";
    }
  }
  return out;
}

}  // namespace portolan::testing
