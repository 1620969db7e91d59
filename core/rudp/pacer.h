// When the next packet may leave, so that packets are spread over a round trip instead of sent in bursts.
//
// Time that was missed (a timer that came late) is made up for, up to a bound.
#pragma once

#include "plugin/descriptor.h"

#include <algorithm>
#include <cstddef>

namespace portolan::rudp {

class Pacer {
 public:
  static constexpr Duration kTrain = std::chrono::milliseconds(1);   // of the rate in one go
  static constexpr Duration kMissed = std::chrono::milliseconds(4);  // that is made up for

  Duration next() const noexcept { return next_; }

  void on_sent(std::size_t bytes, double rate, Duration now) noexcept {
    const Duration cost(static_cast<Duration::rep>(static_cast<double>(bytes) / rate * 1e9));
    next_ = std::max(next_, now - kMissed) + cost;
  }

  // What is due by now and within the next train. At low rates two packets, so that timers are not one for each.
  std::size_t train_bytes(double rate, Duration now) const noexcept {
    const Duration credit = std::clamp<Duration>(now - next_, Duration::zero(), kMissed) + kTrain;
    const double bytes = rate * std::chrono::duration<double>(credit).count();
    return std::max<std::size_t>(static_cast<std::size_t>(bytes), kLeastTrain);
  }

 private:
  static constexpr std::size_t kLeastTrain = 2 * 1500;
  Duration next_{};
};

}  // namespace portolan::rudp
