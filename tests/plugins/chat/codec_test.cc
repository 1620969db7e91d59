#include "plugins/chat/codec.h"

#include <nlohmann/json.hpp>

#include <string>
#include <vector>

#include "support/cmocka.h"

using namespace portolan::chat;

namespace {

// All lines of the input, "!" for one that was too long, when it comes in pieces of this size.
std::vector<std::string> lines(std::string_view input, std::size_t piece, std::size_t max_line) {
  std::vector<std::string> found;
  std::string kept;
  bool skipping = false;
  while (!input.empty()) {
    kept += input.substr(0, piece);
    input.remove_prefix(std::min(piece, input.size()));
    for (;;) {
      const NextLine next = next_line(std::as_bytes(std::span(kept)), max_line, skipping);
      if (next.kind == NextLine::Kind::line) found.emplace_back(next.text);
      if (next.kind == NextLine::Kind::too_long) found.emplace_back("!");
      if (next.used == 0) break;
      kept.erase(0, next.used);
    }
    assert_true(kept.size() <= max_line + 1);
  }
  if (const auto last = last_line(std::as_bytes(std::span(kept)), skipping); !last.empty()) found.emplace_back(last);
  return found;
}

void lines_are_the_same_however_they_are_cut(void**) {
  const std::string input = "one\r\ntwo\n\n" + std::string(17, 'x') + "\nthree\n" + std::string(16, 'y') + "\r\n" +
                            std::string(500, 'z') + "\r\nlast";
  const std::vector<std::string> expected = {"one", "two", "", "!", "three", std::string(16, 'y'), "!", "last"};
  for (std::size_t piece = 1; piece < 40; ++piece) assert_true(lines(input, piece, 16) == expected);
  assert_true(lines(input, input.size(), 16) == expected);
}

void objects_are_read(void**) {
  assert_string_equal(parse_object(R"({"content":"hello"})").content.c_str(), "hello");
  const ClientObject full =
      parse_object(R"({"from":"eve","time":1,"x":[{"content":"no"},null,true,1.5],"content":"é\n\u00e9"})");
  assert_true(full.problem.empty());
  assert_string_equal(full.content.c_str(), "é\né");
  for (const char* bad : {"", "x", "\"text\"", "[]", "1", "{", "{}", "{\"content\":1}", "{\"content\":{\"a\":1}}",
                          "{\"content\":\"a\"} x", "{\"content\":\"\xFF\"}", "{\"content\":\"\\ud800\"}",
                          "{\"content\":null}", "[{\"content\":\"a\"}]", "{\"content\":\"a\",}"}) {
    if (parse_object(bad).problem.empty()) print_error("%s\n", bad);
    assert_false(parse_object(bad).problem.empty());
  }
  const std::string deep = "{\"content\":\"a\",\"x\":" + std::string(10'000, '[') + std::string(10'000, ']') + "}";
  assert_true(parse_object(deep).problem == "is nested too deep");
}

std::string encoded(const Words& words, Format format) {
  fmt::memory_buffer out;
  encode(words, format, out);
  return fmt::to_string(out);
}

void messages_are_written(void**) {
  using Kind = Words::Kind;
  Words words{.from = "bob", .content = "a \"b\" \\ é", .time = "12:34:56"};
  assert_string_equal(encoded(words, Format::text).c_str(), "[bob] a \"b\" \\ é\n");
  assert_string_equal(encoded(words, Format::json).c_str(),
                      "{\"from\":\"bob\",\"content\":\"a \\\"b\\\" \\\\ é\",\"time\":\"12:34:56\"}\n");
  words.kind = Kind::action;
  assert_string_equal(encoded(words, Format::text).c_str(), "* bob a \"b\" \\ é\n");
  words.kind = Kind::direct;
  assert_string_equal(encoded(words, Format::text).c_str(), "[bob to you] a \"b\" \\ é\n");
  const auto object = nlohmann::json::parse(encoded(words, Format::json));
  assert_true(object["private"] == true && object["content"] == words.content);
  words.kind = Kind::notice;
  assert_true(nlohmann::json::parse(encoded(words, Format::json))["from"] == "System");
}

void every_byte_of_a_string_comes_back(void**) {
  std::string text;
  for (int byte = 0; byte < 128; ++byte) text += static_cast<char>(byte);
  fmt::memory_buffer out;
  encode_string(text, out);
  assert_true(nlohmann::json::parse(out.begin(), out.end()) == text);
}

void a_message_is_made_once_and_shared(void**) {
  MessageRef held;
  {
    const MessageRef made = make_message(7, {.from = "bob", .content = "hi", .time = "12:34:56"});
    held = made;
  }
  assert_int_equal(held->sender(), 7);
  assert_true(held->line(Format::text) == "[bob] hi\n");
  assert_true(held->line(Format::json) == "{\"from\":\"bob\",\"content\":\"hi\",\"time\":\"12:34:56\"}\n");
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test(lines_are_the_same_however_they_are_cut),
      cmocka_unit_test(objects_are_read),
      cmocka_unit_test(messages_are_written),
      cmocka_unit_test(every_byte_of_a_string_comes_back),
      cmocka_unit_test(a_message_is_made_once_and_shared),
  };
  return cmocka_run_group_tests_name("plugins.chat.codec", tests, nullptr, nullptr);
}
