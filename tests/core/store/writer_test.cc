// Minutes, hours and days: sums that agree at every resolution, whatever the clock does and whatever has been pruned.
#include "store/database.h"
#include "store/report.h"
#include "store/writer.h"

#include <random>

#include "store_fixture.h"  // last: cmocka has a macro named fail

using namespace portolan;
using namespace portolan::testing;

namespace {

constexpr std::int64_t kNoon = 1'700'049'600;  // 2023-11-15T12:00:00Z

struct WriterFixture : StoreFixture {
  std::optional<Database> database;
  std::optional<Writer> writer;
  PendingFigures figures;
  Retention retention;

  void open_writer() {
    writer.reset();
    database.reset();
    auto opened = Database::open(path, Creation::allowed);
    assert_true(opened.has_value());
    database = std::move(*opened);
    // Thousands of transactions, and no power cut to fear.
    assert_true(database->connection().execute("PRAGMA synchronous = OFF").has_value());
    auto made = Writer::make(database->connection());
    assert_true(made.has_value());
    writer = std::move(*made);
  }
  // Counts `messages` in this minute and writes it; `now` is the minute, too, unless it is given.
  bool count(std::int64_t minute, std::uint64_t messages, std::int64_t now = -1) {
    if (messages > 0) {
      WorkerStats& web = service();
      web[CoreCounter::messages].add(messages);
      web.refuse(Refusal::idle_timeout);
      for (std::uint64_t i = 0; i < messages; ++i) web.latency.record(messages * 1000);
    }
    if (now < 0) now = minute;
    figures.take(*registry, minute);
    auto written = writer->write(figures, {}, now, now - now % 60, retention);
    if (!written) print_error("%s\n", written.error().message.c_str());
    assert_true(written.has_value());
    figures.clear();
    return *written;
  }
  std::int64_t sum(const std::string& view, const std::string& column = "messages") {
    return std::stoll("0" + ask("SELECT sum(" + column + ") FROM " + view));
  }
};

int make_writer(void** state) {
  auto* fixture = new WriterFixture();
  fixture->open_writer();
  *state = fixture;
  return 0;
}
int end_writer(void** state) {
  delete static_cast<WriterFixture*>(*state);
  return 0;
}
WriterFixture& writer_of(void** state) { return *static_cast<WriterFixture*>(*state); }

void a_minute_goes_into_its_hour_when_it_has_ended(void** state) {
  WriterFixture& f = writer_of(state);
  assert_true(f.count(kNoon, 5));
  assert_int_equal(f.sum("service_minutes"), 5);
  assert_int_equal(f.sum("service_hours"), 0);
  assert_int_equal(f.sum("service_totals"), 5);
  assert_true(f.count(kNoon + 60, 7));
  assert_int_equal(f.sum("service_hours"), 5);
  // Nothing new, but a minute to roll up; and then nothing at all.
  assert_true(f.count(kNoon + 120, 0));
  assert_false(f.count(kNoon + 180, 0));
  assert_false(f.count(kNoon + 86400, 0));
  assert_int_equal(f.sum("service_hours"), 12);
  assert_int_equal(f.sum("service_days"), 12);
  assert_int_equal(f.sum("service_totals"), 12);
  assert_int_equal(f.sum("refusals", "count"), 2);
  assert_string_equal(f.ask("SELECT time FROM service_hours").c_str(), "2023-11-15T12:00:00Z");
  assert_string_equal(f.ask("SELECT time FROM service_days").c_str(), "2023-11-15");
  // 5 of 5 us and 7 of 7 us: the histograms were merged.
  assert_string_equal(f.ask("SELECT latency_p50_us > 6.7 AND latency_p50_us < 7.3 FROM service_hours").c_str(), "1");
  assert_string_equal(
      f.ask("SELECT latency_p50_us > 4.8 AND latency_p50_us < 5.2 FROM service_minutes LIMIT 1").c_str(), "1");
}

void what_a_killed_process_left_is_rolled_up_by_the_next(void** state) {
  WriterFixture& f = writer_of(state);
  f.count(kNoon, 5);
  f.open_writer();
  assert_true(f.count(kNoon + 300, 0));
  assert_int_equal(f.sum("service_hours"), 5);
  f.open_writer();
  assert_false(f.count(kNoon + 360, 0));
  assert_int_equal(f.sum("service_hours"), 5);
}

void a_clock_that_jumps_loses_and_doubles_nothing(void** state) {
  WriterFixture& f = writer_of(state);
  constexpr std::int64_t kForever = 86400LL * 36500;
  f.retention = {.minutes = kForever, .hours = kForever, .days = kForever};
  std::mt19937 random(7);
  std::int64_t total = 0;
  std::int64_t minute = kNoon;
  for (int i = 0; i < 400; ++i) {
    switch (random() % 10) {
      case 0: minute -= 60 * static_cast<std::int64_t>(random() % 3000); break;  // back, by up to two days
      case 1: minute += 60 * static_cast<std::int64_t>(random() % 3000); break;
      case 2: f.open_writer(); break;
      default: minute += 60 * static_cast<std::int64_t>(random() % 3); break;
    }
    const std::uint64_t messages = random() % 4;
    total += static_cast<std::int64_t>(messages);
    f.count(minute, messages);
  }
  f.count(kNoon + 86400 * 3650, 1);
  f.count(kNoon + 86400 * 3650 + 60, 0);
  total += 1;
  assert_int_equal(f.sum("service_minutes"), total);
  assert_int_equal(f.sum("service_hours"), total);
  assert_int_equal(f.sum("service_days"), total);
  assert_int_equal(f.sum("service_totals"), total);
  assert_string_equal(f.ask("PRAGMA integrity_check").c_str(), "ok");
}

void pruning_keeps_the_totals(void** state) {
  WriterFixture& f = writer_of(state);
  f.retention = {.minutes = 2 * 3600, .hours = 2 * 86400, .days = 1000 * 86400};
  std::int64_t total = 0;
  std::int64_t now = kNoon;
  for (; now < kNoon + 6 * 86400; now += 420) {
    f.count(now - now % 60, 2);
    total += 2;
    if (now % 7 == 0) assert_int_equal(f.sum("service_totals"), total);
  }
  assert_int_equal(f.sum("service_totals"), total);
  assert_int_equal(f.sum("refusals", "count"), total / 2);
  assert_int_equal(std::stoll(f.ask("SELECT min(unix_time) FROM service_minutes")) >= now - 4 * 3600, 1);
  assert_int_equal(std::stoll(f.ask("SELECT min(unix_time) FROM service_hours")) >= now - 4 * 86400, 1);
  assert_int_equal(f.sum("service_days"), total - 2);  // all but the running minute
  assert_string_equal(f.ask("SELECT count(*) FROM service_period_counter WHERE resolution = 60 AND start <"
                            " (SELECT min(unix_time) FROM service_minutes)")
                          .c_str(),
                      "0");
  // The report sees the same, at every resolution that reaches so far back.
  for (const auto& [by, since] :
       {std::pair(Grouping::total, std::int64_t{0}), std::pair(Grouping::day, std::int64_t{0}),
        std::pair(Grouping::hour, now - 86400), std::pair(Grouping::minute, now - 3600)}) {
    const auto rows = read_report({f.path, "web", since, by});
    assert_true(rows.has_value());
    std::uint64_t messages = 0;
    std::uint64_t samples = 0;
    std::uint64_t refusals = 0;
    for (const ReportRow& row : *rows) {
      messages += row.core[static_cast<std::size_t>(CoreCounter::messages)];
      samples += row.latency.count();
      for (const auto& [reason, value] : row.refusals) refusals += value;
    }
    assert_int_equal(samples, messages);
    assert_int_equal(refusals * 2, messages);
    if (since == 0) assert_int_equal(messages, total);
    if (by == Grouping::minute) assert_in_range(messages, 2 * 3600 / 420 - 2, 2 * 3600 / 420 + 4);
    if (by == Grouping::hour) assert_in_range(messages, 2 * 86400 / 420 - 2, 2 * 90000 / 420 + 4);
  }
  // Days go as well, in the end, and with them the totals.
  f.retention.days = 86400;
  for (int i = 0; i < 5; ++i, now += 660) f.count(now - now % 60, 0 + 1);
  assert_true(f.sum("service_totals") < total);
  assert_true(f.sum("service_totals") > 0);
}

void old_records_go(void** state) {
  WriterFixture& f = writer_of(state);
  PendingRecords records;
  for (int i = 0; i < 1500; ++i) {
    SessionRecord session;
    session.ended_ms = (kNoon - (i < 1200 ? 100 : 1) * 86400LL) * 1000;
    records.sessions.push_back(session);
    records.events.push_back(
        {EventRecord{.time_ms = session.ended_ms, .kind = "k", .service = "", .client = "", .detail = ""},
         session.ended_ms});
  }
  assert_true(*f.writer->write({}, records, kNoon, kNoon, f.retention));
  assert_int_equal(f.sum("sessions", "1"), 1500);
  // A clock must have held for a while before anything is deleted on its word.
  f.count(kNoon + 300, 1);
  assert_int_equal(f.sum("sessions", "1"), 1500);
  f.count(kNoon + 900, 1);
  assert_int_equal(f.sum("sessions", "1"), 500);  // a batch
  f.count(kNoon + 960, 1);
  assert_int_equal(f.sum("sessions", "1"), 300);
  assert_int_equal(f.sum("events", "1"), 300);
  f.count(kNoon + 86400 * 3650, 1);  // ten years ahead: an error, surely
  assert_int_equal(f.sum("sessions", "1"), 300);
}

void a_write_that_fails_changes_nothing_and_can_be_repeated(void** state) {
  WriterFixture& f = writer_of(state);
  f.count(kNoon, 5);
  // A trigger fails the last statement of the transaction.
  auto& connection = f.database->connection();
  assert_true(connection.execute("CREATE TRIGGER no_events BEFORE INSERT ON event BEGIN SELECT raise(FAIL, 'no'); END")
                  .has_value());
  f.service()[CoreCounter::messages].add(3);
  f.figures.take(*f.registry, kNoon + 60);
  PendingRecords records;
  records.events.push_back({EventRecord{.time_ms = 1, .kind = "k", .service = "", .client = "", .detail = ""}, 1});
  for (int i = 0; i < 3; ++i) {
    assert_false(f.writer->write(f.figures, records, kNoon + 60, kNoon + 60, f.retention).has_value());
    assert_int_equal(f.sum("service_totals"), 5);
    assert_int_equal(f.sum("service_hours"), 0);
  }
  assert_true(connection.execute("DROP TRIGGER no_events").has_value());
  assert_true(*f.writer->write(f.figures, records, kNoon + 60, kNoon + 60, f.retention));
  f.figures.clear();
  assert_int_equal(f.sum("service_totals"), 8);
  assert_int_equal(f.sum("service_hours"), 5);
  assert_int_equal(f.sum("events", "count"), 1);
}

void pending_minutes_are_bounded(void** state) {
  WriterFixture& f = writer_of(state);
  WorkerStats& web = f.service();
  for (std::int64_t i = 0; i < 200; ++i) {
    web[CoreCounter::messages].add(1);
    web.open.add(1);
    f.figures.take(*f.registry, kNoon + 60 * i);
  }
  assert_int_equal(f.figures.minutes().size(), PendingFigures::kMaxMinutes);
  assert_true(*f.writer->write(f.figures, {}, kNoon + 60 * 200, kNoon + 60 * 200, f.retention));
  assert_int_equal(f.sum("service_totals"), 200);
  assert_string_equal(f.ask("SELECT open_peak || ' ' || open_last FROM service_days").c_str(), "200 200");
}

void the_columns_are_named_as_the_counters(void** state) {
  WriterFixture& f = writer_of(state);
  std::string names;
  for (const std::string_view name : kCoreCounterNames) names += (names.empty() ? "" : ",") + std::string(name);
  for (const char* view : {"service_minutes", "service_hours", "service_days"}) {
    assert_string_equal(f.ask(std::string("SELECT group_concat(name) FROM (SELECT name FROM pragma_table_info('") +
                              view + "') WHERE cid BETWEEN 4 AND 11 ORDER BY cid)")
                            .c_str(),
                        names.c_str());
  }
}

}  // namespace

#define WRITER_TEST(function) cmocka_unit_test_setup_teardown(function, make_writer, end_writer)

int main() {
  const CMUnitTest tests[] = {
      WRITER_TEST(a_minute_goes_into_its_hour_when_it_has_ended),
      WRITER_TEST(what_a_killed_process_left_is_rolled_up_by_the_next),
      WRITER_TEST(a_clock_that_jumps_loses_and_doubles_nothing),
      WRITER_TEST(pruning_keeps_the_totals),
      WRITER_TEST(old_records_go),
      WRITER_TEST(a_write_that_fails_changes_nothing_and_can_be_repeated),
      WRITER_TEST(pending_minutes_are_bounded),
      WRITER_TEST(the_columns_are_named_as_the_counters),
  };
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
