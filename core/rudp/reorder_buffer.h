// Puts sequenced datagrams back in order: waits for one that is missing, but not longer than a hold time, and drops
// what comes twice or too late.
//
// For datagrams with a sequence number of 32 bits that wraps around (RFC 1982), whatever protocol they belong to.
// Sans-I/O; one owner, one thread. Memory is bounded by the window times the longest datagram, and in the steady state
// nothing is allocated. A number far from the expected one is refused, unless the next datagram follows it: then the
// sender began anew (as RFC 3550, appendix A.1).
#pragma once

#include "plugin/descriptor.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace portolan::rudp {

class ReorderBuffer {
 public:
  struct Options {
    std::size_t window = 256;                       // datagrams that are held at most; a power of two, 64 to 1024
    Duration hold = std::chrono::milliseconds(50);  // that a datagram waits for those before it, at most
    std::size_t max_datagram = 65507;               // bytes; longer ones are refused
    std::optional<std::uint32_t> first;  // the number that the sender begins with; nullopt: the first that comes
  };

  class Receiver {
   public:
    // In order, each once. Calls nothing of the buffer.
    virtual void in_order(std::uint32_t sequence, std::span<const std::byte> data) noexcept = 0;

   protected:
    ~Receiver() = default;
  };

  ReorderBuffer(Receiver& receiver, const Options& options);  // the receiver outlives it

  enum class Verdict : std::uint8_t {
    delivered,  // at once, and what had waited for it
    held,
    duplicate,
    late,       // it had been given up
    far,        // from what is expected: more than a window behind, or kMostAhead ahead
    too_long,   // more than max_datagram bytes
    no_memory,  // to hold it
  };
  Verdict push(std::uint32_t sequence, std::span<const std::byte> data, Duration now) noexcept;

  Duration deadline() const noexcept;   // when a gap is given up; Duration::max(): none
  void advance(Duration now) noexcept;  // gives up the gaps whose time is over
  void flush() noexcept;                // gives up all of them, and delivers what is held

  // A gap is an outage up to here (RFC 3550's MAX_DROPOUT).
  static constexpr std::int32_t kMostAhead = 3000;

  struct Statistics {
    std::uint64_t delivered = 0;
    std::uint64_t reordered = 0;  // of these: had been overtaken, and came in time
    std::uint64_t duplicates = 0;
    std::uint64_t late = 0;
    std::uint64_t far = 0;
    std::uint64_t too_long = 0;
    std::uint64_t skipped = 0;  // numbers given up
    std::uint64_t restarts = 0;
  };
  const Statistics& statistics() const noexcept { return statistics_; }
  std::size_t held() const noexcept { return held_; }
  std::optional<std::uint32_t> next() const noexcept { return next_; }  // the number that is waited for

 private:
  struct Slot {
    std::vector<std::byte> data;
    Duration since{};
    std::uint32_t sequence = 0;
    std::uint32_t older = kNone;  // held slots, by arrival
    std::uint32_t newer = kNone;
    bool held = false;
    bool delivered = false;  // the number that had this slot before the one that is expected in it
  };
  static constexpr std::uint32_t kNone = UINT32_MAX;

  std::uint32_t index(std::uint32_t sequence) const noexcept;
  bool hold(std::uint32_t sequence, std::span<const std::byte> data, Duration now) noexcept;
  void deliver(std::span<const std::byte> data) noexcept;
  void step() noexcept;
  void drain() noexcept;
  void unlink(Slot& slot) noexcept;

  Receiver& receiver_;
  Options options_;
  std::vector<Slot> slots_;  // by number modulo the window
  std::optional<std::uint32_t> next_;
  std::uint32_t highest_ = 0;             // that has come
  std::optional<std::uint32_t> restart_;  // what would show that the sender began anew
  std::size_t held_ = 0;
  std::uint32_t oldest_ = kNone;
  std::uint32_t newest_ = kNone;
  Statistics statistics_;
};

}  // namespace portolan::rudp
