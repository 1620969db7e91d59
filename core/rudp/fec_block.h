// Forward error correction of packets, in blocks: an encoder that makes repairs of the packets that a connection sends, a
// decoder that makes the lost packets of those that it received.
//
// What is protected is a packet's frames. Its symbol is `packet number u64 BE | length u16 BE | frames`, filled up with zeros
// to the longest symbol of the block. A protected packet says at its front which block and which place in it is its own;
// that frame is not part of what is protected. Block numbers count from 0.
//
// One connection owns each, on its worker's thread. Sans-I/O, and in the steady state nothing is allocated. A frame that
// contradicts itself or its block is refused, and the block with it. What the packets hold is the connection's to check: a
// repaired packet is worth what a received one is, since repairs come in sealed packets.
#pragma once

#include "plugin/descriptor.h"
#include "rudp/fec_policy.h"
#include "rudp/reed_solomon.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <expected>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace portolan::rudp {

// The fields of a FEC_SOURCE frame.
struct FecSource {
  std::uint64_t block = 0;
  std::size_t index = 0;  // below reed_solomon::kMostSources
  bool operator==(const FecSource&) const = default;
};

// The fields of a FEC_REPAIR frame.
struct FecRepair {
  std::uint64_t block = 0;
  std::size_t sources = 0;  // of the block: 1 to reed_solomon::kMostSources
  std::size_t repairs = 0;  // of the block: 1 to reed_solomon::kMostRepairs
  std::size_t index = 0;    // of this repair, below `repairs`
  std::span<const std::byte> symbol;
};

inline constexpr std::size_t kFecPrefix = 10;      // of a symbol, before the frames
inline constexpr std::size_t kMostFecSource = 10;  // bytes of a FEC_SOURCE frame: type, block, index
// Bytes of a FEC_REPAIR frame without its symbol: type, block, sources, repairs, index, size.
inline constexpr std::size_t kMostFecRepair = 1 + 8 + 2 + 1 + 1 + 2;

// The most bytes of frames that a protected packet may hold beside its FEC_SOURCE frame, when packets have room for `room`
// bytes of frames: as many as still let a repair fit into a packet.
constexpr std::size_t max_protected_frames(std::size_t room) noexcept {
  constexpr std::size_t overhead = kMostFecRepair + kFecPrefix;
  static_assert(overhead >= kMostFecSource);
  return room > overhead ? room - overhead : 0;
}

class FecEncoder {
 public:
  struct Options {
    std::size_t sources = 32;       // packets of a block, at most kMostSources
    std::size_t max_frames = 1500;  // bytes of a packet's frames
  };

  // The policy outlives it.
  FecEncoder(FecPolicy& policy, const Options& options);
  ~FecEncoder();

  // What the next packet has to say of itself at its front; nullopt: it needs no protection now.
  std::optional<FecSource> next() noexcept;
  // That packet, as it is sent: right after next(), whose answer it returns. Frames: 1 to max_frames bytes.
  FecSource add(std::uint64_t packet_number, std::span<const std::byte> frames, Duration now) noexcept;

  Duration deadline() const noexcept;  // when close has something to do; Duration::max(): never
  void close(Duration now) noexcept;   // makes repairs of the blocks whose time is over
  void close_all() noexcept;           // of all that are open: nothing follows for now

  // The next repair to be sent, as it was made at closing; its symbol is valid until pop or add. Blocks in turns, oldest
  // first. A connection that has no room for them loses the oldest: no more than kMostClosed blocks wait.
  std::optional<FecRepair> front() const noexcept;
  void pop() noexcept;
  static constexpr std::size_t kMostClosed = 8;

  struct Statistics {
    std::uint64_t protected_packets = 0;
    std::uint64_t blocks = 0;   // closed with repairs
    std::uint64_t repairs = 0;  // taken by pop
    std::uint64_t repairs_dropped = 0;
  };
  const Statistics& statistics() const noexcept { return statistics_; }

 private:
  struct Block;
  static constexpr std::size_t kMostInterleave = 4;
  std::unique_ptr<Block> open(std::uint64_t id);
  void close(std::unique_ptr<Block>& lane) noexcept;

  FecPolicy& policy_;
  Options options_;
  std::uint64_t next_block_ = 0;
  std::size_t lane_ = 0;  // whose turn it is
  std::array<std::unique_ptr<Block>, kMostInterleave> lanes_;
  std::vector<std::unique_ptr<Block>> closed_;  // the oldest first
  std::vector<std::unique_ptr<Block>> spare_;
  std::vector<std::byte> symbol_;
  Statistics statistics_;
};

enum class FecError : std::uint8_t {
  field,          // a number out of its range, or a size that is not allowed
  contradiction,  // to what is known of the block
};

class FecDecoder {
 public:
  struct Options {
    std::size_t max_frames = 1500;        // bytes of a packet's frames: more is refused
    std::size_t max_bytes = 1024 * 1024;  // of packets and repairs kept; when it is more, the oldest blocks go
  };
  static constexpr std::size_t kMostBlocks = 64;  // kept: the newest

  explicit FecDecoder(const Options& options);
  ~FecDecoder();

  struct Packet {
    std::uint64_t number = 0;
    std::span<const std::byte> frames;
  };
  // What this frame made it possible to recover, most often nothing: each packet once, and none that was received before. Valid
  // until the next call. A frame of a block that is complete, too old or was dropped is no error, and ignored.
  using Recovered = std::expected<std::span<const Packet>, FecError>;
  Recovered on_source(const FecSource& place, std::uint64_t packet_number, std::span<const std::byte> frames) noexcept;
  Recovered on_repair(const FecRepair& repair) noexcept;

  struct Statistics {
    std::uint64_t packets_recovered = 0;
    std::uint64_t blocks_complete = 0;  // of which a repair came, and that lost nothing
    std::uint64_t blocks_recovered = 0;
    std::uint64_t blocks_failed = 0;  // of which a repair came, and that were given up
    std::uint64_t refused = 0;        // frames
  };
  const Statistics& statistics() const noexcept { return statistics_; }
  std::size_t bytes() const noexcept { return bytes_; }  // that it keeps

 private:
  struct Block;
  struct Slot;

  Options options_;
  std::size_t bytes_ = 0;
  std::vector<Slot> slots_;  // by block number modulo kMostBlocks
  std::vector<std::unique_ptr<Block>> spare_;
  std::vector<Packet> recovered_;
  Statistics statistics_;
};

}  // namespace portolan::rudp
