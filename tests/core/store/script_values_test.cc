// What scripts keep: seen at once by all, in the file with the next flush, and neither lost nor unbounded.
#include "base/clock.h"
#include "store/script_values.h"

#include <algorithm>
#include <csignal>
#include <thread>

#include <sys/resource.h>

#include "store_fixture.h"  // last: cmocka has a macro named fail

using namespace portolan;
using namespace portolan::testing;

namespace {

std::string shown(const std::expected<StoreValue, std::string>& value) {
  if (!value) return "error: " + value.error();
  if (const auto* integer = std::get_if<std::int64_t>(&*value)) return std::to_string(*integer);
  if (const auto* number = std::get_if<double>(&*value)) return std::to_string(*number) + " as a number";
  if (const auto* text = std::get_if<std::string>(&*value)) return "'" + *text + "'";
  return "nil";
}
std::string get(StoreFixture& f, const std::string& key, const std::string& service = "web") {
  return shown(f.store->get(service, key));
}
std::string put(StoreFixture& f, const std::string& key, StoreValue value, std::int64_t expires_ms = 0) {
  const auto done = f.store->put("web", key, std::move(value), expires_ms);
  return done ? "" : done.error();
}
std::string reopen(StoreFixture& f) {
  f.store->stop();
  f.store.reset();
  return f.open();
}

void a_value_is_there_at_once_and_after_a_restart(void** state) {
  StoreFixture& f = fixture_of(state);
  assert_string_equal(f.open().c_str(), "");
  assert_string_equal(get(f, "a").c_str(), "nil");
  const std::string odd("x\0'\xff", 4);
  assert_string_equal(put(f, "a", std::int64_t{INT64_MIN}).c_str(), "");
  assert_string_equal(put(f, "b", 2.0).c_str(), "");
  assert_string_equal(put(f, "c", std::string("17")).c_str(), "");
  assert_string_equal(put(f, odd, odd).c_str(), "");
  assert_string_equal(put(f, "e", std::string()).c_str(), "");
  assert_string_equal(put(f, "gone", std::string("soon")).c_str(), "");
  assert_string_equal(put(f, "gone", StoreValue()).c_str(), "");
  const auto check = [&] {
    assert_string_equal(get(f, "a").c_str(), std::to_string(INT64_MIN).c_str());
    assert_string_equal(get(f, "b").c_str(), "2.000000 as a number");
    assert_string_equal(get(f, "c").c_str(), "'17'");
    assert_true(get(f, odd) == "'" + odd + "'");
    assert_string_equal(get(f, "e").c_str(), "''");
    assert_string_equal(get(f, "gone").c_str(), "nil");
    assert_string_equal(get(f, "a", "other").c_str(), "nil");
  };
  check();
  assert_string_equal(f.ask("SELECT count(*) FROM script_data").c_str(), "0");
  assert_string_equal(f.flush().c_str(), "");
  assert_string_equal(f.ask("SELECT group_concat(typeof(value), ' ') FROM (SELECT value FROM script_data"
                            " WHERE key IN ('a', 'b', 'c') ORDER BY key)")
                          .c_str(),
                      "integer real text");
  assert_string_equal(f.ask("SELECT abs(changed_unix_time - unixepoch()) < 200 AND expires IS NULL FROM script_data"
                            " WHERE key = 'a'")
                          .c_str(),
                      "1");
  assert_string_equal(reopen(f).c_str(), "");
  check();
  // Changed, deleted, and what was put just before the stop.
  assert_string_equal(put(f, "a", std::string("text")).c_str(), "");
  assert_string_equal(put(f, "b", StoreValue()).c_str(), "");
  assert_string_equal(reopen(f).c_str(), "");
  assert_string_equal(get(f, "a").c_str(), "'text'");
  assert_string_equal(get(f, "b").c_str(), "nil");
  assert_string_equal(f.ask("SELECT count(*) FROM script_data").c_str(), "4");
  // Nothing new: nothing is written.
  const auto flushes = f.store->health().flushes;
  assert_string_equal(put(f, "never", std::int64_t{1}).c_str(), "");
  assert_string_equal(put(f, "never", StoreValue()).c_str(), "");
  assert_string_equal(f.flush().c_str(), "");
  assert_string_equal(f.ask("SELECT count(*) FROM script_data").c_str(), "4");
  assert_in_range(f.store->health().flushes, flushes, flushes + 1);  // a minute's turn may have come
}

void what_is_over_its_bounds_is_refused(void** state) {
  StoreFixture& f = fixture_of(state);
  StoreOptions options = f.options();
  options.script_keys = 3;
  options.script_bytes = 100'000;
  assert_string_equal(f.open(options).c_str(), "");
  assert_true(contains(put(f, "", std::int64_t{1}), "a key of the store has 1 to 512 bytes"));
  assert_true(contains(put(f, std::string(513, 'k'), std::int64_t{1}), "has 513"));
  assert_true(contains(get(f, ""), "a key of the store"));
  assert_true(contains(put(f, "a", std::string(65'537, 'x')), "has 65537 bytes, more than 65536"));
  assert_true(contains(put(f, "a", std::numeric_limits<double>::quiet_NaN()), "not a number"));
  assert_string_equal(get(f, "a").c_str(), "nil");
  assert_string_equal(put(f, "a", std::string(65'536, 'x')).c_str(), "");
  assert_true(contains(put(f, "b", std::string(65'536, 'x')), "at their bound (3 keys, 100000 bytes)"));
  assert_string_equal(put(f, "b", std::int64_t{1}).c_str(), "");
  assert_string_equal(put(f, "c", std::int64_t{1}).c_str(), "");
  assert_true(contains(put(f, "d", std::int64_t{1}), "store.script_keys"));
  assert_false(f.store->increment("web", "d", 1).has_value());
  // What is there may change, and what is deleted makes room at once, whether it is in the file or not.
  for (int round = 0; round < 50; ++round) {
    assert_string_equal(put(f, "c", std::int64_t{round}).c_str(), "");
    if (round % 10 == 0) assert_string_equal(f.flush().c_str(), "");
    assert_string_equal(put(f, "c", StoreValue()).c_str(), "");
    assert_string_equal(put(f, "d", std::int64_t{round}).c_str(), "");
    assert_true(contains(put(f, "c", std::int64_t{1}), "at their bound"));
    assert_string_equal(put(f, "d", StoreValue()).c_str(), "");
  }
  // So does one that has expired.
  assert_string_equal(put(f, "c", std::int64_t{1}, unix_ms() + 20).c_str(), "");
  assert_true(wait_until([&] { return put(f, "d", std::int64_t{2}).empty(); }));
  assert_string_equal(get(f, "c").c_str(), "nil");
  options.script_keys = 4;
  f.store->reconfigure(options);
  assert_string_equal(put(f, "e", std::int64_t{1}).c_str(), "");
  assert_string_equal(put(f, "a", std::string(1000, 'x')).c_str(), "");
  assert_string_equal(put(f, "b", std::string(65'536, 'x')).c_str(), "");
}

void what_expires_is_gone(void** state) {
  StoreFixture& f = fixture_of(state);
  assert_string_equal(f.open().c_str(), "");
  assert_string_equal(put(f, "past", std::int64_t{1}, unix_ms() - 1).c_str(), "");
  assert_string_equal(get(f, "past").c_str(), "nil");
  assert_string_equal(put(f, "soon", std::int64_t{1}, unix_ms() + 300).c_str(), "");
  assert_string_equal(put(f, "later", std::int64_t{1}, unix_ms() + 3'600'000).c_str(), "");
  assert_string_equal(f.flush().c_str(), "");
  assert_string_equal(f.ask("SELECT count(*) FROM script_values").c_str(), "2");
  assert_string_equal(f.ask("SELECT expires > changed AND expires_unix_time - changed_unix_time BETWEEN 3599 AND 3601"
                            " FROM script_data WHERE key = 'later'")
                          .c_str(),
                      "1");
  assert_true(wait_until([&] { return get(f, "soon") == "nil"; }));
  assert_string_equal(f.flush().c_str(), "");
  assert_string_equal(f.ask("SELECT group_concat(key) FROM script_values").c_str(), "later");
  // One that expired while no daemon ran.
  assert_string_equal(put(f, "soon", std::int64_t{1}, unix_ms() + 300).c_str(), "");
  const std::int64_t until = unix_ms() + 300;
  f.store->stop();
  assert_true(wait_until([&] { return unix_ms() > until; }));
  f.store.reset();
  assert_string_equal(f.open().c_str(), "");
  assert_string_equal(get(f, "soon").c_str(), "nil");
  assert_string_equal(f.flush().c_str(), "");
  assert_string_equal(f.ask("SELECT group_concat(key) FROM script_values").c_str(), "later");
}

void every_increment_counts(void** state) {
  StoreFixture& f = fixture_of(state);
  StoreOptions options = f.options();
  options.flush_every = std::chrono::milliseconds(10);
  assert_string_equal(f.open(options).c_str(), "");
  constexpr int kThreads = 4;
  const int rounds = scaled(5000, 500);
  std::vector<std::vector<std::int64_t>> seen(kThreads);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < rounds; ++i) {
        seen[t].push_back(*f.store->increment("web", "count", 1));
        std::ignore = f.store->put("web", "of " + std::to_string(t), std::int64_t{i});
        std::ignore = f.store->get("web", "of " + std::to_string((t + 1) % kThreads));
      }
    });
  for (auto& thread : threads) thread.join();
  std::vector<std::int64_t> all;
  for (const auto& some : seen) all.insert(all.end(), some.begin(), some.end());
  std::ranges::sort(all);
  for (std::size_t i = 0; i < all.size(); ++i) assert_int_equal(all[i], i + 1);
  f.store->stop();
  assert_string_equal(f.ask("SELECT value FROM script_data WHERE key = 'count'").c_str(),
                      std::to_string(kThreads * rounds).c_str());
  assert_string_equal(f.ask("SELECT sum(value) FROM script_data WHERE key LIKE 'of %'").c_str(),
                      std::to_string(kThreads * (rounds - 1)).c_str());
}

void an_increment_wants_an_integer(void** state) {
  StoreFixture& f = fixture_of(state);
  assert_string_equal(f.open().c_str(), "");
  assert_int_equal(*f.store->increment("web", "n", -5), -5);
  assert_int_equal(*f.store->increment("web", "n", 7), 2);
  assert_string_equal(put(f, "t", std::string("1")).c_str(), "");
  assert_true(contains(f.store->increment("web", "t", 1).error(), "the key \"t\" has text and no integer"));
  assert_string_equal(put(f, "n", std::int64_t{INT64_MAX}).c_str(), "");
  assert_true(contains(f.store->increment("web", "n", 1).error(), "64 bits"));
  assert_string_equal(get(f, "n").c_str(), std::to_string(INT64_MAX).c_str());
  // The time is that of the first; a window that has passed begins anew.
  const std::int64_t until = unix_ms() + 200;
  assert_int_equal(*f.store->increment("web", "window", 1, until), 1);
  assert_int_equal(*f.store->increment("web", "window", 1, INT64_MAX), unix_ms() < until ? 2 : 1);
  assert_true(wait_until([&] { return unix_ms() > until; }));
  assert_int_equal(*f.store->increment("web", "window", 1, unix_ms() + 3'600'000), 1);
}

// Every write past the limit fails, as on a broken disk.
void a_disk_that_fails_loses_no_value(void** state) {
  StoreFixture& f = fixture_of(state);
  std::signal(SIGXFSZ, SIG_IGN);
  StoreOptions options = f.options();
  options.script_keys = 10;
  assert_string_equal(f.open(options).c_str(), "");
  for (const char* key : {"stays", "changes", "goes"}) assert_string_equal(put(f, key, std::string("old")).c_str(), "");
  assert_string_equal(f.flush().c_str(), "");
  limit_file_size(4096);
  for (std::int64_t i = 1; i <= 5; ++i) {
    assert_string_equal(put(f, "changes", i).c_str(), "");
    assert_string_equal(put(f, "goes", i == 5 ? StoreValue() : StoreValue(i)).c_str(), "");
    assert_string_equal(put(f, "new", i).c_str(), "");
    assert_string_equal(put(f, "passing", i == 5 ? StoreValue() : StoreValue(i)).c_str(), "");
    assert_true(contains(f.flush(), "reading or writing failed"));
    assert_string_equal(get(f, "changes").c_str(), std::to_string(i).c_str());
  }
  // However many come and go meanwhile, memory is bounded.
  std::string refusal;
  for (int i = 0; i < 100 && refusal.empty(); ++i) {
    refusal = put(f, "passing " + std::to_string(i), std::int64_t{1});
    assert_false(f.flush().empty());
    std::ignore = put(f, "passing " + std::to_string(i), StoreValue());
  }
  assert_true(contains(refusal, "at their bound"));
  limit_file_size(RLIM_INFINITY);
  assert_string_equal(f.flush().c_str(), "");
  assert_string_equal(
      f.ask("SELECT group_concat(key || '=' || value) FROM (SELECT * FROM script_data ORDER BY key)").c_str(),
      "changes=5,new=5,stays=old");
  assert_string_equal(put(f, "once more", std::int64_t{1}).c_str(), "");
  assert_string_equal(reopen(f).c_str(), "");
  assert_string_equal(get(f, "goes").c_str(), "nil");
  assert_string_equal(get(f, "changes").c_str(), "5");
  assert_string_equal(get(f, "once more").c_str(), "1");
}

// The steps of a flush one by one: what happens to a key while it is being written.
void a_change_during_a_write_is_the_next_one(void**) {
  ScriptValues values(10, 100'000);
  assert_true(values.put("s", "deleted", std::int64_t{1}, 0).has_value());
  assert_true(values.put("s", "changed", std::int64_t{1}, 0).has_value());
  auto first = values.take(unix_ms());
  assert_int_equal(first.size(), 2);
  assert_true(values.take(unix_ms()).empty());
  assert_true(values.put("s", "deleted", StoreValue(), 0).has_value());
  assert_true(values.put("s", "changed", std::int64_t{2}, 0).has_value());
  values.written(first);
  auto second = values.take(unix_ms());
  assert_int_equal(second.size(), 2);
  for (const ValueChange& change : second) {
    assert_true(change.service() == "s");
    assert_true(change.value == (change.key() == "changed" ? StoreValue(std::int64_t{2}) : StoreValue()));
  }
  values.put_back(second);
  assert_true(values.put("s", "deleted", std::int64_t{3}, 0).has_value());
  auto third = values.take(unix_ms());
  assert_int_equal(third.size(), 2);
  for (const ValueChange& change : third)
    assert_true(change.value == StoreValue(std::int64_t{change.key() == "changed" ? 2 : 3}));
  values.written(third);
  assert_true(values.take(unix_ms()).empty());
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      STORE_TEST(a_value_is_there_at_once_and_after_a_restart),
      STORE_TEST(what_is_over_its_bounds_is_refused),
      STORE_TEST(what_expires_is_gone),
      STORE_TEST(every_increment_counts),
      STORE_TEST(an_increment_wants_an_integer),
      cmocka_unit_test_setup_teardown(a_disk_that_fails_loses_no_value, make_fixture, lift_limit_and_end),
      cmocka_unit_test(a_change_during_a_write_is_the_next_one),
  };
  return cmocka_run_group_tests_name("core.store.script_values", tests, nullptr, nullptr);
}
