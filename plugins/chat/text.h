// What people write: which names they may have, and what is done to a text before others see it.
//
// Pure functions over bytes, any thread. Refused is what is not UTF-8 (RFC 3629: no surrogates, nothing longer than it
// needs to be), and in names whatever cannot be seen or could pass for something else: controls, white space around it,
// characters without a width, those that turn the direction of writing.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace portolan::chat {

// Characters (code points) of a name of a person or a room.
inline constexpr std::size_t kMaxName = 32;
// In whose name the service speaks: nobody else may.
inline constexpr std::string_view kSystem = "System";

// Why a name cannot be had, as the end of a sentence ("is longer than 32 characters"); empty: it can.
std::string_view name_problem(std::string_view name) noexcept;
// Names that are the same but for ASCII's capitals are the same name.
std::string fold(std::string_view name);

// Puts a space in the place of each control character and of what turns the direction of writing or ends a line, which
// would let a text command the terminals of its readers, or look like several. False: it is not UTF-8, and is not
// changed.
bool clean(std::string& text);

// The next word, without its quotation marks when it has them; `text` becomes what follows, without leading spaces.
std::string_view take_word(std::string_view& text) noexcept;

}  // namespace portolan::chat
