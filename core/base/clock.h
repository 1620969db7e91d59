// Clocks and calendar times: the only place of ours that asks the system what time it is.
//
// Times are 64 bits everywhere, whatever the system's time_t is: armhf and armel of Debian 12 have one of 32 bits, which
// ends on 2038-01-19, and there the C library's usual functions (time, clock_gettime, gmtime_r, stat) fail from then on.
// So nothing else calls those, nor keeps a time_t, and no time_t crosses into a library: tests/meta/times_test.sh looks.
// Any thread. Nothing here fails.
#pragma once

#include "plugin/descriptor.h"

#include <cstdint>
#include <string>

namespace portolan {

// The wall clock, for what people read: milliseconds since 1970 (UTC, without leap seconds).
std::int64_t unix_ms() noexcept;
// CLOCK_MONOTONIC, for intervals.
Duration monotonic_now() noexcept;
// The processor time that the calling thread has used.
Duration thread_time() noexcept;

constexpr std::int64_t to_ms(Duration duration) noexcept {
  return std::chrono::duration_cast<std::chrono::milliseconds>(duration).count();
}

// Sets a timer of the kernel (timerfd) to expire once, so long from now; Duration::max(): never. What has expired before is
// forgotten.
void set_kernel_timer(int descriptor, Duration delay) noexcept;

struct CalendarTime {
  std::int64_t year = 0;
  unsigned month = 0;  // 1..12
  unsigned day = 0;    // 1..31
  unsigned hour = 0;
  unsigned minute = 0;
  unsigned second = 0;
  friend bool operator==(const CalendarTime&, const CalendarTime&) = default;
};

// Of seconds since 1970; what lies beyond the years 0 to 9999 (ISO 8601 has four digits) is their first or last second.
CalendarTime utc_time(std::int64_t unix_seconds) noexcept;
// In the time zone of the machine (TZ, /etc/localtime).
CalendarTime local_time(std::int64_t unix_seconds) noexcept;
// The way back: seconds since 1970 of a time in UTC.
std::int64_t unix_seconds_of(const CalendarTime& utc) noexcept;
// "2106-02-07T06:28:16Z"
std::string iso_time(std::int64_t unix_seconds);

}  // namespace portolan
