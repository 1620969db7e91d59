#include "base/clock.h"

#include <fmt/format.h>

#include <sys/timerfd.h>

#include <ctime>

#include <algorithm>
#include <chrono>

namespace portolan {
namespace {

static_assert(sizeof(std::time_t) == 8, "compile this file with _TIME_BITS=64, as CMakeLists.txt does");
static_assert(sizeof(Duration::rep) == 8);

constexpr std::int64_t kDay = 86'400;
constexpr std::int64_t kFirst = -62'167'219'200;  // 0000-01-01T00:00:00Z
constexpr std::int64_t kLast = 253'402'300'799;   // 9999-12-31T23:59:59Z

Duration read_clock(clockid_t clock) noexcept {
  timespec time{};
  clock_gettime(clock, &time);
  return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

}  // namespace

std::int64_t unix_ms() noexcept { return to_ms(read_clock(CLOCK_REALTIME)); }
Duration monotonic_now() noexcept { return read_clock(CLOCK_MONOTONIC); }
Duration thread_time() noexcept { return read_clock(CLOCK_THREAD_CPUTIME_ID); }

CalendarTime utc_time(std::int64_t unix_seconds) noexcept {
  const std::int64_t seconds = std::clamp(unix_seconds, kFirst, kLast);
  std::int64_t days = seconds / kDay;
  std::int64_t rest = seconds % kDay;
  if (rest < 0) {
    rest += kDay;
    --days;
  }
  const std::chrono::year_month_day date(
      std::chrono::sys_days(std::chrono::days(static_cast<std::chrono::days::rep>(days))));
  return {.year = int{date.year()},
          .month = unsigned{date.month()},
          .day = unsigned{date.day()},
          .hour = static_cast<unsigned>(rest / 3600),
          .minute = static_cast<unsigned>(rest / 60 % 60),
          .second = static_cast<unsigned>(rest % 60)};
}

void set_kernel_timer(int descriptor, Duration delay) noexcept {
  itimerspec setting{};
  if (delay != Duration::max()) {
    const std::int64_t left = std::max<std::int64_t>(delay.count(), 1);  // 0 would disarm it
    setting.it_value.tv_sec = left / 1'000'000'000;
    setting.it_value.tv_nsec = static_cast<decltype(setting.it_value.tv_nsec)>(left % 1'000'000'000);
  }
  timerfd_settime(descriptor, 0, &setting, nullptr);
}

CalendarTime local_time(std::int64_t unix_seconds) noexcept {
  const std::time_t time = std::clamp(unix_seconds, kFirst, kLast);
  std::tm parts{};
  if (!localtime_r(&time, &parts)) return utc_time(unix_seconds);
  return {.year = std::int64_t{parts.tm_year} + 1900,
          .month = static_cast<unsigned>(parts.tm_mon + 1),
          .day = static_cast<unsigned>(parts.tm_mday),
          .hour = static_cast<unsigned>(parts.tm_hour),
          .minute = static_cast<unsigned>(parts.tm_min),
          .second = static_cast<unsigned>(parts.tm_sec)};
}

std::int64_t unix_seconds_of(const CalendarTime& utc) noexcept {
  const std::chrono::year_month_day date(std::chrono::year(static_cast<int>(utc.year)), std::chrono::month(utc.month),
                                         std::chrono::day(utc.day));
  const std::int64_t days = std::chrono::sys_days(date).time_since_epoch().count();
  return days * kDay + std::int64_t{utc.hour} * 3600 + std::int64_t{utc.minute} * 60 + utc.second;
}

std::string iso_time(std::int64_t unix_seconds) {
  const CalendarTime time = utc_time(unix_seconds);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", time.year, time.month, time.day, time.hour, time.minute,
                     time.second);
}

}  // namespace portolan
