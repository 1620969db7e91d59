#include "base/utf8.h"

#include <cstdio>
#include <string_view>

#include "support/cmocka.h"

using namespace portolan;
using namespace std::literals;

namespace {

void texts_are_told_from_other_bytes(void**) {
  for (const std::string_view text : {""sv, "a"sv, "\0"sv, "\x7f"sv, "\u00e9"sv, "\u20ac"sv, "\U0001f600"sv,
                                      "\xf4\x8f\xbf\xbf"sv, "\xed\x9f\xbf"sv, "\xee\x80\x80"sv}) {
    if (!valid_utf8(text)) fail_msg("refused: %.*s", static_cast<int>(text.size()), text.data());
  }
  int at = 0;
  for (const std::string_view text :
       {"\x80"sv, "\xc2"sv, "\xc0\x80"sv, "\xc1\xbf"sv, "\xe0\x9f\xbf"sv, "\xf0\x8f\xbf\xbf"sv, "\xed\xa0\x80"sv,
        "\xed\xbf\xbf"sv, "\xf4\x90\x80\x80"sv, "\xf5\x80\x80\x80"sv, "\xff"sv, "a\xe2\x82"sv, "\xe2\x82z"sv}) {
    if (valid_utf8(text)) fail_msg("taken: number %d", at);
    ++at;
  }
}

void code_points_are_read(void**) {
  const std::string_view text = "z\u00e9\u20ac\U0001f600\xff";
  std::size_t at = 0;
  assert_int_equal(next_code_point(text, at), 'z');
  assert_int_equal(next_code_point(text, at), 0xe9);
  assert_int_equal(next_code_point(text, at), 0x20ac);
  assert_int_equal(next_code_point(text, at), 0x1f600);
  assert_int_equal(at, 10);
  assert_true(next_code_point(text, at) == kInvalidCodePoint);
  assert_int_equal(at, 10);
}

void what_steers_a_terminal_is_not_shown(void**) {
  for (const char* shown : {"a", " ", "~", "\u00a0", "\u00e9", "\u20ac", "\U0001f600"})
    assert_int_equal(printable_size(shown), std::string_view(shown).size());
  for (const char* none : {"\x1b[31m", "\x7f", "\n", "\u0080", "\u009b31m",
                           "\x9b"
                           "31m",
                           "\xc3", "\xff", "\xed\xa0\x80"})
    assert_int_equal(printable_size(none), 0);
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {cmocka_unit_test(texts_are_told_from_other_bytes), cmocka_unit_test(code_points_are_read),
                              cmocka_unit_test(what_steers_a_terminal_is_not_shown)};
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
