// What a connection has received, and when it says so (RFC 9000, section 13.2).
//
// The ranges that an acknowledgement names are the newest 64: each packet is named in many, so that none of them matters.
// What asks for one gets it with every tenth packet (the second, at first), a moment after a gap shows, and after 5 ms at
// the latest. Whether a packet came before is told by ReplayWindow.
#pragma once

#include "rudp/frames.h"
#include "rudp/range_set.h"
#include "rudp/recovery.h"
#include "rudp/wire.h"

#include <algorithm>

namespace portolan::rudp {

class Acknowledger {
 public:
  static constexpr std::size_t kMostRanges = 64;
  static constexpr std::size_t kLargestFrame = 1 + 8 + 8 + 2 + kMostRanges * 8;

  void on_packet(std::uint64_t number, bool counts, Duration now) {
    const bool next = received_.empty() || number == received_.back().end;
    if (received_.empty() || number >= received_.back().end) newest_at_ = now;
    received_.add(number, number + 1);
    if (received_.count() > kMostRanges) received_.remove_front();
    if (!counts) return;
    ++packets_;
    ++waiting_;
    if (waiting_ >= (packets_ < kEarly ? 2U : kEvery)) {
      due_at_ = now;
    } else {
      due_at_ = std::min(due_at_, now + (next ? Recovery::kMaxAckDelay : kGapDelay));
    }
  }
  // This packet was made from repairs: its sender need not send it again.
  void on_recovered(std::uint64_t number, Duration now) {
    recovered_.add(number, number + 1);
    if (recovered_.count() > kMostRanges) recovered_.remove_front();
    recovered_to_tell_ = kTellRecovered;
    due_at_ = now;
  }

  bool due(Duration now) const noexcept { return due_at_ <= now; }
  // A packet that leaves anyway takes it along.
  bool waits() const noexcept { return waiting_ > 0 || recovered_to_tell_ > 0; }
  Duration deadline() const noexcept { return due_at_; }

  // ACK, and RECOVERED where there is something to tell, as far as there is room.
  void write(Writer& out, Duration now) {
    if (received_.empty()) return;
    const auto delay =
        static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(now - newest_at_).count());
    if (!put(out, FrameType::ack, received_, delay)) return;
    waiting_ = 0;
    due_at_ = Duration::max();
    if (recovered_to_tell_ > 0 && put(out, FrameType::recovered, recovered_, 0) && --recovered_to_tell_ == 0)
      recovered_.clear();
  }

 private:
  static constexpr std::uint64_t kEarly = 100;  // packets, in which the other side's start is not to be held up
  static constexpr unsigned kEvery = 10;
  static constexpr unsigned kTellRecovered = 3;
  static constexpr Duration kGapDelay = std::chrono::milliseconds(1);

  // type | largest | delay in us (ACK alone) | ranges behind the first | size of the first - 1 | (gap - 1, size - 1)…
  static bool put(Writer& out, FrameType type, const RangeSet& set, std::uint64_t delay) {
    const std::span<const Range> ranges = set.ranges();
    if (out.room() < 1 + 8 + 8 + 2 + 8) return false;
    std::size_t count = 1;
    std::size_t size = 1 + 8 + 8 + 2 + 8;
    for (; count < ranges.size(); ++count) {
      const Range& range = ranges[ranges.size() - 1 - count];
      size += varint_size(ranges[ranges.size() - count].begin - range.end - 1) + varint_size(range.size() - 1);
      if (size > out.room()) break;
    }
    out.u8(static_cast<std::uint8_t>(type));
    out.varint(ranges.back().end - 1);
    if (type == FrameType::ack) out.varint(delay);
    out.varint(count - 1);
    out.varint(ranges.back().size() - 1);
    for (std::size_t i = 1; i < count; ++i) {
      const Range& range = ranges[ranges.size() - 1 - i];
      out.varint(ranges[ranges.size() - i].begin - range.end - 1);
      out.varint(range.size() - 1);
    }
    return true;
  }

  RangeSet received_;
  RangeSet recovered_;
  std::uint64_t packets_ = 0;
  unsigned waiting_ = 0;
  unsigned recovered_to_tell_ = 0;
  Duration newest_at_{};
  Duration due_at_ = Duration::max();
};

// The ranges of an ACK or RECOVERED frame, whose `largest` has been read, the highest first. Empty: malformed.
std::span<const Range> read_ranges(Reader& in, std::uint64_t largest,
                                   std::array<Range, Acknowledger::kMostRanges>& room) noexcept;

}  // namespace portolan::rudp
