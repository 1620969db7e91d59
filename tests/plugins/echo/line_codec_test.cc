#include "plugins/echo/line_codec.h"

#include <cstring>
#include <string>

// Last: it defines macros with short names.
#include "support/cmocka.h"

namespace portolan::echo {
namespace {

std::span<const std::byte> bytes(std::string_view text) { return std::as_bytes(std::span(text.data(), text.size())); }

void assert_text(std::string_view actual, std::string_view expected) {
  assert_int_equal(actual.size(), expected.size());
  if (!expected.empty()) assert_memory_equal(actual.data(), expected.data(), expected.size());
}

void assert_line(std::string_view data, std::size_t max_line, std::string_view text, std::string_view ending) {
  const auto line = parse_line(bytes(data), max_line);
  assert_true(line.has_value());
  assert_true(line->has_value());
  assert_text((*line)->text, text);
  assert_text((*line)->ending, ending);
  assert_ptr_equal((*line)->text.data(), data.data());
}

void assert_unfinished(std::string_view data, std::size_t max_line) {
  const auto line = parse_line(bytes(data), max_line);
  assert_true(line.has_value());
  assert_false(line->has_value());
}

void assert_too_long(std::string_view data, std::size_t max_line) {
  assert_false(parse_line(bytes(data), max_line).has_value());
}

void takes_the_first_line_alone(void**) {
  assert_line("a\nb\n", 8, "a", "\n");
  assert_line("a\r\nb\r\n", 8, "a", "\r\n");
  assert_line("\n", 8, "", "\n");
  assert_line("\r\n", 8, "", "\r\n");
}

void keeps_a_return_that_ends_nothing(void**) {
  assert_line("a\rb\n", 8, "a\rb", "\n");
  assert_line("a\r\r\n", 8, "a\r", "\r\n");
}

void takes_any_other_byte_as_content(void**) {
  using namespace std::string_view_literals;
  assert_line("\0\xff\x80\t\n"sv, 8, "\0\xff\x80\t"sv, "\n");
}

void waits_for_an_ending(void**) {
  assert_unfinished("", 8);
  assert_unfinished("abc", 8);
  assert_unfinished("abc\r", 8);
}

void the_limit_counts_the_text_alone(void**) {
  assert_line("abc\n", 3, "abc", "\n");
  assert_line("abc\r\n", 3, "abc", "\r\n");
  assert_too_long("abcd\n", 3);
  assert_too_long("abcd\r\n", 3);
}

void an_unfinished_line_is_refused_when_it_is_certain(void**) {
  assert_unfinished("abc", 3);
  assert_unfinished("abc\r", 3);  // the ending may be on its way
  assert_too_long("abcd", 3);
  assert_too_long("abc\rd", 3);
  assert_too_long("abc\r\r", 3);
}

void searches_only_what_is_new(void**) {
  const auto line = parse_line(bytes("ab\n"), 8, 2);
  assert_true(line.has_value() && line->has_value());
  assert_text((*line)->text, "ab");
  // Proof that the first bytes are not looked at: told that they hold no "\n", it believes so.
  const auto skipped = parse_line(bytes("a\nb"), 8, 2);
  assert_true(skipped.has_value() && !skipped->has_value());
  const auto all_known = parse_line(bytes("ab"), 8, 2);
  assert_true(all_known.has_value() && !all_known->has_value());
}

void the_last_line_needs_no_ending(void**) {
  const auto bare = parse_last_line(bytes("abc"), 3);
  assert_true(bare.has_value());
  assert_text(bare->text, "abc");
  assert_text(bare->ending, "");
  const auto ended = parse_last_line(bytes("abc\r\n"), 3);
  assert_true(ended.has_value());
  assert_text(ended->text, "abc");
  assert_text(ended->ending, "\r\n");
  const auto several = parse_last_line(bytes("a\nb\n"), 3);
  assert_true(several.has_value());
  assert_text(several->text, "a\nb");
  assert_text(several->ending, "\n");
  const auto empty = parse_last_line({}, 3);
  assert_true(empty.has_value());
  assert_int_equal(empty->size(), 0);
  assert_false(parse_last_line(bytes("abcd"), 3).has_value());
  assert_false(parse_last_line(bytes("abc\r"), 3).has_value());
}

void upper_changes_ascii_letters_alone(void**) {
  for (unsigned value = 0; value < 256; ++value) {
    const char in = static_cast<char>(value);
    std::byte out{};
    copy_upper({&in, 1}, &out);
    const unsigned expected = value >= 'a' && value <= 'z' ? value - 'a' + 'A' : value;
    assert_int_equal(std::to_integer<unsigned>(out), expected);
  }
}

void upper_does_every_length(void**) {
  // Vector code has a head, a body and a tail.
  constexpr std::string_view kText = "the quick brown fox jumps over the lazy dog, twice: the quick brown fox {`az@}";
  constexpr std::string_view kUpper = "THE QUICK BROWN FOX JUMPS OVER THE LAZY DOG, TWICE: THE QUICK BROWN FOX {`AZ@}";
  std::byte out[kText.size()];
  for (std::size_t size = 0; size <= kText.size(); ++size) {
    copy_upper(kText.substr(0, size), out);
    if (size > 0) assert_memory_equal(out, kUpper.data(), size);
  }
}

// A line begins anywhere in a buffer; see frames_may_lie_at_any_address in ../binary.
void lines_may_lie_at_any_address(void**) {
  constexpr std::size_t kOffsets = 8;
  constexpr std::string_view kLine = "the quick brown fox jumps over\r\n";
  constexpr std::string_view kUpper = "THE QUICK BROWN FOX JUMPS OVER";
  alignas(16) char in[kOffsets + kLine.size()];
  alignas(16) std::byte out[kOffsets + kUpper.size()];
  for (std::size_t offset = 0; offset < kOffsets; ++offset) {
    std::memcpy(in + offset, kLine.data(), kLine.size());
    assert_line({in + offset, kLine.size()}, 64, kLine.substr(0, kUpper.size()), "\r\n");
    assert_true(parse_last_line(bytes({in + offset, kLine.size()}), 64).has_value());
    // Where it is read and where it is written to are aligned unlike.
    for (std::size_t to = 0; to < kOffsets; ++to) {
      copy_upper({in + offset, kUpper.size()}, out + to);
      assert_memory_equal(out + to, kUpper.data(), kUpper.size());
    }
  }
}

}  // namespace
}  // namespace portolan::echo

int main() {
  using namespace portolan::echo;
  const CMUnitTest tests[] = {
      cmocka_unit_test(takes_the_first_line_alone),
      cmocka_unit_test(keeps_a_return_that_ends_nothing),
      cmocka_unit_test(takes_any_other_byte_as_content),
      cmocka_unit_test(waits_for_an_ending),
      cmocka_unit_test(the_limit_counts_the_text_alone),
      cmocka_unit_test(an_unfinished_line_is_refused_when_it_is_certain),
      cmocka_unit_test(searches_only_what_is_new),
      cmocka_unit_test(the_last_line_needs_no_ending),
      cmocka_unit_test(upper_changes_ascii_letters_alone),
      cmocka_unit_test(upper_does_every_length),
      cmocka_unit_test(lines_may_lie_at_any_address),
  };
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
