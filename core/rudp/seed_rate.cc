#include "rudp/seed_rate.h"

#include <algorithm>

namespace portolan::rudp {

namespace {

constexpr double kStartGain = 2;
constexpr double kGain = 1.25;
constexpr double kSpare = 4;  // packets: small windows would stay small by rounding
constexpr int kFlatRounds = 3;
constexpr double kGreatestOwnLoss = 0.3;
constexpr Duration kLeastLasts = std::chrono::seconds(10);

}  // namespace

SeedRate::Mark SeedRate::sent(Duration now, bool nothing_in_flight, bool starved) noexcept {
  if (nothing_in_flight) delivered_at_ = now;  // the pause does not count
  return {.delivered = delivered_, .at = delivered_at_, .starved = starved};
}

void SeedRate::delivered(const Mark& mark, Duration round_trip, Duration now) noexcept {
  if (least_ == Duration::zero() || round_trip <= least_) {
    least_ = std::max(round_trip, Duration(1));
    least_at_ = now;
  }
  if (drain_rounds_ > 0) drained_least_ = std::min(drained_least_, std::max(round_trip, Duration(1)));
  ++delivered_;
  delivered_at_ = now;
  const double elapsed = std::chrono::duration<double>(std::max(now - mark.at, round_trip)).count();
  const double rate = static_cast<double>(delivered_ - mark.delivered) / std::max(elapsed, 1e-6);
  if (!mark.starved || rate > std::ranges::max(rates_)) rates_[round_] = std::max(rates_[round_], rate);
  if (!mark.starved) round_starved_ = false;
  if (starting_ && !mark.starved) window_ = std::min(window_ + 1, std::max(kFirst, kStartGain * path(rates_[round_])));
  if (mark.delivered >= round_end_) end_round(now);
}

void SeedRate::delivered_again(Duration now) noexcept {
  ++delivered_;
  delivered_at_ = now;
}

double SeedRate::path(double rate) const noexcept {
  return rate * std::chrono::duration<double>(least_).count() / (1 - own_loss_) + kSpare;
}

void SeedRate::end_round(Duration now) noexcept {
  const double rate = std::ranges::max(rates_);
  const auto arrived = static_cast<double>(delivered_ - round_began_);
  const double loss = static_cast<double>(round_lost_) / std::max(arrived + static_cast<double>(round_lost_), 1.0);
  const bool grew = rate >= 1.25 * reached_;
  if (!round_starved_) {
    if ((starting_ && grew) || drain_rounds_ == 1) own_loss_ = std::min((own_loss_ + loss) / 2, kGreatestOwnLoss);
    if (grew) reached_ = rate;
    flat_rounds_ = grew ? 0 : flat_rounds_ + 1;
    if (flat_rounds_ >= kFlatRounds) starting_ = false;
    if (rate < reached_ / 2) {  // slower, or of more loss than was allowed for: look again
      starting_ = true;
      reached_ = rate;
      flat_rounds_ = 0;
    }
  }
  if (drain_rounds_ > 0 && --drain_rounds_ == 0) {
    least_ = drained_least_;
    least_at_ = now;
  } else if (drain_rounds_ == 0 && now - least_at_ > kLeastLasts) {
    drain_rounds_ = 2;
    drained_least_ = Duration::max();
  }
  if (drain_rounds_ > 0) {
    window_ = std::max(kSpare, path(rate) / 2);
  } else if (!starting_) {
    window_ = kGain * path(rate);
  }
  round_began_ = round_end_ = delivered_;
  round_lost_ = 0;
  round_starved_ = true;
  round_ = (round_ + 1) % kRounds;
  rates_[round_] = 0;
}

// Never less than a first window in a round trip: what a sender with little to send is seen to deliver is no rate.
Duration SeedRate::interval() const noexcept {
  const double rate = std::ranges::max(rates_) * (starting_ ? kStartGain : kGain) / (1 - own_loss_);
  if (rate <= 0) return Duration::zero();
  return std::min(std::chrono::duration_cast<Duration>(std::chrono::duration<double>(std::min(1 / rate, 1.0))),
                  least_ / static_cast<int>(kFirst));
}

void SeedRate::begin_again() noexcept {
  window_ = kFirst;
  starting_ = true;
  flat_rounds_ = drain_rounds_ = 0;
  reached_ = 0;
  own_loss_ = 0;
  round_began_ = round_end_ = delivered_;
  round_lost_ = 0;
  round_starved_ = true;
  rates_ = {};
}

}  // namespace portolan::rudp
