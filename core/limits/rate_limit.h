// A token bucket without a lock: one atomic number, the generic cell rate algorithm (ITU-T I.371, "theoretical
// arrival time"). Equal to a bucket that holds one second's worth of tokens, or another depth's, at least one.
//
// A RateLimit is a value (the rate); the bucket's state is the atomic that callers keep, shared between workers.
// A message may cost more than the bucket holds: it passes when there is a whole token, and the debt is paid by waiting.
#pragma once

#include "plugin/descriptor.h"

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace portolan {

using RateState = std::atomic<std::int64_t>;  // nanoseconds of the monotonic clock; 0: a full bucket

class RateLimit {
 public:
  RateLimit() = default;
  // 0 and less: no limit.
  explicit RateLimit(double per_second, Duration depth = std::chrono::seconds(1)) noexcept
      : interval_(per_second > 0 ? 1e9 / per_second : 0),
        allowance_(static_cast<std::int64_t>(
            interval_ * (std::max(per_second * std::chrono::duration<double>(depth).count(), 1.0) - 1))) {}

  bool limited() const noexcept { return interval_ > 0; }

  // How long until there is a token. Zero: there is one.
  Duration wait(const RateState& state, Duration now) const noexcept {
    return std::max(Duration(state.load(std::memory_order_relaxed) - allowance_) - now, Duration::zero());
  }

  // Takes `cost` tokens, or answers how long to wait until a token is there (then nothing is taken). Zero: taken.
  Duration take(RateState& state, Duration now, double cost) const noexcept {
    std::int64_t arrival = state.load(std::memory_order_relaxed);
    for (;;) {
      if (arrival - now.count() > allowance_) return Duration(arrival - now.count() - allowance_);
      if (state.compare_exchange_weak(arrival, after(arrival, now, cost), std::memory_order_relaxed))
        return Duration::zero();
    }
  }

  // Takes them in any case: what has happened already.
  void charge(RateState& state, Duration now, double cost) const noexcept {
    std::int64_t arrival = state.load(std::memory_order_relaxed);
    while (!state.compare_exchange_weak(arrival, after(arrival, now, cost), std::memory_order_relaxed)) {
    }
  }

  bool full(const RateState& state, Duration now) const noexcept {
    return state.load(std::memory_order_relaxed) <= now.count();
  }

  friend bool operator==(const RateLimit&, const RateLimit&) = default;

 private:
  std::int64_t after(std::int64_t arrival, Duration now, double cost) const noexcept {
    const double next = static_cast<double>(std::max(arrival, now.count())) + interval_ * cost;
    // A debt of over a century is as good as for ever, and keeps the sum inside 64 bits.
    return static_cast<std::int64_t>(std::min(next, 9e18));
  }

  double interval_ = 0;         // nanoseconds for one token
  std::int64_t allowance_ = 0;  // how far ahead of the clock the arrival may be: all tokens but one
};

}  // namespace portolan
