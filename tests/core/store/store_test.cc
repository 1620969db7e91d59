// The store as the daemon uses it: what is counted ends up in the file, once, and what does not change writes nothing.
#include "base/clock.h"

#include <atomic>
#include <stdexcept>
#include <thread>

#include "store_fixture.h"  // last: cmocka has a macro named fail

using namespace portolan;
using namespace portolan::testing;

namespace {

void transfers_reach_the_view(void** state) {
  StoreFixture& f = fixture_of(state);
  assert_string_equal(f.open().c_str(), "");
  f.store->keep_transfer("in", {.time_ms = 1'700'000'000'123,
                                .peer = "192.0.2.7:4711",
                                .direction = "received",
                                .name = "a/photo.jpg",
                                .bytes = std::uint64_t{1} << 40U,
                                .new_bytes = 5,
                                .duration = std::chrono::milliseconds(1500),
                                .sha256 = "e3b0",
                                .outcome = "refused",
                                .detail = "no room"});
  f.store->keep_transfer("in", {.name = "now"});
  assert_string_equal(f.flush().c_str(), "");
  assert_string_equal(
      f.ask("SELECT time || ' ' || service || ' ' || peer || ' ' || direction || ' ' || name || ' ' || bytes"
            " || ' ' || new_bytes || ' ' || seconds || ' ' || sha256 || ' ' || outcome || ' ' || detail"
            " FROM transfers WHERE name != 'now'")
          .c_str(),
      "2023-11-14T22:13:20.123Z in 192.0.2.7:4711 received a/photo.jpg 1099511627776 5 1.5 e3b0 refused no room");
  assert_string_equal(f.ask("SELECT abs(unix_time - unixepoch()) < 200 FROM transfers WHERE name = 'now'").c_str(),
                      "1");
}

void counters_reach_the_view(void** state) {
  StoreFixture& f = fixture_of(state);
  assert_string_equal(f.open().c_str(), "");
  WorkerStats& web = f.service();
  web[CoreCounter::sessions].add(2);
  web[CoreCounter::messages].add(100);
  web[CoreCounter::bytes_in].add(6400);
  web.open.add(2);
  web.refuse(Refusal::max_sessions);
  web.plugin[1].add(7);
  for (int i = 1; i <= 100; ++i) {
    web.latency.record(static_cast<std::uint64_t>(i) * 1000);
    web.message_size.record(64);
  }
  assert_string_equal(f.flush().c_str(), "");
  // While the daemon has it open, by a reader that may not write.
  assert_string_equal(f.ask("SELECT service || ' ' || plugin || ' ' || sum(sessions) || ' ' || sum(messages) || ' ' ||"
                            " sum(bytes_in) || ' ' || sum(refused) FROM service_minutes")
                          .c_str(),
                      "web echo 2 100 6400 1");
  assert_string_equal(f.ask("SELECT open_peak || ' ' || open_last FROM service_minutes").c_str(), "2 2");
  assert_string_equal(f.ask("SELECT latency_p50_us BETWEEN 48 AND 52 AND latency_p99_us BETWEEN 96 AND 102"
                            " FROM service_minutes")
                          .c_str(),
                      "1");
  assert_string_equal(f.ask("SELECT size_p50 BETWEEN 62 AND 66 FROM service_minutes").c_str(), "1");
  assert_string_equal(f.ask("SELECT reason || ' ' || count FROM refusals").c_str(), "max_sessions 1");
  assert_string_equal(f.ask("SELECT counter || ' ' || value FROM plugin_counters").c_str(), "even 7");
  assert_string_equal(f.ask("SELECT count(*) FROM plugin_counters").c_str(), "1");
  assert_string_equal(f.ask("SELECT time = strftime('%Y-%m-%dT%H:%M:%SZ', unix_time, 'unixepoch') AND"
                            " unix_time % 60 = 0 AND abs(unix_time - strftime('%s', 'now')) < 200"
                            " FROM service_minutes")
                          .c_str(),
                      "1");

  // More of the same is added, not put in its place.
  web[CoreCounter::messages].add(11);
  for (int i = 0; i < 900; ++i) web.latency.record(5'000'000);
  assert_string_equal(f.flush().c_str(), "");
  assert_string_equal(f.ask("SELECT sum(messages) FROM service_minutes").c_str(), "111");
  assert_string_equal(f.ask("SELECT messages FROM service_totals").c_str(), "111");
  assert_string_equal(f.ask("SELECT max(latency_p50_us) BETWEEN 4850 AND 5150 FROM service_minutes").c_str(), "1");
  assert_int_equal(f.store->health().flushes, 2);
  assert_true(f.store->health().ok);
  assert_true(unix_ms() - f.store->health().last_flush_ms < 60'000);
}

void what_was_counted_before_the_start_and_up_to_the_stop_is_there(void** state) {
  StoreFixture& f = fixture_of(state);
  f.service()[CoreCounter::messages].add(3);
  assert_string_equal(f.open().c_str(), "");
  f.service()[CoreCounter::messages].add(4);
  f.service("other")[CoreCounter::messages].add(5);
  f.store->stop();
  assert_string_equal(f.ask("SELECT sum(messages) FROM service_minutes WHERE service = 'web'").c_str(), "7");
  assert_string_equal(f.ask("SELECT sum(messages) FROM service_minutes WHERE service = 'other'").c_str(), "5");
  // The running minute is in its hour and day, too, and the log is empty.
  assert_string_equal(f.ask("SELECT sum(messages) FROM service_hours").c_str(), "12");
  assert_string_equal(f.ask("SELECT sum(messages) FROM service_days").c_str(), "12");
  struct stat log{};
  assert_true(::stat((f.path + "-wal").c_str(), &log) != 0 || log.st_size == 0);
  bool answered = false;
  f.store->flush([&](const std::string& error) { answered = !error.empty(); });
  assert_true(answered);

  // The next run goes on from there.
  f.registry = std::make_shared<StatsRegistry>();
  assert_string_equal(f.open().c_str(), "");
  f.service()[CoreCounter::messages].add(1);
  f.store->stop();
  assert_string_equal(f.ask("SELECT sum(messages) FROM service_hours").c_str(), "13");
  assert_string_equal(f.ask("SELECT sum(messages) FROM service_totals").c_str(), "13");
}

void an_interval_without_change_writes_nothing(void** state) {
  StoreFixture& f = fixture_of(state);
  assert_string_equal(f.open().c_str(), "");
  f.service().open.add(1);
  f.service()[CoreCounter::messages].add(1);
  assert_string_equal(f.flush().c_str(), "");
  const auto written = [&] {
    struct stat log{};
    assert_int_equal(::stat((f.path + "-wal").c_str(), &log), 0);
    return std::pair(log.st_size, log.st_mtim.tv_sec * 1'000'000'000LL + log.st_mtim.tv_nsec);
  };
  // A turn of the minute may bring one more write: that of the minute into its hour.
  const auto minute = [] { return unix_ms() / 60'000; };
  for (int attempt = 0; attempt < 3; ++attempt) {
    const auto before_minute = minute();
    assert_string_equal(f.flush().c_str(), "");
    const auto before = written();
    const auto flushes = f.store->health().flushes;
    for (int i = 0; i < 20; ++i) assert_string_equal(f.flush().c_str(), "");
    if (minute() != before_minute) continue;
    assert_true(written() == before);
    assert_int_equal(f.store->health().flushes, flushes);
    return;
  }
  fail_msg("no minute was long enough");
}

void it_flushes_by_itself(void** state) {
  StoreFixture& f = fixture_of(state);
  StoreOptions options = f.options();
  options.flush_every = std::chrono::milliseconds(20);
  assert_string_equal(f.open(options).c_str(), "");
  f.service()[CoreCounter::messages].add(9);
  assert_true(wait_until([&] { return f.ask("SELECT sum(messages) FROM service_minutes") == "9"; }));
  // New intervals take effect at once, not when the old one is over.
  options.flush_every = std::chrono::hours(1);
  f.store->reconfigure(options);
  assert_string_equal(f.flush().c_str(), "");
  options.flush_every = std::chrono::milliseconds(20);
  f.store->reconfigure(options);
  f.service()[CoreCounter::messages].add(1);
  assert_true(wait_until([&] { return f.ask("SELECT sum(messages) FROM service_minutes") == "10"; }));
}

SessionRecord session(std::uint64_t id) {
  return {.id = id,
          .service = "web",
          .peer = "192.0.2.7:4711",
          .transport = Transport::tls,
          .started_ms = 1'700'000'000'000,
          .ended_ms = 1'700'000'002'500,
          .bytes_in = 10,
          .bytes_out = 20,
          .messages = 3,
          .ended_by = "idle_timeout"};
}

void sessions_and_events_are_kept_up_to_their_bounds(void** state) {
  StoreFixture& f = fixture_of(state);
  StoreOptions options = f.options();
  options.session_records = 5;
  options.event_records = 2;
  assert_string_equal(f.open(options).c_str(), "");
  for (std::uint64_t i = 1; i <= 8; ++i) f.store->add(session(i));
  const std::int64_t now = unix_ms();
  for (int i = 0; i < 50; ++i) {
    f.store->add(EventRecord{
        .time_ms = now + i, .kind = "refused", .service = "web", .client = "192.0.2.7", .detail = "max_sessions"});
  }
  f.store->add(EventRecord{.time_ms = now, .kind = "reload", .service = "", .client = "", .detail = "generation 2"});
  f.store->add(EventRecord{
      .time_ms = now, .kind = "refused", .service = "web", .client = "192.0.2.8", .detail = "max_sessions"});
  assert_string_equal(f.flush().c_str(), "");
  assert_string_equal(f.ask("SELECT count(*) || ' ' || min(session) || ' ' || max(session) FROM sessions").c_str(),
                      "5 1 5");
  assert_string_equal(
      f.ask("SELECT transport || ' ' || peer || ' ' || seconds || ' ' || ended_by || ' ' || started FROM sessions")
          .c_str(),
      "tls 192.0.2.7:4711 2.5 idle_timeout 2023-11-14T22:13:20.000Z");
  assert_string_equal(f.ask("SELECT count(*) FROM events").c_str(), "2");
  assert_string_equal(f.ask("SELECT count || ' ' || (last_time > time) FROM events WHERE kind = 'refused'").c_str(),
                      "50 1");
  assert_int_equal(f.store->health().records_lost, 4);
  // The bound is that of an interval.
  f.store->add(session(9));
  assert_string_equal(f.flush().c_str(), "");
  assert_string_equal(f.ask("SELECT count(*) FROM sessions").c_str(), "6");
  // None wanted: none kept, none lost.
  options.session_records = 0;
  options.event_records = 0;
  f.store->reconfigure(options);
  f.store->add(session(10));
  f.store->add(EventRecord{.time_ms = now, .kind = "x", .service = "", .client = "", .detail = ""});
  assert_string_equal(f.flush().c_str(), "");
  assert_string_equal(f.ask("SELECT count(*) FROM sessions").c_str(), "6");
  assert_int_equal(f.store->health().records_lost, 4);
}

void any_thread_may_add(void** state) {
  StoreFixture& f = fixture_of(state);
  StoreOptions options = f.options();
  options.flush_every = std::chrono::milliseconds(10);
  options.session_records = 1'000'000;
  assert_string_equal(f.open(options).c_str(), "");
  WorkerStats& web = f.service();
  std::vector<std::thread> threads;
  std::atomic<std::uint64_t> next{0};
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 2000; ++i) {
        f.store->add(session(++next));
        f.store->add(EventRecord{.time_ms = 1, .kind = "k", .service = "web", .client = "", .detail = "d"});
        if (t == 0) web[CoreCounter::messages].add();
        if (t == 0) web.latency.record(1000);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  f.store->stop();
  assert_string_equal(f.ask("SELECT count(DISTINCT session) FROM sessions").c_str(), "6000");
  assert_string_equal(f.ask("SELECT sum(count) FROM events").c_str(), "6000");
  assert_string_equal(f.ask("SELECT messages FROM service_totals").c_str(), "2000");
  assert_int_equal(f.store->health().records_lost, 0);
}

void the_plugin_behind_a_name_may_change(void** state) {
  StoreFixture& f = fixture_of(state);
  assert_string_equal(f.open().c_str(), "");
  f.service("web", "echo")[CoreCounter::messages].add(1);
  f.service("web", "binary")[CoreCounter::messages].add(10);
  assert_string_equal(f.flush().c_str(), "");
  f.service("web", "echo")[CoreCounter::messages].add(2);  // a draining session of the old one
  assert_string_equal(f.flush().c_str(), "");
  assert_string_equal(f.ask("SELECT messages FROM service_totals WHERE service = 'web' AND plugin = 'echo'").c_str(),
                      "3");
  assert_string_equal(f.ask("SELECT messages FROM service_totals WHERE service = 'web' AND plugin = 'binary'").c_str(),
                      "10");
}

void a_callback_that_throws_takes_nothing_down(void** state) {
  StoreFixture& f = fixture_of(state);
  assert_string_equal(f.open().c_str(), "");
  f.store->flush([](const std::string&) { throw std::runtime_error("mine"); });
  f.store->flush(nullptr);
  assert_string_equal(f.flush().c_str(), "");
}

void names_of_any_kind_are_stored_as_they_are(void** state) {
  StoreFixture& f = fixture_of(state);
  assert_string_equal(f.open().c_str(), "");
  f.service("it's; DROP TABLE service")[CoreCounter::messages].add(1);
  f.store->add(EventRecord{.time_ms = 1, .kind = "k", .service = "", .client = "", .detail = std::string("a\0b", 3)});
  assert_string_equal(f.flush().c_str(), "");
  assert_string_equal(f.ask("SELECT service FROM service_totals").c_str(), "it's; DROP TABLE service");
  assert_string_equal(f.ask("SELECT hex(detail) FROM events").c_str(), "610062");
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      STORE_TEST(counters_reach_the_view),
      STORE_TEST(transfers_reach_the_view),
      STORE_TEST(what_was_counted_before_the_start_and_up_to_the_stop_is_there),
      STORE_TEST(an_interval_without_change_writes_nothing),
      STORE_TEST(it_flushes_by_itself),
      STORE_TEST(sessions_and_events_are_kept_up_to_their_bounds),
      STORE_TEST(any_thread_may_add),
      STORE_TEST(the_plugin_behind_a_name_may_change),
      STORE_TEST(a_callback_that_throws_takes_nothing_down),
      STORE_TEST(names_of_any_kind_are_stored_as_they_are),
  };
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
