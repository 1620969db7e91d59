// UTF-8 (RFC 3629): no surrogates, nothing longer than it needs to be. Pure functions over bytes, any thread.
#pragma once

#include <cstddef>
#include <string_view>

namespace portolan {

inline constexpr char32_t kInvalidCodePoint = 0xFFFFFFFF;

// The code point at `at`, which moves behind it; kInvalidCodePoint: it is none.
char32_t next_code_point(std::string_view text, std::size_t& at) noexcept;
bool valid_utf8(std::string_view text) noexcept;
// Bytes of the character that `text` begins with, if it may be shown on a terminal; 0: it is a control character (of U+0080 to
// U+009F, too, which terminals take for the beginnings of commands as they do ESC), or none. Not for an empty text.
std::size_t printable_size(std::string_view text) noexcept;

}  // namespace portolan
