// What a script asks of its input, from bytes that come in pieces.
#include "script/read_request.h"

#include <string>

#include "support/cmocka.h"

using namespace portolan;
using State = ReadRequest::Answer::State;
using Kind = ReadRequest::Kind;

namespace {

// Gives the text byte by byte; the answer, with how many bytes it took to find it.
std::string piecewise(ReadRequest request, const std::string& text) {
  for (std::size_t size = 0; size <= text.size(); ++size) {
    const auto answer = request.look(std::string_view(text).substr(0, size));
    if (answer.state == State::too_long) return "too long after " + std::to_string(size);
    if (answer.state == State::complete)
      return std::string(answer.value) + "/" + std::to_string(answer.used) + "/" + std::to_string(size);
  }
  return "incomplete";
}

void lines(void**) {
  assert_string_equal(piecewise({.kind = Kind::line, .size = 10}, "abc\ndef").c_str(), "abc/4/4");
  assert_string_equal(piecewise({.kind = Kind::line, .size = 10}, "abc\r\n").c_str(), "abc/5/5");
  assert_string_equal(piecewise({.kind = Kind::line, .size = 10}, "\n").c_str(), "/1/1");
  assert_string_equal(piecewise({.kind = Kind::line, .size = 3}, "abc\r\n").c_str(), "abc/5/5");
  assert_string_equal(piecewise({.kind = Kind::line, .size = 3}, "abcd\n").c_str(), "too long after 5");
  assert_string_equal(piecewise({.kind = Kind::line, .size = 3}, "abcdefgh").c_str(), "too long after 5");
  assert_string_equal(piecewise({.kind = Kind::line, .size = 10}, "abc").c_str(), "incomplete");
}

void up_to_a_delimiter(void**) {
  assert_string_equal(piecewise({.kind = Kind::until, .size = 20, .delimiter = "\r\n\r\n"}, "a\r\nb\r\n\r\nc").c_str(),
                      "a\r\nb/8/8");
  assert_string_equal(piecewise({.kind = Kind::until, .size = 20, .delimiter = "aab"}, "aaaab").c_str(), "aa/5/5");
  assert_string_equal(piecewise({.kind = Kind::until, .size = 2, .delimiter = "--"}, "abc--").c_str(),
                      "too long after 4");
}

void counts_and_frames(void**) {
  assert_string_equal(piecewise({.kind = Kind::exactly, .size = 3}, "abcd").c_str(), "abc/3/3");
  assert_string_equal(piecewise({.kind = Kind::some, .size = 3}, "abcd").c_str(), "a/1/1");
  const std::string frame("\0\0\0\3abcd", 8);
  assert_string_equal(piecewise({.kind = Kind::frame, .size = 10}, frame).c_str(), "abc/7/7");
  const std::string little("\3\0abcd", 6);
  assert_string_equal(piecewise({.kind = Kind::frame, .size = 10, .header = 2, .little_endian = true}, little).c_str(),
                      "abc/5/5");
  assert_string_equal(piecewise({.kind = Kind::frame, .size = 10}, std::string("\xff\0\0\0", 4)).c_str(),
                      "too long after 4");
  assert_string_equal(piecewise({.kind = Kind::frame, .size = 10, .header = 1}, std::string("\0", 1)).c_str(), "/1/1");
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {cmocka_unit_test(lines), cmocka_unit_test(up_to_a_delimiter),
                              cmocka_unit_test(counts_and_frames)};
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
