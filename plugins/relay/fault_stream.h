// What the faults make of one direction of one stream: bytes and `now` go in; pieces, an end or a reset come out when they
// are due. No I/O, no clock.
//
// Nothing here throws but std::bad_alloc, from push and change, which leaves what is under way as it was.
//
// Owned by the session that it belongs to, on its worker's thread; a session without faults has none. Bytes are copied once,
// on the way in, and handed out as views of that copy. The order of bytes never changes and none is lost, whatever happens to
// the set of faults meanwhile: only `corrupt` changes bytes, only `black_hole` swallows them, and what a reset or an early end
// has cut off is gone.
//
// A byte goes through, whatever the order of the set: latency, slicer, bandwidth, corrupt, the cuts (reset, close_after,
// black_hole), which count what has come out. Of two faults of one kind latencies add up; slices and rates are the smaller
// ones; the first cut wins, and of those at the same moment a reset before an end before a black hole. The end of the
// stream has a latency like a byte, then waits for slow_close.
#pragma once

#include "plugins/relay/fault_set.h"

#include <algorithm>
#include <cstddef>
#include <deque>
#include <memory>
#include <span>

namespace portolan::relay {

class StreamFaults {
 public:
  // What a chunk costs beside its bytes, towards the limit.
  static constexpr std::size_t kChunkCost = 64;
  static constexpr std::size_t kDefaultLimit = 256 * 1024;
  static constexpr std::size_t kLeastLimit = 1024;

  StreamFaults(FaultSet::Shared set, FaultDirection direction, std::uint64_t session, Duration now,
               std::size_t limit = kDefaultLimit)
      : faults_(std::move(set), Carrier::streams, direction, session, now), limit_(std::max(limit, kLeastLimit)) {}

  // Bytes under way come no later than the new latencies would have them from now on.
  void change(FaultSet::Shared set, Duration now);
  std::uint64_t version() const noexcept { return faults_.version(); }
  // False when no fault strikes this session and nothing is under way: it may do without until the set changes. The same
  // session draws the same again.
  bool needed() const noexcept { return !faults_.none() || !queue_.empty() || ended_ || finished_; }

  // Takes all of `data`, whatever the limit: it is the caller who reads no more than room().
  void push(std::span<const std::byte> data, Duration now);
  // The sender sends no more.
  void end(Duration now);

  struct Output {
    enum class Kind : std::uint8_t {
      nothing,  // until next_due, or more is pushed
      bytes,    // one piece, to be written by itself
      end,      // pass on an end; nothing comes afterwards, and what is pushed is dropped
      reset,    // likewise
    };
    Kind kind = Kind::nothing;
    std::span<const std::byte> bytes;  // valid until the next call of anything here
  };
  // The next of what is due. Call until it says nothing, or until the receiver takes no more.
  Output pop(Duration now);
  // When pop will have something to do: in the past when it has now, max() when never. Valid until the next call.
  Duration next_due() const noexcept;

  // Bytes that may be read and pushed now; zero until a quarter of the limit is free, so that nobody reads in crumbs.
  std::size_t room() const noexcept;
  bool full() const noexcept { return room() == 0; }
  std::size_t held() const noexcept { return held_; }
  // Towards the limit.
  std::size_t cost() const noexcept { return held_ + queue_.size() * kChunkCost; }
  // An end or a reset has come out.
  bool finished() const noexcept { return finished_; }

 private:
  struct Chunk {
    std::unique_ptr<std::byte[]> bytes;
    std::size_t size = 0;
    std::size_t taken = 0;
    Duration due{};
    std::size_t rest() const noexcept { return size - taken; }
  };
  // The piece that is next, and when it is.
  struct Piece {
    Duration sliced_at;  // came out of the slicers
    Duration due;
    std::int64_t size;  // at least, when there are rates
  };

  Piece next_piece() const noexcept;
  Output take(Piece piece, Duration now);
  Output finish(Output::Kind kind) noexcept;
  Duration end_due() const noexcept;
  void swallow() noexcept;

  ActiveFaults faults_;
  std::size_t limit_;
  std::deque<Chunk> queue_;
  std::unique_ptr<std::byte[]> handed_out_;  // what the last piece is a view of, when its chunk is through
  std::size_t held_ = 0;
  Duration last_due_{};  // of what was pushed, the end included
  Duration last_out_{};  // when the last piece left
  bool ended_ = false;
  bool finished_ = false;
};

}  // namespace portolan::relay
