#include "plugins/echo/line_codec.h"

#include <cstring>

namespace portolan::echo {
namespace {

std::string_view as_text(std::span<const std::byte> data) noexcept {
  return {reinterpret_cast<const char*>(data.data()), data.size()};
}

// `bytes` ends in "\n".
Line split_ending(std::string_view bytes) noexcept {
  const bool has_return = bytes.size() >= 2 && bytes[bytes.size() - 2] == '\r';
  const std::size_t text = bytes.size() - (has_return ? 2 : 1);
  return {.text = bytes.substr(0, text), .ending = bytes.substr(text)};
}

}  // namespace

std::expected<std::optional<Line>, LineError> parse_line(std::span<const std::byte> data, std::size_t max_line,
                                                         std::size_t searched) noexcept {
  if (searched < data.size()) {
    const void* end = std::memchr(data.data() + searched, '\n', data.size() - searched);
    if (end) {
      const auto size = static_cast<std::size_t>(static_cast<const std::byte*>(end) - data.data()) + 1;
      const Line line = split_ending(as_text(data.first(size)));
      if (line.text.size() > max_line) return std::unexpected(LineError::too_long);
      return line;
    }
  }
  // A "\r" at the very end may turn out to belong to the ending: refusing it now would make the answer depend on
  // how the network cut the line.
  std::size_t text = data.size();
  if (text > 0 && data.back() == std::byte{'\r'}) --text;
  if (text > max_line) return std::unexpected(LineError::too_long);
  return std::nullopt;
}

std::expected<Line, LineError> parse_last_line(std::span<const std::byte> data, std::size_t max_line) noexcept {
  const std::string_view bytes = as_text(data);
  const Line line =
      bytes.ends_with('\n') ? split_ending(bytes) : Line{.text = bytes, .ending = bytes.substr(bytes.size())};
  if (line.text.size() > max_line) return std::unexpected(LineError::too_long);
  return line;
}

void copy_upper(std::string_view text, std::byte* out) noexcept {
  // No branch and no table: compilers make vector code of it.
  for (const char character : text) {
    const auto byte = static_cast<unsigned char>(character);
    const bool lower = static_cast<unsigned char>(byte - 'a') < 26;
    *out++ = static_cast<std::byte>(byte ^ (lower ? 0x20U : 0U));
  }
}

}  // namespace portolan::echo
