#include "plugins/chat/text.h"

#include "base/utf8.h"
#include "plugins/chat/bridge.h"

#include <algorithm>
#include <cstdint>

namespace portolan::chat {
namespace {

bool is_between(char32_t code, char32_t first, char32_t last) noexcept { return code >= first && code <= last; }

bool is_control(char32_t code) noexcept {
  return code < 0x20 || is_between(code, 0x7F, 0x9F) || code == 0x2028 || code == 0x2029;
}

// Embeddings, overrides and isolates.
bool turns_direction(char32_t code) noexcept {
  return is_between(code, 0x202A, 0x202E) || is_between(code, 0x2066, 0x2069);
}

bool is_invisible(char32_t code) noexcept {
  return code == 0xAD || code == 0x34F || code == 0x61C || code == 0x115F || code == 0x1160 || code == 0x180E ||
         is_between(code, 0x200B, 0x200F) || is_between(code, 0x2060, 0x206F) || code == 0x3164 || code == 0xFEFF ||
         code == 0xFFA0 || is_between(code, 0xFFF9, 0xFFFB) || is_between(code, 0xE0000, 0xE0FFF);
}

bool is_space(char32_t code) noexcept {
  return code == 0x20 || code == 0xA0 || code == 0x1680 || is_between(code, 0x2000, 0x200A) || code == 0x202F ||
         code == 0x205F || code == 0x3000;
}

bool is_plain(std::string_view text) noexcept {
  return std::ranges::all_of(text, [](char character) { return character >= 0x20 && character < 0x7F; });
}

}  // namespace

std::string_view name_problem(std::string_view name) noexcept {
  if (name.empty()) return "is empty";
  std::size_t characters = 0;
  char32_t first = 0;
  char32_t last = 0;
  for (std::size_t at = 0; at < name.size(); ++characters) {
    last = next_code_point(name, at);
    if (last == kInvalidCodePoint) return "is not UTF-8";
    if (characters == 0) first = last;
    if (is_control(last)) return "has a control character";
    if (turns_direction(last) || is_invisible(last)) return "has a character that cannot be seen";
    // They stand around names.
    if (last == '[' || last == ']' || last == '"') return "has one of [ ] \"";
  }
  if (characters > kMaxName) return "is longer than 32 characters";
  if (is_space(first) || is_space(last)) return "begins or ends with a space";
  if (first == '/') return "begins with /";
  if (fold(name) == fold(kSystem)) return "is the service's own";
  if (fold(name).ends_with(kLanSuffix)) return "ends with @lan, as those do who are not here";
  return {};
}

std::string fold(std::string_view name) {
  std::string folded(name);
  for (char& character : folded)
    if (character >= 'A' && character <= 'Z') character = static_cast<char>(character - 'A' + 'a');
  return folded;
}

bool clean(std::string& text) {
  if (is_plain(text)) return true;
  if (!valid_utf8(text)) return false;
  std::size_t to = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t from = at;
    const char32_t code = next_code_point(text, at);
    if (is_control(code) || turns_direction(code)) {
      text[to++] = ' ';
      continue;
    }
    for (std::size_t index = from; index < at; ++index) text[to++] = text[index];
  }
  text.resize(to);
  return true;
}

std::string_view take_word(std::string_view& text) noexcept {
  const auto skip_spaces = [&] { text.remove_prefix(std::min(text.find_first_not_of(' '), text.size())); };
  skip_spaces();
  std::string_view word;
  if (text.starts_with('"') && text.find('"', 1) != std::string_view::npos) {
    const std::size_t end = text.find('"', 1);
    word = text.substr(1, end - 1);
    text.remove_prefix(end + 1);
  } else {
    const std::size_t end = std::min(text.find(' '), text.size());
    word = text.substr(0, end);
    text.remove_prefix(end);
  }
  skip_spaces();
  return word;
}

}  // namespace portolan::chat
