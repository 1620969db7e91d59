// Standard error is led to a pipe (or a file) for the time of a test, so that what was written can be read.
#include "base/log.h"

#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include <cstdio>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "support/cmocka.h"

using namespace portolan;

namespace {

int kept_stderr = -1;
int captured = -1;

int begin_capture(void**) {
  FILE* file = std::tmpfile();  // never full, unlike a pipe
  if (!file) return -1;
  captured = ::dup(::fileno(file));
  std::fclose(file);
  ::fcntl(captured, F_SETFL, O_APPEND);
  kept_stderr = ::dup(2);
  ::dup2(captured, 2);
  log::set_level(LogLevel::info);
  log::set_format(log::Format::automatic);
  return 0;
}

int end_capture(void**) {
  log::flush_repeats();
  ::dup2(kept_stderr, 2);
  ::close(kept_stderr);
  ::close(captured);
  return 0;
}

std::vector<std::string> taken() {
  std::string text;
  char block[65536];
  off_t at = 0;
  for (ssize_t count; (count = ::pread(captured, block, sizeof block, at)) > 0; at += count) {
    text.append(block, static_cast<std::size_t>(count));
  }
  if (::ftruncate(captured, 0) != 0) fail();
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

void json_lines_are_json(void**) {
  log::print(LogLevel::info, {.service = "echo", .session = 123}, "hello \"{}\"\n\\", "you");
  log::warning("nothing else");
  const auto lines = taken();
  assert_int_equal(lines.size(), 2);
  const auto first = nlohmann::json::parse(lines[0]);
  assert_string_equal(first.at("level").get<std::string>().c_str(), "info");
  assert_string_equal(first.at("service").get<std::string>().c_str(), "echo");
  assert_string_equal(first.at("session").get<std::string>().c_str(), "123");
  assert_string_equal(first.at("message").get<std::string>().c_str(), "hello \"you\"\n\\");
  const std::string time = first.at("time");
  assert_int_equal(time.size(), 24);
  assert_true(time[10] == 'T' && time[19] == '.' && time[23] == 'Z');
  const auto second = nlohmann::json::parse(lines[1]);
  assert_false(second.contains("service") || second.contains("session"));
}

void text_lines_are_for_people(void**) {
  log::set_format(log::Format::text);
  log::print(LogLevel::info, {.service = "echo", .session = 7}, "a line for people");
  log::error("another for people");
  const auto lines = taken();
  assert_int_equal(lines.size(), 2);
  assert_true(lines[0].substr(12) == " info    echo: a line for people (session 7)");
  assert_true(lines[0][2] == ':' && lines[0][8] == '.');
  assert_true(lines[1].substr(12) == " error   another for people");
}

// What a stranger sends must not end a line, move the cursor, or break a reader of JSON.
void nothing_hostile_gets_through(void**) {
  struct {
    std::string text;
    const char* as_text;
  } const cases[] = {
      {"end\n00:00:00.000 error forged", "end\\n00:00:00.000 error forged"},
      {"esc\x1b[31m", "esc\\x1b[31m"},
      {std::string("nul\0x", 5), "nul\\x00x"},
      {"del\x7f", "del\\x7f"},
      {"csi\xc2\x9b"
       "2J",
       "csi\\xc2\\x9b2J"},
      {"bidi\xe2\x80\xae", "bidi\\xe2\\x80\\xae"},
      {"bad\xff\xc3(", "bad\\xff\\xc3("},
      {"overlong\xc0\xaf", "overlong\\xc0\\xaf"},
      {"surrogate\xed\xa0\x80", "surrogate\\xed\\xa0\\x80"},
      {"cut\xe2\x82", "cut\\xe2\\x82"},
      {"good \xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", "good \xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"},
  };
  for (const auto& test : cases) {
    log::set_format(log::Format::text);
    log::write(LogLevel::info, {}, test.text);
    auto lines = taken();
    assert_int_equal(lines.size(), 1);
    assert_string_equal(lines[0].c_str() + 21, test.as_text);
    log::set_format(log::Format::json);
    log::write(LogLevel::info, {.service = test.text}, test.text);
    lines = taken();
    assert_int_equal(lines.size(), 1);
    const auto value = nlohmann::json::parse(lines[0], nullptr, false);
    assert_false(value.is_discarded());
    assert_true(value.contains("service"));
  }
}

void levels_are_kept_to(void**) {
  log::set_level(LogLevel::warning);
  assert_false(log::enabled(LogLevel::info));
  log::info("quiet please");
  log::warning("loud please");
  assert_int_equal(taken().size(), 1);
  log::set_level(LogLevel::debug);
  log::debug("now the details");
  assert_int_equal(taken().size(), 1);
}

void repetition_is_held_back_and_counted(void**) {
  log::set_format(log::Format::text);
  for (int i = 0; i < 500; ++i) log::print(LogLevel::info, {.service = "flood"}, "refused client {}", i);
  log::print(LogLevel::info, {.service = "other"}, "refused client {}", 1);  // another service: another kind
  auto lines = taken();
  assert_in_range(lines.size(), 2, 50);
  const std::size_t written = lines.size() - 1;
  log::flush_repeats();
  lines = taken();
  assert_int_equal(lines.size(), 1);
  const std::string wanted = std::to_string(500 - written) + " more like: refused client 0";
  assert_true(lines[0].find(wanted) != std::string::npos);
  assert_true(lines[0].find("flood: ") != std::string::npos);
  log::flush_repeats();
  assert_int_equal(taken().size(), 0);
  // Still the same window.
  log::print(LogLevel::info, {.service = "flood"}, "refused client {}", 1000);
  assert_int_equal(taken().size(), 0);
}

void long_messages_are_cut_and_say_so(void**) {
  log::set_format(log::Format::text);
  log::write(LogLevel::info, {}, std::string(100'000, 'x'));
  const auto lines = taken();
  assert_int_equal(lines.size(), 1);
  assert_in_range(lines[0].size(), 1000, 20'000);
  assert_true(lines[0].find("bytes more") != std::string::npos);
}

void what_cannot_be_written_is_counted(void**) {
  log::set_format(log::Format::text);
  const int full = ::open("/dev/full", O_WRONLY);
  if (full < 0) skip();
  ::dup2(full, 2);
  ::close(full);
  errno = 4711;
  log::info("lost for ever");
  assert_int_equal(errno, 4711);
  ::dup2(captured, 2);
  log::info("back again");
  const auto lines = taken();
  assert_int_equal(lines.size(), 2);
  assert_true(lines[1].find("1 log lines could not be written") != std::string::npos);
}

void threads_do_not_tear_lines(void**) {
  log::set_format(log::Format::json);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([t] {
      // Letters tell the kinds apart: a digit ends what is compared.
      for (int i = 0; i < 200; ++i)
        log::print(LogLevel::info, {}, "thread {} {}", char('a' + t), std::string(i % 26 + 1, 'z'));
      log::flush_repeats();
    });
  }
  for (auto& thread : threads) thread.join();
  const auto lines = taken();
  assert_true(lines.size() > 100);
  for (const auto& line : lines) assert_false(nlohmann::json::parse(line, nullptr, false).is_discarded());
}

}  // namespace

int main() {
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin_capture, end_capture)
  const CMUnitTest tests[] = {
      TEST(json_lines_are_json),
      TEST(text_lines_are_for_people),
      TEST(nothing_hostile_gets_through),
      TEST(levels_are_kept_to),
      TEST(repetition_is_held_back_and_counted),
      TEST(long_messages_are_cut_and_say_so),
      TEST(what_cannot_be_written_is_counted),
      TEST(threads_do_not_tear_lines),
  };
  return cmocka_run_group_tests_name("core.base.log", tests, nullptr, nullptr);
}
