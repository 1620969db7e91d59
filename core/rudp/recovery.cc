#include "rudp/recovery.h"

#include "rudp/frames.h"

#include <algorithm>

namespace portolan::rudp {

namespace {

constexpr double kLossMemory = 256;  // packets over which loss is averaged
// Between two probes: so soon an outage is known to be over. Two small packets hurt nobody.
constexpr Duration kMostWait = std::chrono::seconds(2);
constexpr unsigned kPersistent = 3;  // probe timeouts in a row after which the path is no longer believed in

}  // namespace

Recovery::Recovery(const ConnectionOptions& options, FrameOwner& owner)
    : owner_(owner), max_rate_(options.max_rate), congestion_(make_congestion_controller(options, kBaseDatagram)) {}

double Recovery::rate() const noexcept {
  const double rate = congestion_->pacing_rate();
  return max_rate_ > 0 ? std::min(rate, max_rate_) : rate;
}

void Recovery::on_handshake(Duration sample, Duration now) noexcept {
  rtt_.update(sample, Duration::zero());
  CongestionEvent event{.now = now, .rtt = sample, .min_rtt = rtt_.min(), .smoothed_rtt = rtt_.smoothed()};
  congestion_->on_event(event);
}

void Recovery::on_new_path(const ConnectionOptions& options, std::size_t datagram_size) {
  rtt_.reset();
  congestion_ = make_congestion_controller(options, datagram_size);
  probe_count_ = 0;
}

void Recovery::on_sent(const SentPacket& packet, bool counts, Duration now) {
  SentPacket& kept = sent_.push();
  kept = packet;
  kept.sent_at = now;
  if (!counts) {
    kept.state = SentPacket::State::other;
    ++uncounted_;
    return;
  }
  uncounted_ = 0;
  kept.state = SentPacket::State::in_flight;
  if (in_flight_ == 0) first_sent_at_ = delivered_at_ = now;
  kept.prior_sent = sent_bytes_;
  sent_bytes_ += kept.bytes;
  kept.prior_delivered = delivered_;
  kept.prior_lost = lost_bytes_;
  kept.prior_delivered_at = delivered_at_;
  kept.first_sent_at = first_sent_at_;
  kept.app_limited = app_limited_until_ > delivered_;
  kept.phase = congestion_->phase();
  in_flight_ += kept.bytes;
  ++counted_in_flight_;
  last_counted_sent_at_ = now;
  if (probes_ > 0) --probes_;
  pacer_.on_sent(kept.bytes, rate(), now);
  congestion_->on_sent(now, kept.bytes, in_flight_);
}

void Recovery::on_app_limited() noexcept {
  app_limited_until_ = delivered_ + in_flight_;
  for (app_limited_from_ = std::max(app_limited_from_, sent_.begin()); app_limited_from_ < sent_.end();
       ++app_limited_from_)
    sent_[app_limited_from_].app_limited = true;
}

bool Recovery::on_acknowledged(std::span<const Range> ranges, Duration ack_delay, Duration now) {
  CongestionEvent event{.now = now, .prior_in_flight = in_flight_};
  std::uint64_t newest = kNone;  // of those newly acknowledged, the one sent last
  bool spurious = false;
  for (const Range& range : ranges) {
    if (range.end > sent_.end()) return false;
    const std::uint64_t begin = std::max(range.begin, sent_.begin());
    // Most of it has been told before.
    acknowledged_.for_missing(begin, range.end, [&](std::uint64_t number, std::uint64_t end) {
      for (; number < end; ++number) {
        const SentPacket::State state = sent_[number].state;
        if (state == SentPacket::State::in_flight) {
          acknowledge(number, now, event, newest);
        } else if (state == SentPacket::State::lost) {
          note_spurious(number, now);
          spurious = true;
        }
      }
    });
    acknowledged_.add(begin, range.end);
  }
  if (!ranges.empty() && (largest_acknowledged_ == kNone || ranges.front().end - 1 > largest_acknowledged_))
    largest_acknowledged_ = ranges.front().end - 1;
  if (newest == kNone && !spurious) return true;
  if (newest != kNone) {
    const SentPacket& packet = sent_[newest];
    probe_count_ = 0;
    largest_sent_at_ = std::max(largest_sent_at_, packet.sent_at);
    // A round trip is measured by the newest packet that the frame names alone: the others waited for it.
    if (newest == ranges.front().end - 1) {
      event.rtt = now - packet.sent_at;
      rtt_.update(event.rtt, std::min(ack_delay, kMaxAckDelay));
      event.rtt -= std::min(ack_delay, event.rtt - std::min(event.rtt, rtt_.min()));
    }
    event.round = packet.prior_delivered >= round_ends_at_;
    if (event.round) round_ends_at_ = delivered_;
  }
  detect_losses(now, event);
  if (newest != kNone) {
    const SentPacket& packet = sent_[newest];
    event.delivered_in_flight = delivered_ - packet.prior_delivered;
    event.lost_in_flight = lost_bytes_ - std::min(lost_bytes_, packet.prior_lost);
    event.interval = std::max(packet.sent_at - packet.first_sent_at, now - packet.prior_delivered_at);
    event.app_limited = packet.app_limited;
    event.newest_sent_at = packet.sent_at;
    event.newest_sent_offset = packet.prior_sent;
    first_sent_at_ = packet.sent_at;
    if (event.interval > Duration::zero())
      delivery_rate_ =
          static_cast<double>(event.delivered_in_flight) / std::chrono::duration<double>(event.interval).count();
  }
  tell_congestion(event, now);
  forget_settled(now);
  return true;
}

void Recovery::acknowledge(std::uint64_t number, Duration now, CongestionEvent& event, std::uint64_t& newest) {
  SentPacket& packet = sent_[number];
  packet.state = SentPacket::State::acknowledged;
  in_flight_ -= packet.bytes;
  --counted_in_flight_;
  delivered_ += packet.bytes;
  delivered_at_ = now;
  event.acknowledged += packet.bytes;
  event.acknowledged_in[packet.phase] += packet.bytes;
  if (newest == kNone || number > newest) newest = number;
  note_fate(false);
  if (packet.mtu_probe) {
    owner_.on_mtu_probe(packet.bytes, true);
  } else if (packet.bytes > kBaseDatagram) {
    owner_.on_large_packet_fate(true);
  }
  if (!packet.delivered)
    for (std::size_t i = 0; i < packet.frame_count; ++i) owner_.on_frame_acknowledged(packet.frames[i]);
  packet.delivered = true;
}

void Recovery::note_spurious(std::uint64_t number, Duration now) noexcept {
  SentPacket& packet = sent_[number];
  packet.state = SentPacket::State::acknowledged;
  delivered_ += packet.bytes;
  delivered_at_ = now;
  lost_bytes_ -= std::min<std::uint64_t>(lost_bytes_, packet.bytes);
  ++packets_spurious_;
  congestion_->on_spurious_loss(packet.bytes);
  // Not what a probe was sent instead of, but what other packets overtook.
  reorders_ = true;
  reordering_seen_at_ = now;
  if (now - packet.sent_at < 2 * rtt_.smoothed()) reordering_quarters_ = std::min(reordering_quarters_ + 1, 4U);
  if (!packet.delivered)
    for (std::size_t i = 0; i < packet.frame_count; ++i) owner_.on_frame_acknowledged(packet.frames[i]);
  packet.delivered = true;
}

bool Recovery::on_recovered(std::span<const Range> ranges, Duration now) {
  CongestionEvent event{.now = now, .prior_in_flight = in_flight_};
  for (const Range& range : ranges) {
    if (range.end > sent_.end()) return false;
    const std::uint64_t begin = std::max(range.begin, sent_.begin());
    recovered_.for_missing(begin, range.end, [&](std::uint64_t number, std::uint64_t end) {
      for (; number < end; ++number) {
        SentPacket& packet = sent_[number];
        if (packet.delivered || packet.state == SentPacket::State::other) continue;
        packet.delivered = true;
        for (std::size_t i = 0; i < packet.frame_count; ++i) owner_.on_frame_acknowledged(packet.frames[i]);
        if (packet.state == SentPacket::State::in_flight) lose(number, event);
      }
    });
    recovered_.add(begin, range.end);
  }
  if (event.lost) tell_congestion(event, now);
  return true;
}

Duration Recovery::reordering_window() const noexcept {
  const Duration trip = std::max(rtt_.smoothed(), rtt_.latest());
  return std::max<Duration>(trip / 8 + reordering_quarters_ * (rtt_.min() / 4), RttEstimator::kGranularity);
}

void Recovery::detect_losses(Duration now, CongestionEvent& event) {
  loss_at_ = Duration::max();
  if (largest_acknowledged_ == kNone) return;
  if (reorders_ && now - reordering_seen_at_ > 16 * rtt_.smoothed()) {
    // Once in a while it is found out whether the path still does.
    if (reordering_quarters_ > 0) --reordering_quarters_;
    reorders_ = reordering_quarters_ > 0;
    reordering_seen_at_ = now;
  }
  const Duration wait = std::max(rtt_.smoothed(), rtt_.latest()) + reordering_window();
  undecided_ = std::max(undecided_, sent_.begin());
  for (; undecided_ < largest_acknowledged_; ++undecided_) {
    const SentPacket& packet = sent_[undecided_];
    if (packet.state != SentPacket::State::in_flight) continue;
    const bool overtaken = !reorders_ && largest_acknowledged_ - undecided_ >= kPacketThreshold;
    const Duration lost_at = packet.sent_at + wait;
    if (!overtaken && lost_at > now) {
      loss_at_ = lost_at;
      return;
    }
    lose(undecided_, event);
  }
}

void Recovery::lose(std::uint64_t number, CongestionEvent& event) {
  SentPacket& packet = sent_[number];
  packet.state = SentPacket::State::lost;
  in_flight_ -= packet.bytes;
  --counted_in_flight_;
  if (packet.mtu_probe) {  // says nothing about congestion
    owner_.on_mtu_probe(packet.bytes, false);
    return;
  }
  lost_bytes_ += packet.bytes;
  ++packets_lost_;
  event.lost += packet.bytes;
  event.lost_in[packet.phase] += packet.bytes;
  event.newest_lost_sent_at = packet.sent_at;
  note_fate(true);
  if (packet.bytes > kBaseDatagram) owner_.on_large_packet_fate(false);
  if (packet.delivered) return;
  for (std::size_t i = 0; i < packet.frame_count; ++i) owner_.on_frame_lost(packet.frames[i]);
}

void Recovery::note_fate(bool lost) noexcept {
  loss_ += ((lost ? 1.0 : 0.0) - loss_) / kLossMemory;
  if (lost) {
    ++run_;
  } else if (run_ > 0) {
    loss_burst_ += (run_ - loss_burst_) / 32;
    run_ = 0;
  }
}

void Recovery::tell_congestion(CongestionEvent& event, Duration now) noexcept {
  event.now = now;
  event.in_flight = in_flight_;
  event.min_rtt = rtt_.min();
  event.smoothed_rtt = rtt_.smoothed();
  congestion_->on_event(event);
}

void Recovery::forget_settled(Duration now) noexcept {
  // What was lost is remembered for a while: it may arrive after all.
  const Duration memory = 2 * rtt_.smoothed() + reordering_window();
  while (!sent_.empty()) {
    const SentPacket& oldest = sent_[sent_.begin()];
    if (oldest.state == SentPacket::State::in_flight) break;
    if (oldest.state == SentPacket::State::lost && now - oldest.sent_at < memory) break;
    // Not what was sent since the newest that was acknowledged: the number of a packet that asks for nothing counts, too.
    if (largest_acknowledged_ == kNone || sent_.begin() >= largest_acknowledged_) {
      if (oldest.state != SentPacket::State::other || counted_in_flight_ > 0) break;
    }
    sent_.pop();
  }
  acknowledged_.remove_below(sent_.begin());
  recovered_.remove_below(sent_.begin());
}

Duration Recovery::deadline() const noexcept {
  if (loss_at_ != Duration::max()) return loss_at_;
  if (counted_in_flight_ == 0 || probes_ > 0) return Duration::max();
  // The first probe does not wait for what the variation would allow (RFC 8985, section 7.2).
  const Duration first = probe_count_ == 0 ? std::min<Duration>(probe_timeout(), 2 * rtt_.smoothed() + kMaxAckDelay)
                                           : probe_timeout();
  return last_counted_sent_at_ +
         std::min<Duration>(first * (1LL << std::min(probe_count_, 10U)), std::max(first, kMostWait));
}

void Recovery::on_timeout(Duration now) {
  if (now < deadline()) return;
  if (loss_at_ != Duration::max()) {
    CongestionEvent event{.now = now, .prior_in_flight = in_flight_};
    detect_losses(now, event);
    if (event.lost) tell_congestion(event, now);
    return;
  }
  ++probe_count_;
  probes_ = 2;
  if (probe_count_ == kPersistent) congestion_->on_persistent_loss(now);
}

void Recovery::fill(ConnectionStatistics& statistics) const noexcept {
  statistics.smoothed_rtt = rtt_.smoothed();
  statistics.min_rtt = rtt_.min();
  statistics.latest_rtt = rtt_.latest();
  statistics.pacing_rate = rate();
  statistics.delivery_rate = delivery_rate_;
  statistics.loss = loss_;
  statistics.congestion_window = congestion_->window();
  statistics.bytes_in_flight = in_flight_;
  statistics.packets_lost = packets_lost_;
  statistics.packets_lost_spuriously = packets_spurious_;
}

}  // namespace portolan::rudp
