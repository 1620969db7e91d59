// What was counted and is not yet in the file: figures by minute and service, sums that outlive a broken disk.
//
// Owned by the store's thread. Plain values: no clock, no file.
#pragma once

#include "stats/service_stats.h"

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace portolan {

struct ServiceKey {
  std::string service;
  std::string plugin;
  friend auto operator<=>(const ServiceKey&, const ServiceKey&) = default;
};

// What one service did in a while.
struct ServiceFigures {
  std::array<std::uint64_t, kCoreCounterCount> core{};
  std::array<std::uint64_t, kRefusalCount> refusals{};
  std::map<std::string, std::uint64_t> plugin;
  HistogramSnapshot latency;       // nanoseconds
  HistogramSnapshot message_size;  // bytes
  std::uint64_t open_peak = 0;
  std::uint64_t open_last = 0;

  void add(const ServiceFigures& later);
};

class PendingFigures {
 public:
  using Minute = std::int64_t;  // Unix seconds, a multiple of 60
  using Services = std::map<ServiceKey, ServiceFigures>;

  // Adds what has come since the last call, under `minute`. What was taken stays here until clear: nothing is lost
  // by a write that fails, and nothing is counted twice.
  void take(const StatsRegistry& registry, Minute minute);
  bool empty() const noexcept { return minutes_.empty(); }
  const std::map<Minute, Services>& minutes() const noexcept { return minutes_; }
  void clear() noexcept { minutes_.clear(); }

  // When nothing can be written for longer than so many minutes, the newest of them takes in all that follows, so
  // that memory is bounded.
  static constexpr std::size_t kMaxMinutes = 30;

 private:
  std::map<const ServiceStats*, StatsSnapshot> taken_;  // a registry never lets go of a ServiceStats
  std::map<ServiceKey, std::uint64_t> open_;
  std::map<Minute, Services> minutes_;
  Minute last_minute_ = 0;
};

}  // namespace portolan
