// What sessions say about a backend: after failures in a row it is left out for a while, longer each time (outlier
// ejection as in Envoy: "Outlier detection", consecutive_gateway_failure).
//
// One for each backend, shared by all workers. Any thread; no lock. Whether a backend may be ejected at all depends on
// the others: eject is called by RelayState alone, under its lock.
#pragma once

#include "plugin/descriptor.h"

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace portolan::relay {

struct PassiveSettings {
  std::uint32_t failures = 5;  // in a row; 0: no ejection
  bool early_close = true;     // an end by the backend before its first byte is a failure, not only a failed dial
  Duration base = std::chrono::seconds(10);  // the n-th time it is base * 2^(n-1)
  Duration max = std::chrono::minutes(5);    // at most; and n falls by one for each `max` without an ejection
  std::uint32_t max_share = 50;              // percent of the backends that may be ejected at a time, at least one
  friend bool operator==(const PassiveSettings&, const PassiveSettings&) = default;
};

class Ejection {
 public:
  // True: it has failed often enough to be ejected.
  bool on_failure(const PassiveSettings& settings) noexcept {
    const std::uint32_t count = failures_.fetch_add(1, std::memory_order_relaxed) + 1;
    return settings.failures != 0 && count >= settings.failures;
  }
  void on_success() noexcept {
    if (failures_.load(std::memory_order_relaxed) != 0) failures_.store(0, std::memory_order_relaxed);
  }

  bool ejected(Duration now) const noexcept { return now.count() < until_.load(std::memory_order_relaxed); }
  // When it ends, or has ended; 0: there was none.
  Duration until() const noexcept { return Duration(until_.load(std::memory_order_relaxed)); }
  std::uint32_t failures() const noexcept { return failures_.load(std::memory_order_relaxed); }
  std::uint64_t count() const noexcept { return count_.load(std::memory_order_relaxed); }

  // Answers for how long.
  Duration eject(const PassiveSettings& settings, Duration now) noexcept {
    if (settings.max > Duration::zero() && level_ > 0) {
      const auto calm = static_cast<std::uint64_t>(std::max(now - until(), Duration::zero()) / settings.max);
      level_ -= static_cast<std::uint32_t>(std::min<std::uint64_t>(calm, level_));
    }
    Duration time = settings.base;
    for (std::uint32_t n = 0; n < level_ && time < settings.max; ++n) time *= 2;
    time = std::min(time, settings.max);
    if (level_ < kMaxLevel) ++level_;
    failures_.store(0, std::memory_order_relaxed);
    count_.fetch_add(1, std::memory_order_relaxed);
    until_.store((now + time).count(), std::memory_order_relaxed);
    announced_.store(false, std::memory_order_relaxed);
    return time;
  }
  // True once for each ejection, when it is over: for the event.
  bool returned(Duration now) noexcept {
    return !ejected(now) && !announced_.exchange(true, std::memory_order_relaxed);
  }

 private:
  static constexpr std::uint32_t kMaxLevel = 32;

  std::atomic<std::uint32_t> failures_{0};
  std::atomic<std::int64_t> until_{0};  // nanoseconds of the monotonic clock
  std::atomic<std::uint64_t> count_{0};
  std::atomic<bool> announced_{true};
  std::uint32_t level_ = 0;  // of eject alone
};

}  // namespace portolan::relay
