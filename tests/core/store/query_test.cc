// Questions in SQL: what may be asked, what is refused and how it says so, and that nothing runs without end.
#include "base/clock.h"
#include "store/query_reader.h"

#include <atomic>
#include <thread>

#include "store_fixture.h"  // last: cmocka has a macro named fail

using namespace portolan;
using namespace portolan::testing;

namespace {

using Found = std::expected<StoreAnswer, std::string>;

// Asks and waits; a refusal at once is an error, too.
template <typename Reader>
Found ask(Reader& reader, StoreQuestion question) {
  auto promise = std::make_shared<std::promise<Found>>();
  auto future = promise->get_future();
  auto taken = reader.ask(std::move(question), [promise](Found found) { promise->set_value(std::move(found)); });
  if (!taken) return std::unexpected(taken.error());
  if (future.wait_for(kPatience) != std::future_status::ready) return std::unexpected("no answer");
  return future.get();
}
Found ask(StoreFixture& f, const std::string& sql, std::vector<StoreValue> parameters = {}) {
  return ask(*f.store, {.sql = sql, .parameters = std::move(parameters)});
}
std::string error_of(StoreFixture& f, const std::string& sql, std::vector<StoreValue> parameters = {}) {
  const Found found = ask(f, sql, std::move(parameters));
  return found ? "" : found.error();
}

void values_of_every_kind_come_back(void** state) {
  StoreFixture& f = fixture_of(state);
  assert_string_equal(f.open().c_str(), "");
  f.service()[CoreCounter::messages].add(7);
  assert_string_equal(f.flush().c_str(), "");
  const std::string odd("a\0\xff", 3);
  const Found found = ask(f, "SELECT ?1 AS one, ?2, ?3, ?4, x'00ff' AS blob, messages FROM service_totals -- or so\n;;",
                          {StoreValue(), std::int64_t{INT64_MIN}, 0.25, odd});
  if (!found) print_error("%s\n", found.error().c_str());
  assert_true(found.has_value());
  assert_int_equal(found->rows(), 1);
  assert_int_equal(found->columns.size(), 6);
  assert_string_equal(found->columns[0].c_str(), "one");
  assert_string_equal(found->columns[4].c_str(), "blob");
  assert_true(found->at(0, 0) == StoreValue());
  assert_true(found->at(0, 1) == StoreValue(std::int64_t{INT64_MIN}));
  assert_true(found->at(0, 2) == StoreValue(0.25));
  assert_true(found->at(0, 3) == StoreValue(odd));
  assert_true(found->at(0, 4) == StoreValue(std::string("\0\xff", 2)));
  assert_true(found->at(0, 5) == StoreValue(std::int64_t{7}));
  assert_false(found->truncated);
  // Descriptions of tables, plans, the functions over histograms, and no row at all.
  assert_true(ask(f, "PRAGMA table_info(service_totals)")->rows() > 5);
  assert_int_equal(ask(f, "SELECT value FROM json_each('[1, 2]')")->rows(), 2);
  assert_true(ask(f, "SELECT name FROM pragma_table_info('events')")->rows() > 5);
  assert_true(ask(f, "EXPLAIN QUERY PLAN SELECT * FROM events")->rows() > 0);
  assert_true(ask(f, "SELECT histogram_quantile(histogram_sum(latency), 0.5) FROM service_period")->rows() == 1);
  assert_int_equal(ask(f, "SELECT * FROM sessions")->rows(), 0);
  assert_true(ask(f, "SELECT * FROM sessions")->columns.size() > 5);
}

void nothing_but_reading(void** state) {
  StoreFixture& f = fixture_of(state);
  assert_string_equal(f.open().c_str(), "");
  f.service()[CoreCounter::messages].add(7);
  assert_string_equal(f.flush().c_str(), "");
  const std::string other = f.folder.file("other.db");
  for (const std::string& sql : {std::string("DELETE FROM event"),
                                 std::string("INSERT INTO progress VALUES ('x', 1)"),
                                 std::string("UPDATE progress SET value = 1"),

                                 std::string("DROP TABLE event"),
                                 std::string("CREATE TABLE a (b)"),
                                 std::string("CREATE TEMP TABLE a (b)"),
                                 std::string("CREATE TEMP VIEW a AS SELECT 1"),
                                 std::string("CREATE TRIGGER t AFTER INSERT ON event BEGIN SELECT 1; END"),
                                 "ATTACH '" + other + "' AS other",
                                 std::string("ATTACH ':memory:' AS other"),
                                 std::string("DETACH main"),
                                 std::string("BEGIN"),
                                 std::string("BEGIN EXCLUSIVE"),
                                 std::string("COMMIT"),
                                 std::string("SAVEPOINT a"),
                                 std::string("VACUUM"),
                                 "VACUUM INTO '" + other + "'",
                                 std::string("ANALYZE"),
                                 std::string("REINDEX"),
                                 std::string("PRAGMA journal_mode = DELETE"),
                                 std::string("PRAGMA journal_mode"),
                                 std::string("PRAGMA query_only = OFF"),
                                 std::string("PRAGMA writable_schema = ON"),
                                 std::string("PRAGMA user_version = 9"),
                                 std::string("PRAGMA wal_checkpoint(TRUNCATE)"),
                                 std::string("PRAGMA mmap_size = 1"),
                                 std::string("SELECT load_extension('x')"),
                                 std::string("EXPLAIN DELETE FROM event"),
                                 std::string("WITH a AS (SELECT 1) DELETE FROM event"),
                                 std::string("REPLACE INTO progress VALUES ('x', 1) RETURNING value")}) {
    const std::string error = error_of(f, sql);
    if (error.empty()) print_error("allowed: %s\n", sql.c_str());
    assert_true(contains(error, "only what reads is allowed here"));
  }
  for (const char* sql : {"UPDATE sqlite_master SET name = 'x'", "DELETE FROM sqlite_master"})
    assert_true(contains(error_of(f, sql), "sqlite_master may not be modified"));
  assert_true(contains(error_of(f, "DELETE FROM event"), "and not deleting from event"));
  assert_true(contains(error_of(f, "PRAGMA journal_mode"), "and not PRAGMA journal_mode"));
  assert_true(contains(error_of(f, "ATTACH 'x' AS y"), "and not ATTACH"));
  struct stat found{};
  assert_int_not_equal(::stat(other.c_str(), &found), 0);
  assert_string_equal(f.ask("SELECT messages FROM service_totals").c_str(), "7");
  // And the connection is as good as before.
  assert_int_equal(ask(f, "SELECT 1")->rows(), 1);
}

void what_is_wrong_is_said(void** state) {
  StoreFixture& f = fixture_of(state);
  assert_string_equal(f.open().c_str(), "");
  assert_true(contains(error_of(f, "SELECT nmae FROM services"), "no such table: services"));
  assert_true(
      contains(error_of(f, "SELECT nmae FROM events"), "no such column: nmae, at byte 8: \"nmae FROM events\""));
  assert_true(contains(error_of(f, "SELECT \"nmae\" FROM events"), "no such column"));
  assert_true(contains(error_of(f, "SELEC 1"), "syntax error, at byte 1: \"SELEC 1\""));
  assert_true(contains(error_of(f, ""), "there is no statement"));
  assert_true(contains(error_of(f, " -- nothing"), "there is no statement"));
  assert_true(contains(error_of(f, "SELECT 1; SELECT 2"), "one statement at a time: another begins at byte 10"));
  assert_true(contains(error_of(f, "SELECT 1; DROP TABLE event"), "one statement at a time"));
  assert_true(contains(error_of(f, "SELECT 1; nonsense"), "one statement at a time"));
  assert_true(contains(error_of(f, std::string("SELECT 1\0; SELECT 2", 19)), "zero byte"));
  assert_true(contains(error_of(f, "SELECT ?1, ?2", {std::int64_t{1}}), "has 2 parameters and 1 was given"));
  assert_true(contains(error_of(f, "SELECT 1", {std::int64_t{1}}), "has 0 parameters and 1 was given"));
  assert_true(contains(error_of(f, "SELECT '" + std::string(70'000, 'x') + "'"), "more than 65536"));
  assert_true(contains(error_of(f, "SELECT zeroblob(100000000)"), "too big"));
  assert_true(contains(error_of(f, "SELECT abs(-9223372036854775808)"), "integer overflow"));
}

void large_answers_are_cut(void** state) {
  StoreFixture& f = fixture_of(state);
  assert_string_equal(f.open().c_str(), "");
  const std::string numbers = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000) ";
  Found found = ask(f, numbers + "SELECT i FROM n");
  assert_true(found.has_value());
  assert_int_equal(found->rows(), 10'000);
  assert_true(found->truncated);
  assert_true(found->at(9'999, 0) == StoreValue(std::int64_t{10'000}));
  found = ask(*f.store, {.sql = numbers + "SELECT i FROM n LIMIT 10", .limits = {.rows = 10}});
  assert_int_equal(found->rows(), 10);
  assert_false(found->truncated);
  found = ask(*f.store, {.sql = numbers + "SELECT i FROM n", .limits = {.rows = 0}});
  assert_int_equal(found->rows(), 0);
  assert_true(found->truncated);
  // By bytes: a text is in it whole or not at all.
  found = ask(f, numbers + "SELECT hex(zeroblob(50000)) FROM n");
  assert_true(found->truncated);
  assert_in_range(found->rows(), 41, 42);
  assert_int_equal(std::get<std::string>(found->at(40, 0)).size(), 100'000);
  found = ask(*f.store, {.sql = "SELECT 'four', 1", .limits = {.bytes = 36}});
  assert_int_equal(found->rows(), 1);
  found = ask(*f.store, {.sql = "SELECT 'four', 1", .limits = {.bytes = 35}});
  assert_int_equal(found->rows(), 0);
  assert_true(found->truncated);
}

const char* const kWithoutEnd =
    "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";

void what_has_no_end_is_stopped(void** state) {
  StoreFixture& f = fixture_of(state);
  assert_string_equal(f.open().c_str(), "");
  const Duration before = monotonic_now();
  Found found = ask(*f.store, {.sql = kWithoutEnd, .limits = {.time = std::chrono::milliseconds(100)}});
  const Duration took = monotonic_now() - before;
  assert_false(found.has_value());
  assert_true(contains(found.error(), "stopped after 100 ms"));
  assert_true(took >= std::chrono::milliseconds(100));
  // One that gives rows all the time, and one that fills the memory.
  found = ask(*f.store, {.sql = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n",
                         .limits = {.rows = SIZE_MAX, .bytes = SIZE_MAX, .time = std::chrono::milliseconds(50)}});
  assert_true(contains(found.error(), "stopped after 50 ms"));
  found = ask(*f.store, {.sql = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
                                " SELECT i, hex(zeroblob(10000)) AS text FROM n ORDER BY text, i DESC",
                         .limits = {.time = std::chrono::seconds(60)}});
  assert_true(contains(found.error(), "more than 32 MiB of memory"));
  assert_int_equal(ask(f, "SELECT 1")->rows(), 1);
}

// Asks for what has no end, and holds what it was answered.
struct LongOne {
  std::shared_ptr<std::promise<Found>> promise = std::make_shared<std::promise<Found>>();
  std::future<Found> future = promise->get_future();
  StoreAccess::QuestionId id = 0;
  template <typename Reader>
  explicit LongOne(Reader& reader, Duration time = std::chrono::hours(1)) {
    id = *reader.ask({.sql = kWithoutEnd, .parameters = {}, .limits = {.time = time}},
                     [kept = promise](Found found) { kept->set_value(std::move(found)); });
  }
  std::string error() {
    if (future.wait_for(kPatience) != std::future_status::ready) return "no answer";
    const Found found = future.get();
    return found ? "an answer" : found.error();
  }
};

void a_question_is_cancelled(void** state) {
  StoreFixture& f = fixture_of(state);
  assert_string_equal(f.open().c_str(), "");
  LongOne running(*f.store);
  LongOne waiting(*f.store);
  LongOne late(*f.store, std::chrono::milliseconds(1));
  f.store->cancel(waiting.id);
  f.store->cancel(running.id);
  f.store->cancel(12345);
  assert_string_equal(running.error().c_str(), "query: cancelled");
  assert_string_equal(waiting.error().c_str(), "query: cancelled");
  assert_false(late.error().empty());
  f.store->cancel(running.id);
  assert_int_equal(ask(f, "SELECT 1")->rows(), 1);
}

void too_many_are_refused_at_once(void** state) {
  StoreFixture& f = fixture_of(state);
  assert_string_equal(f.open().c_str(), "");
  LongOne running(*f.store);
  auto answered = std::make_shared<std::atomic<int>>(0);
  std::size_t taken = 0;
  std::string refusal;
  for (std::size_t i = 0; i < 2 * QueryReader::kMostWaiting; ++i) {
    auto asked = f.store->ask({.sql = "SELECT 1"}, [answered](const Found&) { ++*answered; });
    if (asked)
      ++taken;
    else
      refusal = asked.error();
  }
  assert_in_range(taken, QueryReader::kMostWaiting - 1, QueryReader::kMostWaiting);
  assert_true(contains(refusal, "others wait for the store already"));
  f.store->cancel(running.id);
  assert_true(wait_until([&] { return *answered == static_cast<int>(taken); }));
}

void a_stop_answers_all_and_is_prompt(void** state) {
  StoreFixture& f = fixture_of(state);
  assert_string_equal(f.open().c_str(), "");
  LongOne running(*f.store);
  LongOne waiting(*f.store);
  // Two that ask as fast as they can while it stops.
  std::atomic<bool> stopped{false};
  std::atomic<int> taken{0};
  auto answered = std::make_shared<std::atomic<int>>(0);
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t)
    threads.emplace_back([&] {
      while (!stopped) taken += f.store->ask({.sql = "SELECT 1"}, [answered](const Found&) { ++*answered; }) ? 1 : 0;
    });
  f.store->stop_answering();
  stopped = true;
  for (auto& thread : threads) thread.join();
  assert_int_equal(*answered, taken);
  assert_false(running.error().empty());
  assert_true(contains(waiting.error(), "stop"));
  const auto late = f.store->ask({.sql = "SELECT 1"}, [](const Found&) {});
  assert_false(late.has_value());
  assert_true(contains(late.error(), "stopped"));
  f.store->stop();
}

void an_idle_reader_holds_nothing(void** state) {
  StoreFixture& f = fixture_of(state);
  assert_string_equal(f.open().c_str(), "");
  QueryReader reader(f.path, std::chrono::milliseconds(20));
  assert_false(reader.holds_file());
  assert_int_equal(ask(reader, {.sql = "SELECT 1"})->rows(), 1);
  assert_true(wait_until([&] { return !reader.holds_file(); }));
  assert_int_equal(ask(reader, {.sql = "SELECT 1"})->rows(), 1);
}

void another_file_in_its_place_is_seen(void** state) {
  StoreFixture& f = fixture_of(state);
  assert_string_equal(f.open().c_str(), "");
  f.store->stop();
  QueryReader reader(f.path);
  assert_int_equal(ask(reader, {.sql = "SELECT 1"})->rows(), 1);
  assert_int_equal(::rename(f.path.c_str(), f.folder.file("away.db").c_str()), 0);
  assert_true(contains(ask(reader, {.sql = "SELECT 1"}).error(), "the file is not there"));
  auto other = Connection::open(f.path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, 1000);
  assert_true(other->execute("CREATE TABLE mine (a); INSERT INTO mine VALUES (3)").has_value());
  assert_true(ask(reader, {.sql = "SELECT a FROM mine"})->at(0, 0) == StoreValue(std::int64_t{3}));
  f.folder.write("portolan.db", std::string(5000, 'x'));
  assert_true(contains(ask(reader, {.sql = "SELECT a FROM mine"}).error(), "store \""));
}

void an_answer_that_throws_takes_nothing_down(void** state) {
  StoreFixture& f = fixture_of(state);
  assert_string_equal(f.open().c_str(), "");
  assert_true(f.store->ask({.sql = "SELECT 1"}, [](const Found&) { throw std::runtime_error("mine"); }).has_value());
  assert_true(f.store->ask({.sql = "SELECT 1"}, nullptr).has_value());
  assert_int_equal(ask(f, "SELECT 1")->rows(), 1);
}

void without_a_store(void**) {
  assert_true(contains(no_store().ask({.sql = "SELECT 1"}, nullptr).error(), "store = false"));
  assert_true(contains(no_store().put("a", "b", std::int64_t{1}).error(), "store = false"));
  assert_true(contains(no_store().get("a", "b").error(), "store = false"));
  assert_true(contains(no_store().increment("a", "b", 1).error(), "store = false"));
  assert_true(contains(no_store().recent_messages("a", "b", 1, nullptr).error(), "store = false"));
  no_store().keep_message("a", {});
  no_store().keep_transfer("a", {});
  no_store().cancel(1);
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      STORE_TEST(values_of_every_kind_come_back),
      STORE_TEST(nothing_but_reading),
      STORE_TEST(what_is_wrong_is_said),
      STORE_TEST(large_answers_are_cut),
      STORE_TEST(what_has_no_end_is_stopped),
      STORE_TEST(a_question_is_cancelled),
      STORE_TEST(too_many_are_refused_at_once),
      STORE_TEST(a_stop_answers_all_and_is_prompt),
      STORE_TEST(an_idle_reader_holds_nothing),
      STORE_TEST(another_file_in_its_place_is_seen),
      STORE_TEST(an_answer_that_throws_takes_nothing_down),
      cmocka_unit_test(without_a_store),
  };
  return cmocka_run_group_tests_name("core.store.query", tests, nullptr, nullptr);
}
