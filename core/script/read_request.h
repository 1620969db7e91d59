// What a script asks of a stream's input: a line, so many bytes, a frame. Pure: bytes go in, the part that was asked for
// comes out once it is whole.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace portolan {

struct ReadRequest {
  enum class Kind : std::uint8_t {
    some,     // what there is, at least one byte and at most `size`
    exactly,  // `size` bytes
    line,     // up to "\n", which like a "\r" before it is not part of the answer; at most `size` bytes before it
    until,    // up to `delimiter`, likewise
    frame,    // a length of `header` bytes, then so many, at most `size`
  };
  Kind kind = Kind::some;
  std::size_t size = 0;
  std::string delimiter = {};
  unsigned header = 4;  // 1, 2, 4
  bool little_endian = false;
  std::size_t scanned = 0;  // bytes in which there is no end: not looked through again

  struct Answer {
    enum class State : std::uint8_t { incomplete, complete, too_long };
    State state = State::incomplete;
    std::string_view value = {};  // a view of the data
    std::size_t used = 0;         // bytes of the data that are done with
  };
  // `data` is all that has come and was not used: more each time, from the same beginning.
  Answer look(std::string_view data) noexcept;
};

}  // namespace portolan
