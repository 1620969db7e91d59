// The lines of the chat protocol: where one ends, what is in a client's JSON, and how messages are written.
//
// Pure functions: no I/O, no clock, any thread. A line ends in "\n" or "\r\n". A line over `max_line` bytes is not kept: it
// is dropped as it comes, and the session goes on behind its end.
#pragma once

#include "plugins/chat/message.h"

#include <fmt/format.h>

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace portolan::chat {

struct NextLine {
  enum class Kind : std::uint8_t {
    incomplete,  // its end has not come; `used` may be more than 0 all the same
    line,
    too_long,  // told once for each such line, as soon as it is certain
  };
  Kind kind = Kind::incomplete;
  std::string_view text = {};  // without its end
  std::size_t used = 0;        // bytes that are done with
};

// What `data` begins with. `skipping` is the caller's to keep: inside a line that is too long.
NextLine next_line(std::span<const std::byte> data, std::size_t max_line, bool& skipping) noexcept;
// What the peer left without an end.
std::string_view last_line(std::span<const std::byte> rest, bool skipping) noexcept;

// The texts in an object, of which `content` has to be there. Other members are read and forgotten. The error is the end of a sentence. Throws std::bad_alloc.
struct ClientObject {
  std::string content;
  // Of a datagram, where there is nobody who knows better; empty without.
  std::string from = {};
  std::string via = {};
  std::string_view problem = {};  // empty: it is good
};
ClientObject parse_object(std::string_view line);

struct Words {
  enum class Kind : std::uint8_t { said, action, direct, notice };
  Kind kind = Kind::said;
  std::string_view from = {};  // of a notice: nobody
  std::string_view content = {};
  std::string_view time = {};  // HH:MM:SS
};

// Appends the line, its "\n" included:
//   said    [name] text       {"from":"name","content":"text","time":"12:34:56"}
//   action  * name text       the same with "action":true
//   direct  [name to you] text       "private":true
//   notice  * text            "from":"System"
void encode(const Words& words, Format format, fmt::memory_buffer& out);
// A string of JSON with its quotation marks; `text` is UTF-8.
void encode_string(std::string_view text, fmt::memory_buffer& out);
// Both formats in one message.
MessageRef make_message(std::uint64_t sender, const Words& words);

}  // namespace portolan::chat
