// CUBIC (RFC 9438) with slow start that ends when the delay rises (HyStart++, RFC 9406, in its simplest form), paced at
// 1.25 windows a round trip. Any loss is congestion: one reduction for each round trip.
#include "rudp/congestion.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace portolan::rudp {

namespace {

constexpr double kBeta = 0.7;
constexpr double kC = 0.4;
constexpr std::uint64_t kInitialPackets = 10;
constexpr std::uint64_t kLeastPackets = 2;

double seconds(Duration time) noexcept { return std::chrono::duration<double>(time).count(); }

class Cubic final : public CongestionController {
 public:
  explicit Cubic(std::size_t datagram) noexcept
      : datagram_(datagram), window_(static_cast<double>(kInitialPackets * datagram)) {}

  void on_sent(Duration, std::size_t, std::uint64_t) noexcept override {}

  void on_event(const CongestionEvent& event) noexcept override {
    now_ = event.now;
    if (event.smoothed_rtt > Duration::zero()) rtt_ = event.smoothed_rtt;
    if (event.lost && event.newest_lost_sent_at > reduced_at_) return reduce(event.now);
    // What is not used does not grow (RFC 9438, section 4.1): there was more room than was taken.
    if (event.acknowledged && static_cast<double>(event.prior_in_flight) * 2 >= window_) grow(event);
  }

  void on_persistent_loss(Duration now) noexcept override {
    threshold_ = std::max(window_ * kBeta, least());
    window_ = least();
    most_ = 0;
    reduced_at_ = now;
  }
  void on_datagram_size(std::size_t bytes) noexcept override {
    window_ *= static_cast<double>(bytes) / static_cast<double>(datagram_);
    datagram_ = bytes;
  }

  double pacing_rate() const noexcept override {
    const double rtt = std::max(seconds(rtt_), 1e-4);
    return (window_ < threshold_ ? 2.0 : 1.25) * window_ / rtt;
  }
  std::uint64_t window() const noexcept override { return static_cast<std::uint64_t>(window_); }

 private:
  double least() const noexcept { return static_cast<double>(kLeastPackets * datagram_); }

  void reduce(Duration now) noexcept {
    reduced_at_ = now;
    // Fast convergence: a flow that has to give way gives more.
    most_ = window_ < most_ ? window_ * (1 + kBeta) / 2 : window_;
    window_ = std::max(window_ * kBeta, least());
    threshold_ = window_;
    epoch_ = now;
    friendly_ = window_;
    const double packets = (most_ - window_) / static_cast<double>(datagram_);
    k_ = std::cbrt(std::max(packets, 0.0) / kC);
  }

  void grow(const CongestionEvent& event) noexcept {
    const auto bytes = static_cast<double>(event.acknowledged);
    if (window_ < threshold_) {
      if (event.rtt > Duration::zero() && event.min_rtt > Duration::zero()) {
        const Duration rise =
            std::clamp<Duration>(event.min_rtt / 8, std::chrono::milliseconds(4), std::chrono::milliseconds(16));
        round_rtt_ = std::min(round_rtt_, event.rtt);
        if (event.round) {
          if (round_rtt_ != Duration::max() && round_rtt_ >= event.min_rtt + rise) threshold_ = window_;
          round_rtt_ = Duration::max();
        }
      }
      window_ += bytes;
      return;
    }
    if (epoch_ == Duration::zero()) {  // slow start ended without a loss
      epoch_ = event.now;
      most_ = friendly_ = window_;
      k_ = 0;
    }
    const double size = static_cast<double>(datagram_);
    const double time = seconds(event.now - epoch_) + seconds(rtt_);
    const double cubic = most_ + kC * std::pow(time - k_, 3) * size;
    // As much as Reno would have by now (section 4.3).
    friendly_ += 3 * (1 - kBeta) / (1 + kBeta) * size * bytes / window_;
    const double target = std::clamp(std::max(cubic, friendly_), window_, 1.5 * window_);
    window_ += (target - window_) * bytes / window_;
  }

  std::size_t datagram_;
  double window_;
  double threshold_ = std::numeric_limits<double>::infinity();
  double most_ = 0;      // the window before the last reduction
  double friendly_ = 0;  // what Reno would have
  double k_ = 0;         // seconds until the window is at most_ again
  Duration epoch_{};
  Duration reduced_at_ = Duration(-1);
  Duration now_{};
  Duration rtt_ = std::chrono::milliseconds(100);
  Duration round_rtt_ = Duration::max();
};

}  // namespace

std::unique_ptr<CongestionController> make_congestion_cubic(std::size_t datagram_size) {
  return std::make_unique<Cubic>(datagram_size);
}

}  // namespace portolan::rudp
