// The two halves of a stream: what is sent until it is acknowledged, and what is received until it is read.
//
// They belong to their connection. What the peer may make them hold is bounded by the windows that it was given.
#pragma once

#include "rudp/byte_ring.h"
#include "rudp/options.h"
#include "rudp/range_set.h"

#include <optional>
#include <span>

namespace portolan::rudp {

class SendHalf {
 public:
  void append(std::span<const std::byte> data) {
    ring_.put(written_, data);
    written_ += data.size();
  }
  void finish() noexcept { finishing_ = true; }
  // Drops what is there; the RESET_STREAM frame says how far it had been sent.
  void reset(std::uint64_t code) noexcept;

  bool finishing() const noexcept { return finishing_; }
  const std::optional<std::uint64_t>& reset_code() const noexcept { return reset_code_; }
  std::uint64_t written() const noexcept { return written_; }
  std::uint64_t sent() const noexcept { return sent_; }
  std::uint64_t acknowledged() const noexcept { return ring_.begin(); }  // everything below
  // Written, and not acknowledged: what it holds in memory.
  std::uint64_t held() const noexcept { return written_ - ring_.begin(); }
  std::uint64_t unsent() const noexcept { return written_ - sent_; }
  bool lost_something() const noexcept { return !lost_.empty() || end_lost_; }
  // Besides what the peer's window allows.
  bool wants_to_send(std::uint64_t window) const noexcept {
    if (reset_code_) return false;
    return lost_something() || sent_ < std::min(written_, window) || (finishing_ && !end_sent_ && sent_ == written_);
  }
  // All of it and its end, or its reset, have been acknowledged.
  bool delivered() const noexcept { return reset_code_ ? reset_acknowledged_ : end_acknowledged_ && held() == 0; }

  struct Piece {
    std::uint64_t offset = 0;
    std::size_t length = 0;
    bool end = false;
    bool fresh = false;  // never sent before
  };
  // What to send next, at most `room` bytes and, of what is new, below `window`. Nothing: length 0 and no end.
  Piece next(std::size_t room, std::uint64_t window) const noexcept;
  // It was taken: `piece` as next gave it, perhaps shortened.
  void taken(const Piece& piece) noexcept;
  void copy(const Piece& piece, std::span<std::byte> out) const noexcept { ring_.copy_to(out, piece.offset); }

  // The fate of what was sent. How many bytes were newly acknowledged.
  std::uint64_t acknowledge(std::uint64_t offset, std::uint64_t length, bool end);
  void lose(std::uint64_t offset, std::uint64_t length, bool end);
  void acknowledge_reset() noexcept { reset_acknowledged_ = true; }
  // The oldest that was sent and is neither acknowledged nor known to be lost, at or behind `from`: for probes.
  Piece oldest_unacknowledged(std::uint64_t from, std::size_t room) const noexcept;

 private:
  ByteRing ring_;          // from the first byte that is not acknowledged
  RangeSet acknowledged_;  // behind it
  RangeSet lost_;
  std::uint64_t written_ = 0;
  std::uint64_t sent_ = 0;
  std::optional<std::uint64_t> reset_code_;
  bool finishing_ = false;
  bool end_sent_ = false;
  bool end_lost_ = false;
  bool end_acknowledged_ = false;
  bool reset_acknowledged_ = false;
};

class ReceiveHalf {
 public:
  enum class Outcome : std::uint8_t { fine, window, final_size, gaps };  // or which rule the peer broke
  static constexpr std::size_t kMostGaps = 10'000;
  // `fresh`: by how much the highest offset grew. `window` is the offset that it may send up to.
  Outcome receive(std::uint64_t offset, std::span<const std::byte> data, bool end, std::uint64_t window,
                  std::uint64_t& fresh);
  Outcome reset(std::uint64_t final_size, std::uint64_t window, std::uint64_t& fresh) noexcept;

  std::span<const std::byte> peek() const noexcept { return ring_.front(contiguous_); }
  std::uint64_t readable() const noexcept { return contiguous_ - ring_.begin(); }
  void consume(std::uint64_t bytes) noexcept { ring_.drop_below(ring_.begin() + bytes); }
  std::uint64_t consumed() const noexcept { return ring_.begin(); }
  std::uint64_t highest() const noexcept { return highest_; }
  bool all_received() const noexcept { return final_size_ && contiguous_ == *final_size_; }
  bool size_known() const noexcept { return final_size_.has_value(); }
  bool ended() const noexcept { return reset_ || stopped_ ? size_known() : all_received() && readable() == 0; }
  bool was_reset() const noexcept { return reset_; }
  // This side reads no more: what comes is counted and dropped.
  void stop() noexcept;
  bool stopped() const noexcept { return stopped_; }

 private:
  ByteRing ring_;    // from the first byte that was not consumed
  RangeSet beyond_;  // received, behind a gap
  std::uint64_t contiguous_ = 0;
  std::uint64_t highest_ = 0;
  std::optional<std::uint64_t> final_size_;
  bool reset_ = false;
  bool stopped_ = false;
};

}  // namespace portolan::rudp
