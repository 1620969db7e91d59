// UTF-8 (RFC 3629): no surrogates, nothing longer than it needs to be. Pure functions over bytes, any thread.
#pragma once

#include <cstddef>
#include <string_view>

namespace portolan {

inline constexpr char32_t kInvalidCodePoint = 0xFFFFFFFF;

// The code point at `at`, which moves behind it; kInvalidCodePoint: it is none.
char32_t next_code_point(std::string_view text, std::size_t& at) noexcept;
bool valid_utf8(std::string_view text) noexcept;

}  // namespace portolan
