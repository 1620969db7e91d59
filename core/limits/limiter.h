// A rate under one of three algorithms, behind one interface. A value; the state is the caller's (LimitState: two
// atomics, of which the token bucket uses one), shared by any threads, and belongs to one Limiter: another reads
// something else in it.
//
// take(): takes `cost`, or answers how long to wait until it is worth asking again (then nothing is taken).
#pragma once

#include "rate_limit.h"
#include "window_limit.h"

namespace portolan {

enum class LimitAlgorithm : std::uint8_t {
  token_bucket,    // a rate, and `window` times it at once after a pause
  fixed_window,    // `window` times the rate in each window
  sliding_window,  // and in any stretch of time as long as a window, nearly
};

class Limiter {
 public:
  Limiter(LimitAlgorithm algorithm, double per_second, Duration window) noexcept
      : bucket_(algorithm == LimitAlgorithm::token_bucket ? RateLimit(per_second, window) : RateLimit()),
        window_(per_second, window, algorithm == LimitAlgorithm::sliding_window) {}

  Duration take(LimitState& state, Duration now, double cost) const noexcept {
    return bucket_.limited() ? bucket_.take(state[0], now, cost) : window_.take(state, now, cost);
  }
  // How long until take would answer zero.
  Duration wait(const LimitState& state, Duration now) const noexcept {
    return bucket_.limited() ? bucket_.wait(state[0], now) : window_.wait(state, now);
  }
  // Counts what has happened already.
  void charge(LimitState& state, Duration now, double cost) const noexcept {
    bucket_.limited() ? bucket_.charge(state[0], now, cost) : window_.charge(state, now, cost);
  }
  // Whether the state is as good as a fresh one: its owner may go.
  bool forgotten(const LimitState& state, Duration now) const noexcept {
    return bucket_.limited() ? bucket_.full(state[0], now) : window_.forgotten(state, now);
  }

  friend bool operator==(const Limiter&, const Limiter&) = default;

 private:
  RateLimit bucket_;  // not limited: `window_` counts
  WindowLimit window_;
};

}  // namespace portolan
