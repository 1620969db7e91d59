#include "rudp/congestion.h"

#include <algorithm>

namespace portolan::rudp {

namespace {

// As fast as it was told to, whatever happens. What is under way is bounded by a round trip of it and a half.
class FixedRate final : public CongestionController {
 public:
  explicit FixedRate(double rate) noexcept : rate_(rate) {}

  void on_sent(Duration, std::size_t, std::uint64_t) noexcept override {}
  void on_event(const CongestionEvent& event) noexcept override {
    if (event.smoothed_rtt > Duration::zero()) rtt_ = event.smoothed_rtt;
  }
  void on_persistent_loss(Duration) noexcept override {}
  void on_datagram_size(std::size_t) noexcept override {}
  double pacing_rate() const noexcept override { return rate_; }
  std::uint64_t window() const noexcept override {
    const double seconds = std::chrono::duration<double>(rtt_).count() + 0.1;
    return static_cast<std::uint64_t>(std::max(2 * rate_ * seconds, 64.0 * 1024));
  }

 private:
  double rate_;
  Duration rtt_ = std::chrono::milliseconds(200);
};

}  // namespace

std::unique_ptr<CongestionController> make_congestion_fixed(double rate) { return std::make_unique<FixedRate>(rate); }

std::unique_ptr<CongestionController> make_congestion_controller(const ConnectionOptions& options,
                                                                 std::size_t datagram_size) {
  switch (options.congestion) {
    case Congestion::cubic: return make_congestion_cubic(datagram_size);
    case Congestion::fixed: return make_congestion_fixed(options.rate);
    case Congestion::model: break;
  }
  return make_congestion_model(datagram_size);
}

}  // namespace portolan::rudp
