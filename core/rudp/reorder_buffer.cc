#include "rudp/reorder_buffer.h"

#include "base/callback.h"

#include <algorithm>
#include <bit>

namespace portolan::rudp {

namespace {

// RFC 1982: how far `a` is ahead of `b`.
std::int32_t distance(std::uint32_t a, std::uint32_t b) noexcept { return static_cast<std::int32_t>(a - b); }

}  // namespace

ReorderBuffer::ReorderBuffer(Receiver& receiver, const Options& options)
    : receiver_(receiver),
      options_(options),
      slots_(std::bit_ceil(std::clamp<std::size_t>(options.window, 64, 1024))),
      next_(options.first) {
  options_.hold = std::clamp<Duration>(options.hold, Duration::zero(), std::chrono::hours(1));
  if (next_) highest_ = *next_ - 1;
}

std::uint32_t ReorderBuffer::index(std::uint32_t sequence) const noexcept {
  return sequence & (static_cast<std::uint32_t>(slots_.size()) - 1);
}

ReorderBuffer::Verdict ReorderBuffer::push(std::uint32_t sequence, std::span<const std::byte> data,
                                           Duration now) noexcept {
  if (data.size() > options_.max_datagram) {
    ++statistics_.too_long;
    return Verdict::too_long;
  }
  const auto window = static_cast<std::int32_t>(slots_.size());
  if (!next_) {
    next_ = sequence;
    highest_ = sequence - 1;
  }
  std::int32_t ahead = distance(sequence, *next_);
  if (ahead < -window || ahead > kMostAhead) {
    if (restart_ != sequence) {
      restart_ = sequence + 1;
      ++statistics_.far;
      return Verdict::far;
    }
    ++statistics_.restarts;
    flush();
    for (Slot& slot : slots_) slot.delivered = false;
    next_ = sequence;
    highest_ = sequence - 1;
    ahead = 0;
  }
  restart_.reset();
  Slot& slot = slots_[index(sequence)];
  if (ahead < 0 ? slot.delivered : slot.held && slot.sequence == sequence) {
    ++statistics_.duplicates;
    return Verdict::duplicate;
  }
  if (ahead < 0) {
    ++statistics_.late;
    return Verdict::late;
  }
  // The window reaches up to the newest: what falls out of it is delivered, or given up.
  while (distance(sequence, *next_) >= window) step();
  drain();
  const bool overtaken = distance(sequence, highest_) < 0;
  const bool at_once = sequence == *next_;
  if (!at_once && !hold(sequence, data, now)) return Verdict::no_memory;
  if (overtaken)
    ++statistics_.reordered;
  else
    highest_ = sequence;
  if (!at_once) return Verdict::held;
  deliver(data);
  drain();
  return Verdict::delivered;
}

bool ReorderBuffer::hold(std::uint32_t sequence, std::span<const std::byte> data, Duration now) noexcept {
  const std::uint32_t own = index(sequence);
  Slot& slot = slots_[own];
  if (!contain("putting datagrams in order", [&] { slot.data.assign(data.begin(), data.end()); })) return false;
  slot.since = now;
  slot.sequence = sequence;
  slot.held = true;
  slot.older = newest_;
  slot.newer = kNone;
  (newest_ == kNone ? oldest_ : slots_[newest_].newer) = own;
  newest_ = own;
  ++held_;
  return true;
}

void ReorderBuffer::unlink(Slot& slot) noexcept {
  (slot.older == kNone ? oldest_ : slots_[slot.older].newer) = slot.newer;
  (slot.newer == kNone ? newest_ : slots_[slot.newer].older) = slot.older;
  slot.held = false;
  --held_;
}

// The number that is expected.
void ReorderBuffer::deliver(std::span<const std::byte> data) noexcept {
  slots_[index(*next_)].delivered = true;
  ++statistics_.delivered;
  receiver_.in_order((*next_)++, data);
}

// The number that is expected is delivered if it is here, or given up.
void ReorderBuffer::step() noexcept {
  Slot& slot = slots_[index(*next_)];
  if (slot.held) {
    unlink(slot);
    return deliver(slot.data);
  }
  slot.delivered = false;
  ++statistics_.skipped;
  ++*next_;
}

void ReorderBuffer::drain() noexcept {
  while (slots_[index(*next_)].held) step();
}

Duration ReorderBuffer::deadline() const noexcept {
  return held_ > 0 ? slots_[oldest_].since + options_.hold : Duration::max();
}

void ReorderBuffer::advance(Duration now) noexcept {
  while (deadline() <= now) {
    for (const Slot& oldest = slots_[oldest_]; oldest.held;) step();
    drain();
  }
}

void ReorderBuffer::flush() noexcept {
  while (held_ > 0) step();
}

}  // namespace portolan::rudp
