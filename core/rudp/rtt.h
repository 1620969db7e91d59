// The estimate of a path's round trip (RFC 9002, section 5), and how long to wait for an answer that does not come.
#pragma once

#include "plugin/descriptor.h"

#include <algorithm>

namespace portolan::rudp {

class RttEstimator {
 public:
  static constexpr Duration kInitial = std::chrono::milliseconds(100);
  static constexpr Duration kGranularity = std::chrono::milliseconds(1);

  bool known() const noexcept { return smoothed_ > Duration::zero(); }
  Duration latest() const noexcept { return latest_; }
  Duration smoothed() const noexcept { return known() ? smoothed_ : kInitial; }
  Duration min() const noexcept { return known() ? min_ : kInitial; }

  // `ack_delay` is what the peer says it has held the acknowledgement back.
  void update(Duration sample, Duration ack_delay) noexcept {
    if (sample <= Duration::zero()) return;
    latest_ = sample;
    if (!known()) {
      min_ = smoothed_ = sample;
      variation_ = sample / 2;
      return;
    }
    min_ = std::min(min_, sample);
    const Duration adjusted = sample - min_ >= ack_delay ? sample - ack_delay : sample;
    const Duration difference = smoothed_ > adjusted ? smoothed_ - adjusted : adjusted - smoothed_;
    variation_ = (3 * variation_ + difference) / 4;
    smoothed_ = (7 * smoothed_ + adjusted) / 8;
  }

  Duration probe_timeout(Duration max_ack_delay) const noexcept {
    if (!known()) return 3 * kInitial;
    return smoothed_ + std::max<Duration>(4 * variation_, kGranularity) + max_ack_delay;
  }
  // The path is another one now.
  void reset() noexcept { *this = RttEstimator{}; }

 private:
  Duration latest_{};
  Duration smoothed_{};
  Duration variation_{};
  Duration min_{};
};

}  // namespace portolan::rudp
