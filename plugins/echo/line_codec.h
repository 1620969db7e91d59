// Lines: what ends one, how long one may be, and the transforms that need no script.
//
// Pure functions over bytes: no I/O, no memory of their own, any thread. A line ends in "\n" or "\r\n"; a "\r"
// anywhere else is content, and so is a zero byte. What is refused is a line whose text, without its ending, is
// longer than `max_line`: as soon as that is certain, not when its ending comes.
#pragma once

#include <cstddef>
#include <expected>
#include <optional>
#include <span>
#include <string_view>

namespace portolan::echo {

// The longest ending. With it and one byte more than the text may have, a line that has not ended is too long.
inline constexpr std::size_t kMaxEnding = 2;

struct Line {
  std::string_view text;    // without its ending; 0..max_line bytes
  std::string_view ending;  // "\n", "\r\n", or "" for what the peer left unfinished; directly behind text

  std::size_t size() const noexcept { return text.size() + ending.size(); }
  std::string_view whole() const noexcept { return {text.data(), size()}; }
};

enum class LineError { too_long };

// The line that `data` begins with, or nothing when its end has not come yet. The caller may know from an earlier
// call with the same beginning that the first `searched` bytes hold no "\n" (0..data.size()).
std::expected<std::optional<Line>, LineError> parse_line(std::span<const std::byte> data, std::size_t max_line,
                                                         std::size_t searched = 0) noexcept;

// What is left when nothing follows, or a whole datagram: one line, its ending optional; other line ends in it are
// content.
std::expected<Line, LineError> parse_last_line(std::span<const std::byte> data, std::size_t max_line) noexcept;

// Copies `text` to `out` (room for text.size() bytes, not overlapping), a..z as A..Z and every other byte as it is:
// ASCII alone, so UTF-8 stays whole.
void copy_upper(std::string_view text, std::byte* out) noexcept;

}  // namespace portolan::echo
