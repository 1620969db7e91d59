// The wall clock, for what people read, and plain milliseconds. Intervals are measured with Loop::now().
#pragma once

#include "plugin/descriptor.h"

#include <cstdint>
#include <ctime>

namespace portolan {

inline std::int64_t unix_ms() noexcept {
  timespec time{};
  clock_gettime(CLOCK_REALTIME, &time);
  return std::int64_t{time.tv_sec} * 1000 + time.tv_nsec / 1'000'000;
}

inline std::int64_t to_ms(Duration duration) noexcept {
  return std::chrono::duration_cast<std::chrono::milliseconds>(duration).count();
}

}  // namespace portolan
