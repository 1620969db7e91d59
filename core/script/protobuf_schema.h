// What messages of protobuf look like: the types of one or more .proto files, resolved and checked.
//
// A Schema lies with all that it refers to in one block of memory, which its owner gives and frees: that of a script is
// Lua's, so that the cap on a script's memory holds for it. It is made by Blueprint::place (protobuf_blueprint.h),
// immutable, for any thread, and does no I/O. Messages are found by full names ("shop.Order"), fields by name or number.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace portolan::protobuf {

inline constexpr std::uint32_t kNone = 0xFFFFFFFF;
inline constexpr std::uint32_t kHighestNumber = (1U << 29U) - 1;

// The numbers are those of google.protobuf.FieldDescriptorProto.Type.
enum class FieldType : std::uint8_t {
  unknown = 0,
  float64 = 1,
  float32 = 2,
  int64 = 3,
  uint64 = 4,
  int32 = 5,
  fixed64 = 6,
  fixed32 = 7,
  boolean = 8,
  string = 9,
  group = 10,
  message = 11,
  bytes = 12,
  uint32 = 13,
  enumeration = 14,
  sfixed32 = 15,
  sfixed64 = 16,
  sint32 = 17,
  sint64 = 18,
};
// As .proto files write it: "double".
std::string_view name_of(FieldType type) noexcept;
// The type with this name; unknown: it is none, or that of a message or an enum.
FieldType scalar_type(std::string_view name) noexcept;
// Whether a list of them may be packed into one field.
bool is_packable(FieldType type) noexcept;

enum class Presence : std::uint8_t {
  implicit,  // proto3's: what has the default value is not sent
  optional,
  required,
  repeated,
  map,
};

struct Field {
  std::string_view name;
  std::uint32_t number = 0;
  std::uint32_t target = kNone;  // of a message, a map (its entry) or an enum: which of the schema's
  std::uint32_t oneof = kNone;
  FieldType type = FieldType::unknown;
  Presence presence = Presence::implicit;
  bool packed = false;
  bool utf8 = false;              // a string that has to be UTF-8, which proto2 does not ask
  bool declares_default = false;  // as proto2 may
  // What an absent field stands for: the bits of a double, else an integer; of a string or bytes the text.
  std::uint64_t default_number = 0;
  std::string_view default_text;
};

struct Message {
  std::string_view name;  // the full one
  std::uint32_t first_field = 0;
  std::uint32_t field_count = 0;
  bool is_map_entry = false;     // fields 1 and 2 are its key and its value
  bool requires_fields = false;  // it, or what it may hold
};

struct EnumValue {
  std::string_view name;
  std::int32_t number = 0;
};

struct Enum {
  std::string_view name;
  std::uint32_t first_value = 0;
  std::uint32_t value_count = 0;
};

struct Oneof {
  std::string_view name;
  std::uint32_t first_member = 0;
  std::uint32_t member_count = 0;
};

class Schema {
 public:
  std::span<const Message> messages() const noexcept { return messages_; }  // by name
  std::span<const Field> fields() const noexcept { return fields_; }
  std::span<const EnumValue> values() const noexcept { return values_; }

  const Message* find_message(std::string_view full_name) const noexcept;
  const Message& message_of(const Field& field) const noexcept { return messages_[field.target]; }
  std::span<const Field> fields(const Message& message) const noexcept {  // by number
    return fields_.subspan(message.first_field, message.field_count);
  }
  const Field* find_field(const Message& message, std::uint32_t number) const noexcept;
  const Field* find_field(const Message& message, std::string_view name) const noexcept;
  std::size_t index_of(const Field& field) const noexcept { return static_cast<std::size_t>(&field - fields_.data()); }
  std::string_view oneof_name(const Field& field) const noexcept { return oneofs_[field.oneof].name; }
  // Which of fields().
  std::span<const std::uint32_t> oneof_members(const Field& field) const noexcept {
    return members_.subspan(oneofs_[field.oneof].first_member, oneofs_[field.oneof].member_count);
  }

  const Enum& enum_of(const Field& field) const noexcept { return enums_[field.target]; }
  // Of aliases the one that is declared first.
  const EnumValue* find_value(const Enum& of, std::int32_t number) const noexcept;
  const EnumValue* find_value(const Enum& of, std::string_view name) const noexcept;
  std::span<const EnumValue> values(const Enum& of) const noexcept {  // by number
    return values_.subspan(of.first_value, of.value_count);
  }
  std::size_t index_of(const EnumValue& value) const noexcept {
    return static_cast<std::size_t>(&value - values_.data());
  }

 private:
  friend class Blueprint;

  std::span<const Message> messages_;
  std::span<const Field> fields_;
  std::span<const Enum> enums_;
  std::span<const EnumValue> values_;
  std::span<const Oneof> oneofs_;
  std::span<const std::uint32_t> members_;
  // The fields of each message, and the values of each enum, in the order of their names.
  std::span<const std::uint32_t> fields_by_name_;
  std::span<const std::uint32_t> values_by_name_;
};

}  // namespace portolan::protobuf
