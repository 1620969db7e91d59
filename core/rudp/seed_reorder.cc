#include "rudp/seed_reorder.h"

#include <algorithm>
#include <bit>

namespace portolan::rudp {

namespace {

constexpr std::uint32_t kMostWindow = 16384;
constexpr std::size_t kOrdinary = 2048;                     // bytes of a packet
constexpr Duration kApart = std::chrono::milliseconds(40);  // less than any sender waits before it repeats itself

}  // namespace

std::uint32_t seed_hash(std::span<const std::byte> payload) noexcept {
  // Eight bytes at a time through a multiplication and a shift that brings its upper half down; the size goes in first.
  constexpr std::uint64_t kFactor = 0x9E3779B97F4A7C15U;
  std::uint64_t hash = (payload.size() + 1) * kFactor;
  for (std::size_t at = 0; at < payload.size(); at += 8) {
    std::uint64_t word = 0;
    const std::size_t size = std::min<std::size_t>(8, payload.size() - at);
    for (std::size_t i = 0; i < size; ++i) word |= std::to_integer<std::uint64_t>(payload[at + i]) << (8 * i);
    hash = (hash ^ word) * kFactor;
    hash ^= hash >> 32U;
  }
  return static_cast<std::uint32_t>(hash);
}

SeedReorder::SeedReorder(std::uint32_t window, std::size_t most_bytes)
    : window_(std::bit_ceil(std::clamp<std::uint32_t>(window, 1, kMostWindow))), most_bytes_(most_bytes) {}

void SeedReorder::start(std::uint32_t expected) {
  entries_.assign(2 * window_, {});
  payloads_ = {};
  expected_ = expected;
  ahead_ = 0;
  kept_bytes_ = 0;
}

SeedReorder::Place SeedReorder::place(std::uint32_t sequence, std::span<const std::byte> payload) const noexcept {
  const std::int32_t distance = seed_distance(expected_, sequence);
  const auto window = static_cast<std::int32_t>(window_);
  if (distance >= window || distance < -window) return Place::outside;
  const Entry& one = entry(sequence);
  switch (one.state) {
    case State::kept:
    case State::had: return one.hash == seed_hash(payload) ? Place::duplicate : Place::other;
    case State::skipped: return Place::given_up;
    case State::missing: break;
  }
  if (distance == 0) return Place::next;
  return distance > 0 ? Place::ahead : Place::behind;
}

void SeedReorder::had(std::uint32_t sequence, std::span<const std::byte> payload) noexcept {
  entry(sequence) = {seed_hash(payload), State::had};
  if (seed_distance(expected_, sequence) > 0) ++ahead_;
  if (sequence != expected_) return;
  step();
  step_over_had();
}

// The place that the last number of the window takes was that of the oldest that is remembered.
void SeedReorder::step() noexcept {
  entry(expected_ + window_) = {};
  ++expected_;
}

void SeedReorder::step_over_had() noexcept {
  for (; entry(expected_).state == State::had; step()) --ahead_;
}

bool SeedReorder::keep(std::uint32_t sequence, std::span<const std::byte> payload) {
  if (payload.size() > most_bytes_ - kept_bytes_) return false;
  if (payloads_.empty()) payloads_.resize(window_);
  payloads_[sequence & (window_ - 1)].assign(payload.begin(), payload.end());
  entry(sequence) = {seed_hash(payload), State::kept};
  kept_bytes_ += payload.size();
  ++ahead_;
  return true;
}

std::optional<std::span<const std::byte>> SeedReorder::take() noexcept {
  if (entries_.empty() || entry(expected_).state != State::kept) return std::nullopt;
  std::vector<std::byte>& payload = payloads_[expected_ & (window_ - 1)];
  std::span<const std::byte> taken = payload;
  if (payload.capacity() > kOrdinary) taken = taken_ = std::move(payload);  // a ring of the longest would be large
  entry(expected_).state = State::had;
  kept_bytes_ -= taken.size();
  --ahead_;
  step();
  step_over_had();
  return taken;
}

std::uint32_t SeedReorder::skip() noexcept {
  if (ahead_ == 0) return 0;
  std::uint32_t skipped = 0;
  for (; entry(expected_).state == State::missing; ++skipped) {
    entry(expected_).state = State::skipped;
    step();
  }
  step_over_had();
  return skipped;
}

bool SeedSuspicion::confirmed(const SeedPacket& packet, Duration now) noexcept {
  const std::uint32_t hash = seed_hash(packet.payload);
  if (seen_ && kind_ == packet.kind && sequence_ == packet.sequence && hash_ == hash) {
    if (now - at_ < kApart) return false;
    seen_ = false;
    return true;
  }
  seen_ = true;
  kind_ = packet.kind;
  sequence_ = packet.sequence;
  hash_ = hash;
  at_ = now;
  return false;
}

}  // namespace portolan::rudp
