#include "rudp/fec_policy.h"

#include <algorithm>
#include <cassert>
#include <cmath>

namespace portolan::rudp {

namespace {

using reed_solomon::kMostRepairs;
using reed_solomon::kMostSources;

constexpr std::uint8_t kUnknown = 0xff;
constexpr double kLeastCorrection = -10;
constexpr double kMostLoss = 0.9;

// How much of a packet's fate the next one shares: 0 when losses are independent, near 1 in long bursts.
double correlation(double loss, double burst) noexcept { return std::clamp(1 - 1 / (burst * (1 - loss)), 0.0, 0.99); }

}  // namespace

FecPolicy::FecPolicy(const Options& options) noexcept : options_(options) { forget(); }

void FecPolicy::forget() noexcept {
  needed_.fill(kUnknown);
  used_correction_ = correction_;
}

void FecPolicy::on_loss(double share, double mean_burst) noexcept {
  const auto near = [](double a, double b) { return std::abs(a - b) <= 0.03 * b; };
  share = std::clamp(share, 0.0, kMostLoss);
  mean_burst = std::clamp(mean_burst, 1.0, 100.0);
  if (near(share, loss_) && near(mean_burst, burst_)) return;
  loss_ = share;
  burst_ = mean_burst;
  // As many blocks as it takes for the packets of one to share little.
  const double length = 1 / (1 - correlation(loss_, burst_));
  interleave_ = std::min(static_cast<std::size_t>(std::lround(length)), kMostInterleave);
  forget();
}

void FecPolicy::on_path(Duration rtt, Duration lifetime) noexcept {
  rtt_ = rtt;
  lifetime_ = lifetime;
}

void FecPolicy::on_blocks(std::uint64_t recovered, std::uint64_t failed) noexcept {
  // A failure halves the target, and as many successes as there should be between two failures double it: it rests
  // where failures are as frequent as they may be. What the budget denied teaches nothing.
  const double step = options_.failure / (1 - options_.failure);
  correction_ += static_cast<double>(recovered) * step;
  if (!capped_) correction_ -= static_cast<double>(failed);
  correction_ = std::clamp(correction_, kLeastCorrection, 0.0);
  if (std::abs(correction_ - used_correction_) > 0.25) forget();
}

std::size_t FecPolicy::repairs(std::size_t sources) noexcept {
  assert(sources <= kMostSources);
  if (sources == 0 || (lifetime_ > Duration::zero() && rtt_ > Duration::zero() && rtt_ < lifetime_ / 3)) return 0;
  if (needed_[sources] == kUnknown) needed_[sources] = static_cast<std::uint8_t>(needed(sources));
  const double allowed = std::ceil(options_.budget * static_cast<double>(sources) - 1e-9);
  const std::size_t most = static_cast<std::size_t>(std::clamp(allowed, 0.0, static_cast<double>(kMostRepairs)));
  capped_ = needed_[sources] > most;
  return std::min<std::size_t>(needed_[sources], most);
}

std::size_t FecPolicy::needed(std::size_t sources) const noexcept {
  const double target = options_.failure * std::exp2(correction_);
  // From one packet of a block to its next, which are as far apart as blocks are interleaved.
  const double shared = std::pow(correlation(loss_, burst_), static_cast<double>(interleave_));
  const double lost_after_lost = loss_ + (1 - loss_) * shared;
  const double lost_after_received = loss_ * (1 - shared);
  // After n packets, how likely it is that so many of them were lost, and that the last one was received, or lost.
  std::array<double, kMostRepairs + 1> received{1 - loss_};
  std::array<double, kMostRepairs + 1> lost{0, loss_};
  for (std::size_t n = 1;; ++n) {
    if (n >= sources) {
      const std::size_t repairs = n - sources;
      double recovered = 0;
      for (std::size_t losses = 0; losses <= repairs; ++losses) recovered += received[losses] + lost[losses];
      if (repairs == kMostRepairs || 1 - recovered < target) return repairs;
    }
    for (std::size_t losses = kMostRepairs + 1; losses-- > 0;) {
      const double now_lost =
          losses == 0 ? 0 : received[losses - 1] * lost_after_received + lost[losses - 1] * lost_after_lost;
      received[losses] = received[losses] * (1 - lost_after_received) + lost[losses] * (1 - lost_after_lost);
      lost[losses] = now_lost;
    }
  }
}

Duration FecPolicy::linger() const noexcept {
  return rtt_ > Duration::zero() ? std::min(rtt_ / 4, options_.most_linger) : options_.most_linger;
}

}  // namespace portolan::rudp
