#include "rudp/congestion_model.h"

#include <algorithm>

namespace portolan::rudp {

namespace {

constexpr double kStartupGain = 2.885;  // 2/ln 2: the least that doubles the rate in each round
// Of the capacity that a train has shown: there doubling ends.
constexpr double kNearCapacity = 0.9;
constexpr double kInitialPackets = 32;
constexpr double kFirstTrain = 12;  // packets of the base size in one go: as many bytes as TCP sends (RFC 6928)
constexpr double kLeastPackets = 4;
constexpr double kMostRandomLoss = 0.35;
constexpr double kLossMemory = 400;  // packets over which random loss is averaged
constexpr Duration kRttMemory = std::chrono::seconds(10);
constexpr Duration kProbeRttTime = std::chrono::milliseconds(200);
constexpr double kFirstTrainTime = 0.0005;
constexpr double kProbeQueue = 0.010;  // seconds of queue that a probe may make

double seconds(Duration time) noexcept { return std::chrono::duration<double>(time).count(); }

}  // namespace

CongestionModel::CongestionModel(std::size_t datagram_size) noexcept : datagram_(static_cast<double>(datagram_size)) {}

Duration CongestionModel::queue() const noexcept {
  return last_round_rtt_ > min_rtt_ ? last_round_rtt_ - min_rtt_ : Duration::zero();
}

double CongestionModel::product() const noexcept { return rate_ * seconds(min_rtt_); }

double CongestionModel::queue_bound() const noexcept { return std::clamp(seconds(min_rtt_) / 4, 0.004, 0.015); }

std::uint32_t CongestionModel::random() noexcept {
  seed_ = seed_ * 1664525U + 1013904223U;
  return seed_ >> 16U;
}

double CongestionModel::first_rate() const noexcept {
  const double rtt = smoothed_rtt_ > Duration::zero() ? seconds(smoothed_rtt_) : 0.1;
  return kInitialPackets * datagram_ / std::max(rtt, 0.001);
}

double CongestionModel::pacing_rate() const noexcept {
  if (rate_ == 0) {
    if (sent_ < kFirstTrain * datagram_) return kFirstTrain * datagram_ / kFirstTrainTime;
    return kStartupGain * first_rate();
  }
  double rate = gain_ * rate_;
  if (mode_ == Mode::startup && capacity_ > 0) rate = std::min(rate, std::max(capacity_, rate_));
  return std::max(rate, datagram_);  // a packet a second at least
}

std::uint64_t CongestionModel::window() const noexcept {
  const double least = kLeastPackets * datagram_;
  double bytes = 0;
  if (rate_ == 0) {
    bytes = kInitialPackets * datagram_;
  } else if (mode_ == Mode::startup) {
    bytes = std::max(kStartupGain * product(), kInitialPackets * datagram_);
  } else if (mode_ == Mode::probe_rtt) {
    bytes = product() / 2;
  } else {
    // Beside the pipe: what acknowledgements are held back for, and the train that is being sent.
    bytes = 2 * product() + 3 * datagram_;
    if (cap_ > 0) bytes = std::min(bytes, cap_);
  }
  return static_cast<std::uint64_t>(std::max(bytes, least));
}

std::uint8_t CongestionModel::phase() const noexcept {
  switch (mode_) {
    case Mode::cruise: return 1;
    case Mode::down: return 2;
    case Mode::startup: return 3;
    default: return 0;
  }
}

void CongestionModel::on_sent(Duration, std::size_t bytes, std::uint64_t) noexcept {
  const double train = kFirstTrain * datagram_;
  if (sent_ < train && sent_ + static_cast<double>(bytes) >= train) train_round_ = round_;
  sent_ += static_cast<double>(bytes);
}

// Packets that left together and arrived apart: the bottleneck has spread them. From the first acknowledgement of a train on,
// and the largest of what its others say, so that one that was held back on its way says nothing.
void CongestionModel::sample_capacity(const CongestionEvent& event) noexcept {
  if (event.rtt <= Duration::zero() || event.newest_sent_offset < train_offset_) return;
  const Duration apart = event.now - train_arrived_at_;
  const Duration sent_apart = event.newest_sent_at - train_sent_at_;
  const auto bytes = static_cast<double>(event.newest_sent_offset - train_offset_);
  if (train_arrived_at_ == Duration::zero() || sent_apart >= apart / 4) {
    train_arrived_at_ = event.now;  // of another train, or of none
    train_sent_at_ = event.newest_sent_at;
    train_offset_ = event.newest_sent_offset;
  } else if (bytes >= kFirstTrain / 2 * datagram_) {
    capacity_ = std::max(capacity_, bytes / seconds(apart));
  }
}

void CongestionModel::on_persistent_loss(Duration now) noexcept {
  // The path may be another one by now: from half of what it was, as at the beginning.
  rate_ /= 2;
  round_rates_.fill(0);
  round_rates_[slot_ % kRounds] = rate_;
  startup_rate_ = rate_;
  startup_stalls_ = 0;
  startup_sent_ = startup_lost_ = 0;
  cap_ = 0;
  crowded_ = false;
  min_rtt_at_ = now;
  enter(Mode::startup, now);
}

void CongestionModel::on_event(const CongestionEvent& event) noexcept {
  sample_rtt(event);
  round_acknowledged_ += static_cast<double>(event.acknowledged);
  round_lost_ += static_cast<double>(event.lost);
  learn_random_loss(event);
  sample_rate(event);
  if (mode_ == Mode::startup) sample_capacity(event);
  if (event.round) end_round(event);
  if (mode_ == Mode::startup && (queue_builds_up() || (capacity_ > 0 && rate_ >= kNearCapacity * capacity_)))
    enter(Mode::drain, event.now);
  if (mode_ == Mode::drain && static_cast<double>(event.in_flight) <= product()) enter(Mode::cruise, event.now);
  if (mode_ == Mode::startup || rate_ == 0) gain_ = kStartupGain;
}

void CongestionModel::sample_rtt(const CongestionEvent& event) noexcept {
  smoothed_rtt_ = event.smoothed_rtt;
  if (event.rtt <= Duration::zero()) return;
  round_rtt_ = std::min(round_rtt_, event.rtt);
  recent_rtts_[recent_++ % recent_rtts_.size()] = event.rtt;
  if (min_rtt_ == Duration::zero() || event.rtt < min_rtt_) {
    min_rtt_ = event.rtt;
    min_rtt_at_ = event.now;
  } else if (event.rtt <= min_rtt_ + min_rtt_ / 32) {
    min_rtt_at_ = event.now;  // seen again
  }
}

// As HyStart++ has it (RFC 9406): even the shortest of the last round trips is longer than the path.
bool CongestionModel::queue_builds_up() const noexcept {
  // Not in the round trips of the first train, which queues behind itself.
  if (round_ < train_round_ + 2 || recent_ < recent_rtts_.size()) return false;
  const Duration rise = std::clamp<Duration>(min_rtt_ / 8, std::chrono::milliseconds(3), std::chrono::milliseconds(12));
  return std::ranges::min(recent_rtts_) > min_rtt_ + rise;
}

void CongestionModel::sample_rate(const CongestionEvent& event) noexcept {
  if (event.interval <= Duration::zero() || event.delivered_in_flight == 0) return;
  // Shorter than any round trip: acknowledgements that came in one go.
  if (event.interval < min_rtt_) return;
  const auto delivered = static_cast<double>(event.delivered_in_flight);
  const auto lost = static_cast<double>(event.lost_in_flight);
  const double random = std::min(lost / (delivered + lost), random_loss_);
  double rate = delivered / (1 - random) / seconds(event.interval);
  // Of one who had not enough to send: it would not even be a beginning, but that its train has shown what the path takes.
  if (event.app_limited && rate < std::max(rate_, first_rate())) {
    if (rate_ > 0 || capacity_ == 0) return;
    rate = std::min(first_rate(), capacity_);
  }
  double& best = round_rates_[slot_ % kRounds];
  best = std::max(best, rate);
  rate_ = std::max(rate_, best);
}

void CongestionModel::learn_random_loss(const CongestionEvent& event) noexcept {
  if (mode_ == Mode::startup) return;  // by whole rounds, in end_round
  const bool short_queue = seconds(queue()) < queue_bound();
  for (const std::size_t phase : {1U, 2U}) {
    if (phase == 1 && !short_queue) continue;
    const auto lost = static_cast<double>(event.lost_in[phase]);
    const double all = lost + static_cast<double>(event.acknowledged_in[phase]);
    if (all == 0) continue;
    random_loss_ += (lost - random_loss_ * all) / (kLossMemory * datagram_);
  }
  random_loss_ = std::clamp(random_loss_, 0.0, kMostRandomLoss);
}

void CongestionModel::forget_rates_before(std::size_t rounds) noexcept {
  for (std::size_t back = rounds; back < kRounds; ++back) round_rates_[(slot_ + kRounds - back) % kRounds] = 0;
  rate_ = std::ranges::max(round_rates_);
}

void CongestionModel::enter(Mode mode, Duration now) noexcept {
  mode_ = mode;
  entered_at_ = now;
  rounds_in_mode_ = 0;
  const double rtt = std::max(seconds(min_rtt_), 1e-4);
  switch (mode) {
    case Mode::startup: gain_ = kStartupGain; break;
    case Mode::drain: gain_ = 1 / kStartupGain; break;
    case Mode::cruise:
      gain_ = 1;
      cruise_rounds_ = 3 + random() % 4;
      break;
    case Mode::up:
      rate_before_up_ = rate_;
      if (up_gain_ == 0) up_gain_ = std::clamp(kProbeQueue / rtt, 0.05, 0.25);
      gain_ = 1 + up_gain_;
      break;
    case Mode::down: gain_ = 1 - std::clamp(seconds(queue()) / rtt, 0.1, crowded_ ? 0.25 : 0.5); break;
    case Mode::probe_rtt: gain_ = 1; break;
  }
}

void CongestionModel::end_round(const CongestionEvent& event) noexcept {
  const Duration now = event.now;
  if (round_rtt_ != Duration::max()) last_round_rtt_ = round_rtt_;
  round_rtt_ = Duration::max();
  ++rounds_in_mode_;
  const double lost = round_lost_;
  const double all = lost + round_acknowledged_;
  round_lost_ = round_acknowledged_ = 0;
  const double delay = seconds(queue());
  const bool long_queue = delay > queue_bound();
  const double excess = lost - random_loss_ * all;
  const bool congested = long_queue && excess > std::max(3 * datagram_, 0.02 * all);

  if (congested && mode_ != Mode::startup && mode_ != Mode::drain) {
    // What is under way by now may be little: what was lost was sent a round trip ago.
    cap_ = std::max(0.85 * static_cast<double>(event.prior_in_flight), product());
  } else if (cap_ > 0 && !congested) {
    // Beside others no faster than they do (RFC 5681, section 3.1): the queue is theirs as well.
    cap_ += mode_ == Mode::up ? cap_ / 8 : crowded_ ? datagram_ : cap_ / 32;
    if (cap_ > 2.5 * product()) cap_ = 0;
  }

  switch (mode_) {
    case Mode::startup: {
      const bool grows = rate_ >= 1.25 * startup_rate_;
      if (grows) {
        // What was lost before the path was full is random.
        startup_sent_ += all;
        startup_lost_ += lost;
        if (startup_sent_ > 30 * datagram_) random_loss_ = std::min(startup_lost_ / startup_sent_, kMostRandomLoss);
        startup_rate_ = rate_;
        startup_stalls_ = 0;
      } else if (!event.app_limited) {
        ++startup_stalls_;
      }
      if (startup_stalls_ >= 3) enter(Mode::drain, now);
      break;
    }
    case Mode::drain:
      if (rounds_in_mode_ >= 3) enter(Mode::cruise, now);
      break;
    case Mode::cruise:
      if (long_queue && !crowded_) {
        up_gain_ = 0;
        enter(Mode::down, now);
      } else if (rounds_in_mode_ >= cruise_rounds_) {
        up_gain_ = crowded_ ? 0.25 : 0;
        enter(Mode::up, now);
      }
      break;
    case Mode::up: enter(Mode::down, now); break;
    case Mode::down: {
      const bool drained = static_cast<double>(event.in_flight) <= product() * 1.02;
      if (!drained && rounds_in_mode_ < 3) break;
      // The queue of this round is the one that our draining has left.
      if (long_queue && rounds_in_mode_ >= 2) {
        if (++long_queues_ >= 3) crowded_ = true;
        if (!crowded_) {
          forget_rates_before(3);
          enter(Mode::down, now);
          break;
        }
      } else if (!long_queue) {
        long_queues_ = 0;
        crowded_ = false;
      } else {
        break;
      }
      const bool grew = up_gain_ > 0 && rate_ > rate_before_up_ * (1 + up_gain_ / 2);
      if (grew) {
        up_gain_ = std::min(2 * up_gain_, 1.0);
        enter(Mode::up, now);
      } else {
        enter(Mode::cruise, now);
      }
      break;
    }
    case Mode::probe_rtt:
      if (now - entered_at_ >= kProbeRttTime) {
        min_rtt_at_ = now;
        enter(Mode::cruise, now);
      }
      break;
  }
  if (mode_ != Mode::startup && mode_ != Mode::probe_rtt && now - min_rtt_at_ > kRttMemory) {
    min_rtt_ = last_round_rtt_ > Duration::zero() ? last_round_rtt_ : min_rtt_;
    enter(Mode::probe_rtt, now);
  }

  if (++round_ == train_round_ + 2) recent_ = 0;
  // A round in which there was not enough to send shows nothing, and so makes nothing forgotten.
  if (event.app_limited) return;
  round_rates_[++slot_ % kRounds] = 0;
  rate_ = std::ranges::max(round_rates_);
}

std::unique_ptr<CongestionController> make_congestion_model(std::size_t datagram_size) {
  return std::make_unique<CongestionModel>(datagram_size);
}

}  // namespace portolan::rudp
