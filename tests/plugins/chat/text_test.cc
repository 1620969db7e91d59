#include "plugins/chat/text.h"

#include <string>

#include "support/cmocka.h"

using namespace portolan::chat;

namespace {

void good_names(void**) {
  for (const char* name :
       {"a", "alice", "Ann Lee", "Zoë", "Ольга", "王小明", "a.b-c_d", "🙂", "32charactersxxxxxxxxxxxxxxxxxxxx"}) {
    if (!name_problem(name).empty()) print_error("%s\n", name);
    assert_true(name_problem(name).empty());
  }
  std::string wide;
  for (int count = 0; count < 32; ++count) wide += "王";
  assert_true(name_problem(wide).empty());
  assert_false(name_problem(wide + "王").empty());
}

void bad_names(void**) {
  using namespace std::string_view_literals;
  for (const std::string_view name : {""sv,
                                      " a"sv,
                                      "a "sv,
                                      "\xC2\xA0"
                                      "a"sv,
                                      "a\xE3\x80\x80"sv,
                                      "a\tb"sv,
                                      "a\0b"sv,
                                      "a\x7F"sv,
                                      "a\xC2\x85"sv,
                                      "/a"sv,
                                      "a\xE2\x80\x8B"
                                      "b"sv,
                                      "a\xE2\x80\xAE"
                                      "b"sv,
                                      "a\xE2\x80\xA8"sv,
                                      "a\xEF\xBB\xBF"sv,
                                      "a\xC3"sv,
                                      "a\xC0\x80"sv,
                                      "a\xED\xA0\x80"sv,
                                      "a\xF4\x90\x80\x80"sv,
                                      "a\xFF"sv,
                                      "a]b"sv,
                                      "[a"sv,
                                      "a\"b"sv,
                                      "System"sv,
                                      "bob@LAN"sv,
                                      "sYSTEM"sv,
                                      "33charactersxxxxxxxxxxxxxxxxxxxxx"sv,
                                      "a\xF3\xA0\x80\x81"sv}) {
    if (name_problem(name).empty()) print_error("%.*s\n", static_cast<int>(name.size()), name.data());
    assert_false(name_problem(name).empty());
  }
}

void names_are_compared_without_case_of_ascii(void**) {
  assert_true(fold("ALICE") == fold("alice"));
  assert_false(fold("ZOË") == fold("zoë"));
}

void texts_are_cleaned(void**) {
  const auto cleaned = [](std::string text) { return clean(text) ? text : "refused"; };
  assert_string_equal(cleaned("plain").c_str(), "plain");
  assert_string_equal(cleaned("Zoë 🙂").c_str(), "Zoë 🙂");
  assert_string_equal(cleaned("\x1B[31mred").c_str(), " [31mred");
  assert_string_equal(cleaned("a\tb\rc\nd\x7F").c_str(), "a b c d ");
  assert_string_equal(cleaned("a\xC2\x9B"
                              "b\xE2\x80\xAE"
                              "c\xE2\x80\xA9"
                              "d")
                          .c_str(),
                      "a b c d");
  // Joins what belongs together in some scripts, and in pictures.
  assert_string_equal(cleaned("a\xE2\x80\x8D"
                              "b")
                          .c_str(),
                      "a\xE2\x80\x8D"
                      "b");
  assert_string_equal(cleaned("a\xFF").c_str(), "refused");
  assert_string_equal(cleaned("cut \xE2\x80").c_str(), "refused");
}

void words_are_taken_one_by_one(void**) {
  std::string_view text = "  bob  hello  there ";
  assert_true(take_word(text) == "bob");
  assert_true(text == "hello  there ");
  text = "\"Ann Lee\" hello";
  assert_true(take_word(text) == "Ann Lee");
  assert_true(text == "hello");
  text = "\"open hello";
  assert_true(take_word(text) == "\"open");
  text = "";
  assert_true(take_word(text).empty());
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test(good_names),
      cmocka_unit_test(bad_names),
      cmocka_unit_test(names_are_compared_without_case_of_ascii),
      cmocka_unit_test(texts_are_cleaned),
      cmocka_unit_test(words_are_taken_one_by_one),
  };
  return cmocka_run_group_tests_name("plugins.chat.text", tests, nullptr, nullptr);
}
