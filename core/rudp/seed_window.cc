#include "rudp/seed_window.h"

#include "base/units.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

namespace portolan::rudp {

namespace {

constexpr std::uint32_t kFirstRing = 16;
constexpr std::uint32_t kMostWindow = 16384;
constexpr std::size_t kOrdinary = 2048;  // bytes of a packet; longer ones are freed once they are acknowledged
constexpr unsigned kSilentTimeouts = 3;  // then the peer may be gone, or another
constexpr unsigned kMostDoublings = 16;
constexpr unsigned kQuestionTimes = 3;  // without any answer
constexpr std::uint32_t kAskAgain = 8;  // times the acknowledgements after which it was asked the last time, up to
constexpr std::uint32_t kLastAsk = 512;
constexpr int kMostQuarters = 8;
constexpr std::uint32_t kCleanPackets = 1000;
constexpr Duration kBurst = std::chrono::milliseconds(2);  // what a late timer may catch up with
constexpr Duration kGranularity = std::chrono::milliseconds(1);

}  // namespace

std::string SeedSilence::text() const {
  const auto rounded = std::chrono::duration_cast<std::chrono::milliseconds>(waited);
  return fmt::format("the peer acknowledged nothing for {}; packet {} was sent {} times", format_duration(rounded),
                     sequence, transmissions);
}

SeedWindow::SeedWindow(SeedFormat format, const SeedSendOptions& options)
    : format_(format),
      options_(options),
      max_window_(std::bit_ceil(std::clamp<std::uint32_t>(options.max_window, 1, kMostWindow))),
      base_(options.first_sequence),
      unsent_(base_),
      next_(base_) {}

// ---- What is queued -------------------------------------------------------------------------------------------

std::span<std::byte> SeedWindow::prepare(std::size_t payload) {
  if (queued() == ring_.size()) {
    std::vector<Slot> larger(std::max<std::size_t>(ring_.size() * 2, std::min(kFirstRing, max_window_)));
    for (Slot& one : ring_) larger[one.sequence & (larger.size() - 1)] = std::move(one);
    ring_ = std::move(larger);
  }
  slot(next_).datagram.resize(kSeedHeader + payload);
  return std::span(slot(next_).datagram).subspan(kSeedHeader);
}

void SeedWindow::add(SeedKind kind, std::size_t payload) noexcept {
  Slot& one = slot(next_);
  one.datagram.resize(kSeedHeader + payload);
  write_seed_header(format_, kind, next_, one.datagram.data());
  one.sequence = next_++;
  one.state = State::unsent;
  one.transmissions = 0;
  queued_bytes_ += payload;
}

void SeedWindow::append(List& list, Slot& one) noexcept {
  one.before = list.last;
  one.after = std::nullopt;
  (list.last ? slot(*list.last).after : list.first) = one.sequence;
  list.last = one.sequence;
  ++list.size;
}

void SeedWindow::remove(List& list, Slot& one) noexcept {
  (one.before ? slot(*one.before).after : list.first) = one.after;
  (one.after ? slot(*one.after).before : list.last) = one.before;
  --list.size;
}

// ---- What comes back ------------------------------------------------------------------------------------------

void SeedWindow::receive(std::span<const std::byte> datagram, Duration now) noexcept {
  const std::optional<SeedPacket> packet = parse_seed(format_, datagram);
  if (silence_ || !packet || packet->kind != SeedKind::acknowledgement || ring_.empty()) {
    ++stats_.rejected;
    return;
  }
  if (asked_ever_ && packet->sequence == asked_of_ && on_answer(*packet, now)) return;
  Slot& one = slot(packet->sequence);
  if (one.sequence != packet->sequence || one.transmissions == 0) {
    ++stats_.rejected;
  } else if (one.state == State::acknowledged) {
    on_repeated_acknowledgement(one);
  } else {
    on_acknowledgement(one, now);
  }
}

void SeedWindow::on_acknowledgement(Slot& one, Duration now) noexcept {
  const Duration elapsed = now - one.sent;
  const bool certain = one.transmissions == 1;
  // What returns faster than light does not answer the last transmission (RFC 8985, section 6.2, step 2).
  const bool plausible = smoothed_ && elapsed >= rate_.least_round_trip();
  if (certain) {
    on_round_trip(elapsed);
    rate_.delivered(one.mark, elapsed, now);
    doublings_ = 0;
  } else {
    // Karn keeps the timeout doubled until a round trip was measured, for that may have become longer. But behind an
    // outage all that is in flight was sent more than once; what looks like the round trip that is known will be one.
    if (plausible && elapsed <= timeout(0)) doublings_ = 0;
    rate_.delivered_again(now);
  }
  if (one.state == State::lost) rack_.quarters = std::min(rack_.quarters + 1, kMostQuarters);
  if (one.order > rack_.order && (certain || plausible)) {
    rack_.order = one.order;
    rack_.round_trip = elapsed;
  }
  if (++rack_.clean >= kCleanPackets) {
    rack_.clean = 0;
    rack_.quarters = std::max(rack_.quarters - 1, 1);
  }
  remove(one.state == State::lost ? lost_ : in_flight_, one);
  one.state = State::acknowledged;
  queued_bytes_ -= one.datagram.size() - kSeedHeader;
  if (one.datagram.capacity() > kOrdinary) one.datagram = {};
  last_acknowledged_ = one.sequence;
  ++acknowledgements_;
  silent_timeouts_ = 0;
  timer_from_ = progress_ = now;
  while (base_ != unsent_ && slot(base_).state == State::acknowledged) ++base_;
  find_losses(now);
}

// Once more: both the packet and its repetition had arrived, when the network did not double it.
void SeedWindow::on_repeated_acknowledgement(Slot& one) noexcept {
  if (one.transmissions < 2) return;
  one.transmissions = 1;  // is not counted twice
  ++stats_.needless;
  rack_.clean = 0;
  rack_.quarters = std::min(rack_.quarters + 1, kMostQuarters);
}

void SeedWindow::on_round_trip(Duration sample) noexcept {
  if (!smoothed_) {
    smoothed_ = sample;
    variation_ = sample / 2;
    return;
  }
  variation_ = (3 * variation_ + std::chrono::abs(*smoothed_ - sample)) / 4;
  smoothed_ = (7 * *smoothed_ + sample) / 8;
}

// ---- What is lost ---------------------------------------------------------------------------------------------

Duration SeedWindow::reordering() const noexcept {
  return std::max(kGranularity,
                  std::min(rack_.quarters * rate_.least_round_trip() / 4, smoothed_.value_or(kGranularity)));
}

void SeedWindow::find_losses(Duration now) noexcept {
  rack_at_ = std::nullopt;
  while (in_flight_.first) {
    Slot& one = slot(*in_flight_.first);
    if (one.order >= rack_.order) return;
    const Duration at = one.sent + rack_.round_trip + reordering();
    if (at > now) {
      rack_at_ = at;
      return;
    }
    lose(one);
  }
}

void SeedWindow::lose(Slot& one) noexcept {
  remove(in_flight_, one);
  one.state = State::lost;
  append(lost_, one);
  rate_.lost();
}

Duration SeedWindow::timeout(unsigned doublings) const noexcept {
  const Duration once = smoothed_
                            ? std::max(options_.least_timeout, *smoothed_ + std::max(kGranularity, 4 * variation_))
                            : options_.first_timeout;
  const Duration most = std::max(options_.greatest_timeout, once);
  return once >= most / (1U << doublings) ? most : once * (1U << doublings);
}

std::optional<Duration> SeedWindow::timeout_at() const noexcept {
  if (!in_flight_.first) return std::nullopt;
  return std::max(slot(*in_flight_.first).sent, timer_from_) + timeout(doublings_);
}

void SeedWindow::on_timeout(Duration now) noexcept {
  ++stats_.timeouts;
  timer_from_ = now;
  doublings_ = std::min(doublings_ + 1, kMostDoublings);
  if (++silent_timeouts_ == kSilentTimeouts) fall_back();
  // A receiver without a buffer needs the lowest first, and any other is as well served with it.
  if (Slot& lowest = slot(base_); lowest.state == State::in_flight) lose(lowest);
  probe_ = true;
}

void SeedWindow::fall_back() noexcept {
  rate_.begin_again();
  if (peer_ == Peer::keeps || peer_ == Peer::plain) {
    peer_ = Peer::unknown;
    acknowledgements_ = 0;
    ask_at_ = 1;
  }
  in_flight_ = {};
  lost_ = {};
  for (std::uint32_t sequence = base_; sequence != unsent_; ++sequence) {
    Slot& one = slot(sequence);
    if (one.state == State::acknowledged) continue;
    one.state = State::lost;
    append(lost_, one);
  }
}

// ---- What leaves ----------------------------------------------------------------------------------------------

std::uint32_t SeedWindow::span() const noexcept {
  const std::uint32_t peers = peer_ == Peer::keeps ? offered_ : options_.window;
  return std::clamp<std::uint32_t>(peers, 1, max_window_);
}

std::uint32_t SeedWindow::window() const noexcept {
  if (silent_timeouts_ >= kSilentTimeouts) return 1;
  return std::min(span(), static_cast<std::uint32_t>(std::min<double>(rate_.window(), kMostWindow)));
}

std::span<const std::byte> SeedWindow::next_datagram(Duration now) {
  if (silence_) return {};
  if (unsent_ != base_ && now - progress_ >= options_.give_up_after) {
    silence_ = SeedSilence{base_, slot(base_).transmissions, now - progress_};
    return {};
  }
  if (rack_at_ && now >= *rack_at_) find_losses(now);
  if (const auto at = timeout_at(); at && now >= *at) on_timeout(now);
  if (peer_ == Peer::asked) {
    if (now < asked_at_ + timeout(asked_times_ - 1)) return {};
    if (asked_times_ < kQuestionTimes) return question(now);
    peer_ = Peer::plain;  // and does not even acknowledge a duplicate
  }
  if (std::exchange(probe_, false)) return transmit(slot(base_), now);
  if (may_ask()) {
    asked_times_ = 0;
    return question(now);
  }
  if (now < pace_at_) return {};
  if (may_send_lost()) return transmit(slot(window() == 1 ? base_ : *lost_.first), now);
  if (may_send_new()) return transmit(slot(unsent_), now);
  return {};
}

bool SeedWindow::may_send_new() const noexcept {
  return unsent_ != next_ && unsent_ - base_ < span() && in_flight_.size < window();
}

std::span<const std::byte> SeedWindow::transmit(Slot& one, Duration now) noexcept {
  if (one.state == State::unsent) {
    if (base_ == unsent_) progress_ = now;
    ++unsent_;
    ++stats_.packets;
  } else {
    remove(one.state == State::lost ? lost_ : in_flight_, one);
    ++stats_.retransmissions;
  }
  one.mark = rate_.sent(now, in_flight_.size == 0, unsent_ == next_ && lost_.size == 0);
  one.state = State::in_flight;
  one.sent = now;
  one.order = ++order_;
  ++one.transmissions;
  if (span() > 1) pace_at_ = std::max(pace_at_, now - kBurst) + rate_.interval();
  append(in_flight_, one);
  return one.datagram;
}

std::optional<Duration> SeedWindow::deadline() const noexcept {
  if (silence_) return std::nullopt;
  if (peer_ == Peer::asked) return asked_at_ + timeout(asked_times_ - 1);
  std::optional<Duration> at = timeout_at();
  if (!at) return std::nullopt;
  // Whatever may be sent was, but for its pace.
  if (may_send_lost() || may_send_new()) at = std::min(*at, pace_at_);
  if (rack_at_) at = std::min(*at, *rack_at_);
  return std::min(*at, progress_ + options_.give_up_after);
}

// ---- The question ---------------------------------------------------------------------------------------------

// Of use only when more is to be sent than the next packet; and only alone in flight.
bool SeedWindow::may_ask() const noexcept {
  return options_.ask && peer_ == Peer::unknown && acknowledgements_ >= ask_at_ && base_ == unsent_ && unsent() >= 2;
}

std::span<const std::byte> SeedWindow::question(Duration now) noexcept {
  write_seed_header(format_, SeedKind::data, last_acknowledged_, question_.data());
  std::memcpy(question_.data() + kSeedHeader, kSeedQuestion.data(), kSeedQuestion.size());
  peer_ = Peer::asked;
  asked_ever_ = true;
  asked_of_ = last_acknowledged_;
  asked_at_ = now;
  ++asked_times_;
  ++stats_.questions;
  return question_;
}

// An offer counts whenever it comes. Any other acknowledgement of the number may be a late one of the packet itself, so
// the peer is asked again some time later.
bool SeedWindow::on_answer(const SeedPacket& packet, Duration now) noexcept {
  if (const auto offer = packet.offer()) {
    if (peer_ == Peer::keeps) return true;
    peer_ = Peer::keeps;
    offered_ = *offer;
    rate_.begin_again();
    progress_ = now;
    return true;
  }
  if (peer_ != Peer::asked) return false;
  ask_at_ = acknowledgements_ * kAskAgain;
  peer_ = ask_at_ > kLastAsk ? Peer::plain : Peer::unknown;
  return true;
}

}  // namespace portolan::rudp
