// How fast new bytes come, and how long the rest will take. A value; time is told.
//
// The rate is that of the last seconds, of new bytes alone: what a resumed transfer has already makes it no faster.
#pragma once

#include "plugin/descriptor.h"

#include <cstdint>
#include <deque>
#include <optional>
#include <string>

namespace portolan::transfer {

class ProgressMeter {
 public:
  // `new_bytes` since the beginning; never less than before.
  void note(std::uint64_t new_bytes, Duration now);
  double rate() const noexcept;  // bytes a second
  // Nothing while the rate says nothing.
  std::optional<Duration> time_for(std::uint64_t bytes) const noexcept;

 private:
  struct Sample {
    Duration at{};
    std::uint64_t bytes = 0;
  };
  std::deque<Sample> samples_;  // of the window, the oldest first
};

// "4.2 MiB/s", "0:07", "1:02:07": short, and of a width that does not jump.
std::string rate_text(double bytes_per_second);
std::string bytes_text(std::uint64_t bytes);
std::string time_text(Duration time);

}  // namespace portolan::transfer
