#include "base/utf8.h"

namespace portolan {

char32_t next_code_point(std::string_view text, std::size_t& at) noexcept {
  const auto byte = [&](std::size_t index) { return static_cast<unsigned char>(text[index]); };
  const unsigned char first = byte(at);
  if (first < 0x80) {
    ++at;
    return first;
  }
  const std::size_t size = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4 || text.size() - at < size) return kInvalidCodePoint;
  char32_t code = first & (0xFFU >> (size + 1));
  for (std::size_t index = 1; index < size; ++index) {
    if ((byte(at + index) & 0xC0U) != 0x80) return kInvalidCodePoint;
    code = code << 6U | (byte(at + index) & 0x3FU);
  }
  const bool too_long = (size == 3 && code < 0x800) || (size == 4 && code < 0x10000);
  if (too_long || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) return kInvalidCodePoint;
  at += size;
  return code;
}

std::size_t printable_size(std::string_view text) noexcept {
  std::size_t size = 0;
  const char32_t point = next_code_point(text, size);
  const bool control = point < 0x20 || (point >= 0x7f && point < 0xa0);
  return point == kInvalidCodePoint || control ? 0 : size;
}

bool valid_utf8(std::string_view text) noexcept {
  for (std::size_t at = 0; at < text.size();)
    if (next_code_point(text, at) == kInvalidCodePoint) return false;
  return true;
}

}  // namespace portolan
