// `portolan stats`: what it prints, and how it ends.
#include "cli/stats_command.h"

#include <nlohmann/json.hpp>

#include <cstdio>
#include <sstream>

#include <fcntl.h>
#include <unistd.h>

#include "store_fixture.h"  // last: cmocka has a macro named fail

using namespace portolan;
using namespace portolan::testing;

namespace {

struct Printed {
  int code;
  std::string output;
  std::string errors;
};

Printed run(const StoreFixture& f, StatsCommandOptions options) {
  if (options.path.empty()) options.path = f.path;
  const std::string names[] = {f.folder.file("stdout"), f.folder.file("stderr")};
  std::fflush(nullptr);
  int saved[2];
  for (int i = 0; i < 2; ++i) {
    saved[i] = ::dup(i + 1);
    const int file = ::open(names[i].c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0600);
    ::dup2(file, i + 1);
    ::close(file);
  }
  const int code = stats_command(options);
  std::fflush(nullptr);
  for (int i = 0; i < 2; ++i) {
    ::dup2(saved[i], i + 1);
    ::close(saved[i]);
  }
  return {code, read_whole_file(names[0]), read_whole_file(names[1])};
}

void fill(StoreFixture& f) {
  assert_string_equal(f.open().c_str(), "");
  WorkerStats& web = f.service();
  web[CoreCounter::sessions].add(3);
  web[CoreCounter::messages].add(12345);
  web[CoreCounter::bytes_in].add(3 << 20);
  web.refuse(Refusal::max_sessions);
  web.refuse(Refusal::max_sessions);
  web.plugin[0].add(5);
  for (int i = 0; i < 99; ++i) web.latency.record(20'000);
  web.latency.record(90'000'000);
  web.message_size.record(64);
  f.service("quiet")[CoreCounter::sessions].add(1);
  assert_string_equal(f.flush().c_str(), "");
}

void a_plain_table_for_pipes(void** state) {
  StoreFixture& f = fixture_of(state);
  fill(f);
  const Printed all = run(f, {});
  assert_int_equal(all.code, 0);
  assert_true(contains(all.output, "12345"));
  assert_true(contains(all.output, "3145728"));
  assert_true(contains(all.output, "max_sessions  "));
  assert_true(contains(all.output, "quiet"));
  for (const char c : all.output) assert_true(c == '\n' || (c >= 0x20 && c < 0x7f));
  std::istringstream lines(all.output);
  std::string head;
  std::getline(lines, head);
  assert_string_equal(
      head.c_str(),
      "service  plugin  sessions  messages  bytes_in  bytes_out  refused  failed  p50_us  p90_us  p99_us  size_p99");
  const Printed one = run(f, {.path = {}, .service = "quiet"});
  assert_int_equal(one.code, 0);
  assert_true(one.output.find("web") == std::string::npos);
  assert_true(one.output.find("refusals") == std::string::npos);
}

void lines_and_units_for_a_terminal(void** state) {
  StoreFixture& f = fixture_of(state);
  fill(f);
  const Printed all = run(f, {.path = {}, .terminal = true});
  assert_true(contains(all.output, "\x1b[1m"));
  assert_true(contains(all.output, "┌"));
  assert_true(contains(all.output, "12,345"));
  assert_true(contains(all.output, "3.0MiB"));
}

void json_is_exact(void** state) {
  StoreFixture& f = fixture_of(state);
  fill(f);
  for (const Grouping by : {Grouping::total, Grouping::minute}) {
    const Printed printed = run(f, {.path = {}, .service = "web", .json = true, .by = by});
    assert_int_equal(printed.code, 0);
    const auto parsed = nlohmann::json::parse(printed.output, nullptr, false);
    assert_false(parsed.is_discarded());
    assert_int_equal(parsed["rows"].size(), 1);
    const auto& row = parsed["rows"][0];
    assert_int_equal(row["messages"].get<int>(), 12345);
    assert_int_equal(row["bytes_in"].get<int>(), 3 << 20);
    assert_int_equal(row["refusals"]["max_sessions"].get<int>(), 2);
    assert_int_equal(row["counters"]["odd"].get<int>(), 5);
    const double p50 = row["latency_us"]["p50"].get<double>();
    assert_true(p50 > 19.3 && p50 < 20.7);
    assert_string_equal(row["service"].get<std::string>().c_str(), "web");
  }
  const auto quiet = nlohmann::json::parse(run(f, {.path = {}, .service = "quiet", .json = true}).output);
  assert_true(quiet["rows"][0]["latency_us"].is_null());
}

void it_says_when_there_is_nothing(void** state) {
  StoreFixture& f = fixture_of(state);
  assert_string_equal(f.open().c_str(), "");
  const Printed empty = run(f, {});
  assert_int_equal(empty.code, 0);
  assert_true(contains(empty.output, "nothing was counted in the last"));
  const Printed unknown = run(f, {.path = {}, .service = "nobody"});
  assert_int_equal(unknown.code, 4);
  assert_true(contains(unknown.errors, "service \"nobody\" has nothing in the store"));
  assert_string_equal(unknown.output.c_str(), "");
}

void it_says_what_it_cannot_read(void** state) {
  StoreFixture& f = fixture_of(state);
  const Printed missing = run(f, {});
  assert_int_equal(missing.code, 1);
  assert_true(contains(missing.errors, "there is no such file"));
  const Printed directory = run(f, {.path = f.folder.path()});
  assert_int_equal(directory.code, 1);
  assert_true(contains(directory.errors, "not a regular file"));
  const Printed other = run(f, {.path = f.folder.write("other", std::string(5000, 'x'))});
  assert_int_equal(other.code, 1);
  assert_true(contains(other.errors, "not an SQLite database"));
}

void a_store_at_rest_is_read_and_not_changed(void** state) {
  StoreFixture& f = fixture_of(state);
  fill(f);
  f.store->stop();
  const std::string before = read_whole_file(f.path);
  assert_true(contains(run(f, {}).output, "12345"));
  // A copy without its log, as on another machine.
  const std::string copy = f.folder.write("a copy?#%.db", before);
  assert_true(contains(run(f, {.path = copy}).output, "12345"));
  assert_true(read_whole_file(f.path) == before);
}

void names_cannot_steer_the_terminal(void** state) {
  StoreFixture& f = fixture_of(state);
  assert_string_equal(f.open().c_str(), "");
  f.service("\x1b[2Jx\xff")[CoreCounter::sessions].add(1);
  assert_string_equal(f.flush().c_str(), "");
  const Printed table = run(f, {});
  assert_int_equal(table.code, 0);
  assert_true(table.output.find('\x1b') == std::string::npos);
  assert_int_equal(run(f, {.path = {}, .json = true}).code, 0);
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      STORE_TEST(a_plain_table_for_pipes),
      STORE_TEST(lines_and_units_for_a_terminal),
      STORE_TEST(json_is_exact),
      STORE_TEST(it_says_when_there_is_nothing),
      STORE_TEST(it_says_what_it_cannot_read),
      STORE_TEST(a_store_at_rest_is_read_and_not_changed),
      STORE_TEST(names_cannot_steer_the_terminal),
  };
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
