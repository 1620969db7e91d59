// How much forward error correction a path needs: repairs for each block, by the measured loss, within a budget.
//
// The losses of a block are those of a Gilbert channel: a share of the packets is lost, in bursts of a mean length.
// Where losses are independent, that is the binomial distribution. The repairs are the fewest with which a block fails
// less often than the target. Blocks that failed all the same move the target, so that in the long run it is also met
// on a channel unlike the model. One connection owns it, on its worker's thread; plain arithmetic, remembered until the
// loss changes. It does not measure the loss, and sends nothing.
//
// Gilbert, "Capacity of a burst-noise channel", BSTJ 39, 1960.
#pragma once

#include "plugin/descriptor.h"
#include "rudp/reed_solomon.h"

#include <array>
#include <cstddef>
#include <cstdint>

namespace portolan::rudp {

class FecPolicy {
 public:
  struct Options {
    double failure = 1e-3;  // share of the blocks that may be left with packets that nothing recovers
    // Repairs for each protected packet, at most; rounded up in each block, so that the only packet of a block may have
    // one. 0: no repairs. For bulk: kBulkBudget.
    double budget = 0.5;
    Duration most_linger = std::chrono::milliseconds(10);
  };
  static constexpr double kBulkBudget = 0.1;

  FecPolicy() noexcept : FecPolicy(Options{}) {}
  explicit FecPolicy(const Options& options) noexcept;

  // Measured lately: the share of packets lost, and how many in a row a loss takes on average (up to 1: independent).
  void on_loss(double share, double mean_burst = 1) noexcept;
  // The smoothed round trip (0: not known), and how long the messages that are protected have (0: no deadline). Without
  // a deadline, repairs are for the end of a transfer, and never left out.
  void on_path(Duration rtt, Duration lifetime) noexcept;
  // What became of blocks that were sent with repairs, as far as the sender gets to know.
  void on_blocks(std::uint64_t recovered, std::uint64_t failed) noexcept;
  void set_budget(double budget) noexcept { options_.budget = budget; }

  // For a block of so many sources, at most kMostSources: 0 to kMostRepairs. 0 when a block fails rarely enough
  // without, and when there is time for sending again: the round trip is below a third of the lifetime.
  std::size_t repairs(std::size_t sources) noexcept;
  // Over how many blocks packets are dealt out in turns, against bursts: 1 to kMostInterleave.
  std::size_t interleave() const noexcept { return interleave_; }
  static constexpr std::size_t kMostInterleave = 4;
  // How long a block stays open after its first packet: a quarter of the round trip, at most Options::most_linger.
  Duration linger() const noexcept;

 private:
  std::size_t needed(std::size_t sources) const noexcept;
  void forget() noexcept;

  Options options_;
  double loss_ = 0;  // what was remembered is for these
  double burst_ = 1;
  double correction_ = 0;       // log2 of what the target is multiplied with: kLeastCorrection to 0
  double used_correction_ = 0;  // of what was remembered
  bool capped_ = false;         // the last block wanted more than it got
  std::size_t interleave_ = 1;
  Duration rtt_{};
  Duration lifetime_{};
  std::array<std::uint8_t, reed_solomon::kMostSources + 1> needed_;  // by sources; kUnknown
};

}  // namespace portolan::rudp
