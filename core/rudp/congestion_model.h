// The default congestion controller: a model of the path (its rate, its round trip, its random loss) in BBR's family.
//
// What it takes from BBR (Cardwell et al., "BBR: congestion-based congestion control", ACM Queue 14(5), 2016; draft-ietf-ccwg-bbr):
// it paces at the measured rate of the bottleneck, probes above it from time to time, drains what the probe has queued, and
// bounds what is under way by the product of rate and round trip.
//
// What is its own is how it takes loss. BBR measures what arrives, so that with random loss p behind the bottleneck it sees
// (1-p) of the link, fills (1-p) of that, and so on down, until probing by 1/4 no longer makes up for it; and the binomial
// noise of what arrives makes the maximum of its samples too high. Here a sample counts what was lost in its flight as
// carried by the link, up to the share of loss that is believed to be random:
//
//     rate = delivered / (1 - min(lost / (lost + delivered), random loss)) / time
//
// which has no such noise: a flight with more loss than that gives a sample that is too low, and the maximum ignores it.
// The random loss is what is lost of packets that were sent at or below the measured rate while the queue was short. That
// alone would be a trap where loss is congestion without delay (a policer): sending 1/(1-p) too fast loses just p. So what
// is sent while probing *below* the rate counts as well: there a policer loses less, and the estimate falls, round by round,
// to what is random.
//
// It starts by doubling in each round, like all its kind; but the first twelve packets leave in one go, and how far apart their
// acknowledgements come tells what the bottleneck carries (the dispersion of a train: Dovrolis, Ramanathan and Moore, "What do
// packet dispersion techniques measure?", INFOCOM 2001). It is only taken as where doubling ends. That saves most of the
// overshoot; too low, it costs some rounds of probing, and too high it does nothing.
//
// Delay is the other signal. While the shortest round trip of a round is above the path's own by more than a bound, it sends
// less until the queue is gone. Where that does not help, somebody else keeps the queue full: then it holds its share by a
// bound on what is under way, which every round with more loss than random lowers.
#pragma once

#include "rudp/congestion.h"

namespace portolan::rudp {

class CongestionModel final : public CongestionController {
 public:
  explicit CongestionModel(std::size_t datagram_size) noexcept;

  void on_sent(Duration now, std::size_t bytes, std::uint64_t in_flight) noexcept override;
  void on_event(const CongestionEvent& event) noexcept override;
  void on_persistent_loss(Duration now) noexcept override;
  void on_datagram_size(std::size_t bytes) noexcept override { datagram_ = static_cast<double>(bytes); }

  double pacing_rate() const noexcept override;
  std::uint64_t window() const noexcept override;
  std::uint8_t phase() const noexcept override;

 private:
  enum class Mode : std::uint8_t { startup, drain, cruise, up, down, probe_rtt };
  static constexpr std::size_t kRounds = 10;

  Duration queue() const noexcept;  // delay of the last round over the path's own
  void sample_rtt(const CongestionEvent& event) noexcept;
  void sample_rate(const CongestionEvent& event) noexcept;
  void sample_capacity(const CongestionEvent& event) noexcept;
  void learn_random_loss(const CongestionEvent& event) noexcept;
  void end_round(const CongestionEvent& event) noexcept;
  void enter(Mode mode, Duration now) noexcept;
  void forget_rates_before(std::size_t rounds) noexcept;
  double first_rate() const noexcept;  // bytes a second, while nothing is known
  double product() const noexcept;     // bytes: rate times round trip
  bool queue_builds_up() const noexcept;
  double queue_bound() const noexcept;  // seconds
  std::uint32_t random() noexcept;

  Mode mode_ = Mode::startup;
  double datagram_;
  double rate_ = 0;
  std::array<double, kRounds> round_rates_{};  // the best sample of each of the last rounds
  std::uint64_t slot_ = 0;                     // of them, that of this round
  std::uint64_t round_ = 0;
  double random_loss_ = 0;
  double gain_ = 1;

  Duration min_rtt_{};
  Duration min_rtt_at_{};
  Duration round_rtt_ = Duration::max();  // shortest of this round
  Duration last_round_rtt_{};
  std::array<Duration, 8> recent_rtts_{};
  std::size_t recent_ = 0;
  Duration smoothed_rtt_{};

  Duration entered_at_{};
  unsigned rounds_in_mode_ = 0;
  unsigned cruise_rounds_ = 4;
  double rate_before_up_ = 0;
  double up_gain_ = 0;       // of the last probe, above 1
  double startup_rate_ = 0;  // that has to be exceeded
  unsigned startup_stalls_ = 0;
  double startup_sent_ = 0, startup_lost_ = 0;
  double sent_ = 0;                                    // bytes, of the first train
  std::uint64_t train_round_ = ~std::uint64_t{0} - 2;  // in which it was sent
  double capacity_ = 0;                                // by the dispersion of trains; 0: not known
  // Of a train: its first acknowledgement, and what that was for.
  Duration train_arrived_at_{};
  Duration train_sent_at_{};
  std::uint64_t train_offset_ = 0;

  double round_lost_ = 0, round_acknowledged_ = 0;
  double cap_ = 0;            // bytes under way, by losses in a full queue; 0: none
  unsigned long_queues_ = 0;  // in a row, though we had drained
  bool crowded_ = false;
  std::uint32_t seed_ = 0x9e3779b9U;
};

}  // namespace portolan::rudp
