#include "script/protobuf_schema.h"

#include <algorithm>
#include <array>

namespace portolan::protobuf {
namespace {

// In the order of FieldType.
constexpr std::array<std::string_view, 19> kTypeNames = {
    "",      "double",  "float", "int64",  "uint64", "int32",    "fixed64",  "fixed32", "bool",  "string",
    "group", "message", "bytes", "uint32", "enum",   "sfixed32", "sfixed64", "sint32",  "sint64"};

}  // namespace

std::string_view name_of(FieldType type) noexcept { return kTypeNames[static_cast<std::size_t>(type)]; }

FieldType scalar_type(std::string_view name) noexcept {
  for (std::size_t at = 1; at < kTypeNames.size(); ++at) {
    const auto type = static_cast<FieldType>(at);
    if (type == FieldType::group || type == FieldType::message || type == FieldType::enumeration) continue;
    if (kTypeNames[at] == name) return type;
  }
  return FieldType::unknown;
}

bool is_packable(FieldType type) noexcept {
  switch (type) {
    case FieldType::unknown:
    case FieldType::string:
    case FieldType::bytes:
    case FieldType::group:
    case FieldType::message: return false;
    default: return true;
  }
}

const Message* Schema::find_message(std::string_view full_name) const noexcept {
  const auto found = std::ranges::lower_bound(messages_, full_name, {}, &Message::name);
  return found != messages_.end() && found->name == full_name ? &*found : nullptr;
}

const Field* Schema::find_field(const Message& message, std::uint32_t number) const noexcept {
  const std::span<const Field> all = fields(message);
  // Most messages number their fields from 1 on.
  if (number - 1 < all.size() && all[number - 1].number == number) return &all[number - 1];
  const auto found = std::ranges::lower_bound(all, number, {}, &Field::number);
  return found != all.end() && found->number == number ? &*found : nullptr;
}

const Field* Schema::find_field(const Message& message, std::string_view name) const noexcept {
  const auto order = fields_by_name_.subspan(message.first_field, message.field_count);
  const auto name_at = [this](std::uint32_t index) { return fields_[index].name; };
  const auto found = std::ranges::lower_bound(order, name, {}, name_at);
  return found != order.end() && fields_[*found].name == name ? &fields_[*found] : nullptr;
}

const EnumValue* Schema::find_value(const Enum& of, std::int32_t number) const noexcept {
  const std::span<const EnumValue> all = values(of);
  const auto found = std::ranges::lower_bound(all, number, {}, &EnumValue::number);
  return found != all.end() && found->number == number ? &*found : nullptr;
}

const EnumValue* Schema::find_value(const Enum& of, std::string_view name) const noexcept {
  const auto order = values_by_name_.subspan(of.first_value, of.value_count);
  const auto name_at = [this](std::uint32_t index) { return values_[index].name; };
  const auto found = std::ranges::lower_bound(order, name, {}, name_at);
  return found != order.end() && values_[*found].name == name ? &values_[*found] : nullptr;
}

}  // namespace portolan::protobuf
