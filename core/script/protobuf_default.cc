#include "script/protobuf_default.h"

#include "base/utf8.h"

#include <fmt/format.h>

#include <bit>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <limits>

namespace portolan::protobuf {
namespace {

std::string read_integer_default(std::string_view text, std::uint64_t most, bool is_signed, Field& field) {
  const bool negative = text.starts_with('-');
  const auto magnitude = read_integer(text.substr(negative ? 1 : 0));
  // One more is there below zero.
  const bool fits = magnitude && (negative ? is_signed && *magnitude <= most + 1 : *magnitude <= most);
  if (!fits) return fmt::format("an integer that fits {}", name_of(field.type));
  field.default_number = negative ? 0 - *magnitude : *magnitude;
  return {};
}

std::string read_float_default(std::string_view text, Field& field) {
  const bool negative = text.starts_with('-');
  const std::string digits(text.substr(negative ? 1 : 0));
  double value = 0;
  if (digits == "inf") {
    value = std::numeric_limits<double>::infinity();
  } else if (digits == "nan") {
    value = std::numeric_limits<double>::quiet_NaN();
  } else if (const auto integer = read_integer(digits)) {
    value = static_cast<double>(*integer);
  } else {
    char* end = nullptr;
    value = std::strtod(digits.c_str(), &end);
    const bool is_number = !digits.empty() && ((digits[0] >= '0' && digits[0] <= '9') || digits[0] == '.');
    if (!is_number || *end != '\0' || std::isinf(value))
      return fmt::format("a number that fits {}", name_of(field.type));
  }
  if (field.type == FieldType::float32) {
    if (std::isfinite(value) && value > std::numeric_limits<float>::max()) return "a number that fits float";
    value = static_cast<float>(value);
  }
  field.default_number = std::bit_cast<std::uint64_t>(negative ? -value : value);
  return {};
}

}  // namespace

std::optional<std::uint64_t> read_integer(std::string_view text) noexcept {
  int base = 10;
  if (text.size() > 2 && text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) {
    base = 16;
    text.remove_prefix(2);
  } else if (text.size() > 1 && text[0] == '0') {
    base = 8;
  }
  std::uint64_t value = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (problem != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::string read_scalar_default(const FieldDraft& draft, Field& field) {
  const std::string_view text = draft.default_text;
  const bool is_text = field.type == FieldType::string || field.type == FieldType::bytes;
  if (draft.default_literal != Literal::any && (draft.default_literal == Literal::text) != is_text)
    return is_text ? "a text in quotation marks"
                   : fmt::format("a value of {}, without quotation marks", name_of(field.type));
  switch (field.type) {
    case FieldType::string:
      if (!valid_utf8(text)) return "UTF-8";
      field.default_text = text;
      return {};
    case FieldType::bytes: field.default_text = text; return {};
    case FieldType::boolean:
      if (text != "true" && text != "false") return "true or false";
      field.default_number = text == "true" ? 1 : 0;
      return {};
    case FieldType::float64:
    case FieldType::float32: return read_float_default(text, field);
    case FieldType::int32:
    case FieldType::sint32:
    case FieldType::sfixed32: return read_integer_default(text, 0x7FFFFFFF, true, field);
    case FieldType::uint32:
    case FieldType::fixed32: return read_integer_default(text, 0xFFFFFFFF, false, field);
    case FieldType::int64:
    case FieldType::sint64:
    case FieldType::sfixed64: return read_integer_default(text, 0x7FFFFFFFFFFFFFFF, true, field);
    case FieldType::uint64:
    case FieldType::fixed64: return read_integer_default(text, 0xFFFFFFFFFFFFFFFF, false, field);
    default: return "none";
  }
}

}  // namespace portolan::protobuf
