// The store in the years after 2038 and 2106, where 32 bits of seconds end: what goes in comes out, as numbers and as
// text, and what is past its time goes. The clock is the test's.
#include "base/clock.h"
#include "store/flusher.h"
#include "store/report.h"

#include <fmt/format.h>

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "store_fixture.h"  // last: cmocka has a macro named fail

using namespace portolan;
using namespace portolan::testing;

namespace {

constexpr std::int64_t kMinuteMs = 60'000;
constexpr std::int64_t kDayMs = 86'400'000;

struct Moment {
  std::int64_t ms;
  const char* minute;
  const char* second;
};
constexpr Moment kMoments[] = {
    {2'147'483'650'000, "2038-01-19T03:14:00Z", "2038-01-19T03:14:10.000Z"},  // 2 s after 31 bits
    {4'294'967'297'000, "2106-02-07T06:28:00Z", "2106-02-07T06:28:17.000Z"},  // 1 s after 32 bits
    {4'300'000'000'000, "2106-04-06T12:26:00Z", "2106-04-06T12:26:40.000Z"},
};

struct FutureFixture : StoreFixture {
  std::optional<Flusher> flusher;
  Inbox inbox{.records = {100, 100}, .values = {10, 1000}, .messages = {}};
  Retention retention;

  void open_flusher() {
    auto opened = Flusher::open(path);
    if (!opened) print_error("%s\n", opened.error().c_str());
    assert_true(opened.has_value());
    flusher = std::move(*opened);
  }
  void count(std::int64_t now_ms, std::uint64_t messages) {
    flusher->take(*registry, now_ms);  // the interval begins
    service()[CoreCounter::messages].add(messages);
    flusher->take(*registry, now_ms);
    inbox.records.add(SessionRecord{
        .id = static_cast<std::uint64_t>(now_ms), .service = "web", .started_ms = now_ms, .ended_ms = now_ms + 1500});
    inbox.records.add(EventRecord{.time_ms = now_ms, .kind = "test", .service = "web"});
    write(now_ms);
  }
  void write(std::int64_t now_ms, bool last = false) {
    const auto written = flusher->write(inbox, retention, now_ms, last);
    if (!written) print_error("%s\n", written.error().c_str());
    assert_true(written.has_value());
  }
};

int make_future(void** state) {
  auto* fixture = new FutureFixture();
  fixture->open_flusher();
  *state = fixture;
  return 0;
}
int end_future(void** state) {
  delete static_cast<FutureFixture*>(*state);
  return 0;
}
FutureFixture& future_of(void** state) { return *static_cast<FutureFixture*>(*state); }

void a_minute_comes_back_as_the_time_that_it_was(void** state) {
  FutureFixture& f = future_of(state);
  for (const Moment& moment : kMoments) {
    f.count(moment.ms, 7);
    const std::string start = std::to_string(moment.ms / kMinuteMs * 60);
    assert_string_equal(f.ask("SELECT time FROM service_minutes WHERE unix_time = " + start).c_str(), moment.minute);
    assert_string_equal(f.ask("SELECT messages FROM service_minutes WHERE unix_time = " + start).c_str(), "7");
    const std::string started = std::string("'") + moment.second + "'";
    assert_string_equal(f.ask("SELECT count(*) FROM sessions WHERE started = " + started).c_str(), "1");
    assert_string_equal(f.ask("SELECT count(*) FROM events WHERE time = " + started).c_str(), "1");

    const auto rows = read_report({f.path, "web", moment.ms / 1000 - 60, Grouping::minute});
    assert_true(rows.has_value());
    assert_int_equal(rows->size(), 1);
    assert_int_equal(rows->front().start, moment.ms / kMinuteMs * 60);
    assert_string_equal(iso_time(rows->front().start).c_str(), moment.minute);
  }
}

void what_is_past_its_time_goes_in_2106_too(void** state) {
  FutureFixture& f = future_of(state);
  f.retention = {.minutes = 86'400, .hours = 2 * 86'400, .days = 3 * 86'400};
  const std::int64_t begin = kMoments[2].ms;
  // A clock that moves on by hours is believed.
  for (std::int64_t now = begin; now < begin + 6 * kDayMs; now += kDayMs / 4) f.count(now, 5);
  const auto kept = [&](const std::string& condition) {
    return std::stoll(f.ask("SELECT count(*) FROM " + condition));
  };
  const std::int64_t first_day = begin + kDayMs;
  assert_int_equal(kept(fmt::format("service_period WHERE start < {}", first_day / 1000)), 0);
  assert_int_equal(kept(fmt::format("session WHERE ended_ms < {}", first_day)), 0);
  assert_int_equal(kept(fmt::format("event WHERE last_ms < {}", first_day)), 0);
  // And what is not, stays.
  const std::int64_t last_day = begin + 5 * kDayMs;
  assert_int_equal(kept(fmt::format("service_period WHERE resolution = 60 AND start >= {}", last_day / 60'000 * 60)),
                   4);
  assert_int_equal(kept(fmt::format("session WHERE ended_ms >= {}", last_day)), 4);
}

// Where time_t has 32 bits, SQLite's own stat would fail for such a file, and with it everything.
void a_file_that_was_written_in_2100_opens(void** state) {
  FutureFixture& f = future_of(state);
  f.count(kMoments[0].ms, 3);
  f.flusher.reset();
  f.registry = std::make_shared<StatsRegistry>();  // of the next process
  struct {
    std::int64_t seconds;
    std::int64_t nanoseconds;
  } const times[2] = {{4'102'444'800, 0}, {4'102'444'800, 0}};
#ifdef SYS_utimensat_time64
  constexpr long kCall = SYS_utimensat_time64;
#else
  constexpr long kCall = SYS_utimensat;
#endif
  assert_int_equal(::syscall(kCall, AT_FDCWD, f.path.c_str(), times, 0), 0);
  assert_int_equal(::syscall(kCall, AT_FDCWD, f.folder.path().c_str(), times, 0), 0);
  assert_string_equal(f.ask("SELECT sum(messages) FROM service_minutes").c_str(), "3");
  f.open_flusher();
  f.count(kMoments[0].ms + kMinuteMs, 4);
  assert_string_equal(f.ask("SELECT sum(messages) FROM service_minutes").c_str(), "7");
}

// More than 32 bits of anything counted.
void counters_have_64_bits(void** state) {
  FutureFixture& f = future_of(state);
  constexpr std::uint64_t kMany = (std::uint64_t{1} << 40U) + 1;
  f.service()[CoreCounter::bytes_in].add(kMany);
  f.service()[CoreCounter::bytes_in].add(kMany);
  f.service().latency.record(1000, kMany);
  f.service().open.add((std::uint64_t{1} << 33U));
  f.count(kMoments[1].ms, kMany);
  assert_string_equal(f.ask("SELECT sum(messages) FROM service_minutes").c_str(), "1099511627777");
  assert_string_equal(f.ask("SELECT sum(bytes_in) FROM service_minutes").c_str(), "2199023255554");
  assert_string_equal(f.ask("SELECT max(open_peak) FROM service_minutes").c_str(), "8589934592");
  const auto rows = read_report({f.path, "web", 0, Grouping::total});
  assert_true(rows.has_value() && rows->size() == 1);
  assert_true(rows->front().latency.count() == kMany);
}

}  // namespace

static_assert(sizeof(Counter{}.value()) == 8);
static_assert(sizeof(SessionRecord::started_ms) == 8 && sizeof(SessionRecord::bytes_in) == 8);
static_assert(sizeof(EventRecord::time_ms) == 8 && sizeof(ReportRow::start) == 8 && sizeof(Retention::days) == 8);
static_assert(sizeof(ServiceFigures::open_peak) == 8 && sizeof(PendingFigures::Minute) == 8);

#define FUTURE_TEST(function) cmocka_unit_test_setup_teardown(function, make_future, end_future)

int main() {
  const CMUnitTest tests[] = {
      FUTURE_TEST(a_minute_comes_back_as_the_time_that_it_was),
      FUTURE_TEST(what_is_past_its_time_goes_in_2106_too),
      FUTURE_TEST(a_file_that_was_written_in_2100_opens),
      FUTURE_TEST(counters_have_64_bits),
  };
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
