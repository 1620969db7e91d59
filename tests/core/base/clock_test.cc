// Times beyond 2038 and 2106, where 32 bits end: signed, and unsigned.
#include "base/clock.h"
#include "base/file_status.h"

#include "support/temporary_folder.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>
#include <ctime>
#include <fstream>

#include "support/cmocka.h"  // last: it has a macro named fail

using namespace portolan;
using portolan::testing::TemporaryFolder;

namespace {

constexpr std::int64_t kLastOf31Bits = 2'147'483'647;
constexpr std::int64_t kLastOf32Bits = 4'294'967'295;

void assert_iso(std::int64_t unix_seconds, const char* expected) {
  assert_string_equal(iso_time(unix_seconds).c_str(), expected);
  if (unix_seconds > -62'000'000'000 && unix_seconds < 253'000'000'000) {
    assert_int_equal(unix_seconds_of(utc_time(unix_seconds)), unix_seconds);
  }
}

void dates_do_not_end_in_2038_nor_2106(void**) {
  assert_iso(0, "1970-01-01T00:00:00Z");
  assert_iso(1'700'049'600, "2023-11-15T12:00:00Z");
  assert_iso(kLastOf31Bits, "2038-01-19T03:14:07Z");
  assert_iso(kLastOf31Bits + 1, "2038-01-19T03:14:08Z");
  assert_iso(kLastOf32Bits, "2106-02-07T06:28:15Z");
  assert_iso(kLastOf32Bits + 1, "2106-02-07T06:28:16Z");
  assert_iso(4'300'000'000, "2106-04-06T12:26:40Z");
  assert_iso(4'107'542'399, "2100-02-28T23:59:59Z");
  assert_iso(4'107'542'400, "2100-03-01T00:00:00Z");  // no leap year
  assert_iso(951'782'400, "2000-02-29T00:00:00Z");
}

void dates_before_1970_and_at_the_ends(void**) {
  assert_iso(-1, "1969-12-31T23:59:59Z");
  assert_iso(-86'400, "1969-12-31T00:00:00Z");
  assert_iso(-2'147'483'649, "1901-12-13T20:45:51Z");
  assert_iso(INT64_MIN, "0000-01-01T00:00:00Z");
  assert_iso(INT64_MAX, "9999-12-31T23:59:59Z");
}

void local_time_is_that_of_the_zone(void**) {
  ::setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1);
  ::tzset();
  // 2106-04-06T12:26:40Z is in summer, 2106-02-07T06:28:16Z in winter.
  const CalendarTime summer = local_time(4'300'000'000);
  const CalendarTime winter = local_time(kLastOf32Bits + 1);
  assert_true((summer == CalendarTime{2106, 4, 6, 14, 26, 40}));
  assert_true((winter == CalendarTime{2106, 2, 7, 7, 28, 16}));
  ::setenv("TZ", "UTC", 1);
  ::tzset();
  assert_true(local_time(4'300'000'000) == utc_time(4'300'000'000));
}

void the_clocks_agree_with_the_systems(void**) {
  const std::int64_t before = unix_ms();
  const Duration monotonic = monotonic_now();
  assert_true(before > 1'600'000'000'000);
  assert_true(before < 253'402'300'800'000);
  assert_true(monotonic > Duration::zero());
  assert_true(monotonic_now() >= monotonic);
  assert_true(unix_ms() - before < 600'000);
  volatile std::uint64_t work = 0;
  const Duration spent = thread_time();
  while (thread_time() == spent) work = work + 1;
  assert_true(thread_time() > spent);
}

// A file whose times are after 2038: where time_t has 32 bits, stat fails for it.
bool touch(const std::string& path, std::int64_t unix_seconds) {
  struct {
    std::int64_t seconds;
    std::int64_t nanoseconds;
  } times[2] = {{unix_seconds, 5}, {unix_seconds, 5}};
#ifdef SYS_utimensat_time64
  return ::syscall(SYS_utimensat_time64, AT_FDCWD, path.c_str(), times, 0) == 0;
#else
  return ::syscall(SYS_utimensat, AT_FDCWD, path.c_str(), times, 0) == 0;
#endif
}

void a_file_of_2100_is_a_file(void**) {
  const TemporaryFolder folder;
  const std::string path = folder.write("late", "12345");
  for (const std::int64_t when : {kLastOf31Bits, kLastOf31Bits + 1, std::int64_t{4'102'444'800}}) {
    assert_true(touch(path, when));
    const auto found = file_status(path);
    assert_true(found.has_value());
    assert_int_equal(found->modified_seconds, when);
    assert_int_equal(found->modified_nanoseconds, 5);
    assert_int_equal(found->size, 5);
    assert_true(found->is_regular());
    const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    assert_true(descriptor >= 0);
    const auto opened = file_status(descriptor);
    ::close(descriptor);
    assert_true(opened && opened->same_file(*found));
    const auto link = link_status(path.c_str());
    assert_true(link && link->same_file(*found));
    assert_int_equal(opened->modified_seconds, when);
  }
}

void a_file_over_4_gib_has_its_size(void**) {
  const TemporaryFolder folder;
  const std::string path = folder.write("large", "");
  constexpr std::uint64_t kSize = (std::uint64_t{5} << 30U) + 3;  // a hole: it takes no space
  const int descriptor = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  assert_true(descriptor >= 0);
  if (::ftruncate(descriptor, static_cast<off_t>(kSize)) != 0) {
    ::close(descriptor);
    skip();  // a file system without such files
  }
  ::close(descriptor);
  const auto found = file_status(path);
  assert_true(found.has_value());
  assert_true(found->size == kSize);
  std::ifstream stream(path, std::ios::binary);
  assert_true(stream.is_open());
}

void what_is_not_there_has_no_status(void**) {
  errno = 0;
  assert_false(file_status("/nowhere/at/all").has_value());
  assert_int_equal(errno, ENOENT);
  assert_false(link_status("/nowhere/at/all").has_value());
  assert_false(file_status(-1).has_value());
  assert_int_equal(errno, EBADF);
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test(dates_do_not_end_in_2038_nor_2106), cmocka_unit_test(dates_before_1970_and_at_the_ends),
      cmocka_unit_test(local_time_is_that_of_the_zone),    cmocka_unit_test(the_clocks_agree_with_the_systems),
      cmocka_unit_test(a_file_of_2100_is_a_file),          cmocka_unit_test(a_file_over_4_gib_has_its_size),
      cmocka_unit_test(what_is_not_there_has_no_status),
  };
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
