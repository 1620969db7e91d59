// Forward error correction of packets, in blocks: an encoder that makes repairs for the packets that a connection
// sends, a decoder that makes the lost ones of those that it received.
//
// What is protected is a packet's frames. Its symbol is `packet number u64 BE | length u16 BE | frames`, filled up with
// zeros to the longest symbol of the block. A protected packet says at its front which block and which place in it is
// its own; that frame is not part of what is protected. Blocks are numbered from 0 on.
//
// One connection owns each, on its worker's thread. Sans-I/O; in the steady state nothing is allocated. A frame that
// contradicts itself or its block is refused, and the block with it. What the packets hold is the connection's to
// check: a recovered packet is worth what a received one is, since repairs come in sealed packets.
#pragma once

#include "plugin/descriptor.h"
#include "rudp/fec_policy.h"
#include "rudp/reed_solomon.h"

#include <array>
#include <cstddef>
#include <cstdint>
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
  std::size_t index = 0;    // of this one, below `repairs`
  std::span<const std::byte> symbol;
};

inline constexpr std::size_t kFecPrefix = 10;                         // of a symbol, before the frames
inline constexpr std::size_t kMostFecSource = 1 + 8 + 1;              // a FEC_SOURCE frame: type, block, index
inline constexpr std::size_t kMostFecRepair = 1 + 8 + 2 + 1 + 1 + 2;  // a FEC_REPAIR frame but for the symbol

// The most bytes of frames that a protected packet may hold beside its FEC_SOURCE frame, when a packet has room for
// `room` bytes of frames: as many as still let a repair fit into a packet.
constexpr std::size_t max_protected_frames(std::size_t room) noexcept {
  constexpr std::size_t kOverhead = kMostFecRepair + kFecPrefix;
  static_assert(kOverhead >= kMostFecSource);
  return room > kOverhead ? room - kOverhead : 0;
}

class FecEncoder {
 public:
  struct Options {
    std::size_t sources = 32;       // packets of a block: 1 to reed_solomon::kMostSources
    std::size_t max_frames = 1500;  // bytes of a packet's frames, in the largest packet that there will be
  };

  FecEncoder(FecPolicy& policy, const Options& options);  // the policy outlives it
  ~FecEncoder();

  // What the next packet says of itself at its front; nullopt: it needs no protection now.
  std::optional<FecSource> next() noexcept;
  // That packet, right after next() answered. Frames: at most max_frames bytes.
  void add(std::uint64_t packet_number, std::span<const std::byte> frames, Duration now) noexcept;

  // A block is closed, and its repairs wait to be sent, once it is full or has been open for the policy's linger.
  Duration deadline() const noexcept;  // Duration::max(): no block is open
  void close(Duration now) noexcept;   // those whose time is over
  void close_all() noexcept;           // nothing follows for now

  // The next repair to be sent; its symbol is valid until something else than front is called. Those of the oldest
  // block first, of as many as are interleaved in turns. When more than kMostClosed blocks wait, the oldest is given
  // up.
  std::optional<FecRepair> front() const noexcept;
  void pop() noexcept;
  static constexpr std::size_t kMostClosed = 8;

  struct Statistics {
    std::uint64_t packets = 0;  // protected
    std::uint64_t blocks = 0;   // closed, with repairs
    std::uint64_t repairs = 0;  // taken
    std::uint64_t repairs_dropped = 0;
  };
  const Statistics& statistics() const noexcept { return statistics_; }

 private:
  struct Block;
  using Lanes = std::array<std::unique_ptr<Block>, FecPolicy::kMostInterleave>;
  bool open(std::unique_ptr<Block>& lane) noexcept;
  void close(std::unique_ptr<Block>& lane) noexcept;
  void release(std::size_t closed) noexcept;

  FecPolicy& policy_;
  Options options_;
  std::uint64_t next_block_ = 0;
  std::size_t turn_ = 0;  // the lane of the next packet
  Lanes lanes_;
  std::vector<std::unique_ptr<Block>> closed_;  // about by age
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
    std::size_t max_bytes = 1024 * 1024;  // of buffers; where it would be more, the oldest blocks are given up
  };
  static constexpr std::size_t kMostBlocks = 64;  // the newest

  explicit FecDecoder(const Options& options);
  ~FecDecoder();

  struct Packet {
    std::uint64_t number = 0;
    std::span<const std::byte> frames;
  };
  // What is recovered now, most often nothing: each packet once, and none that on_source was told of. Valid until the
  // next call. A frame of a block that is complete, given up or too old is no error, and ignored.
  using Recovered = std::expected<std::span<const Packet>, FecError>;
  Recovered on_source(const FecSource& place, std::uint64_t packet_number, std::span<const std::byte> frames) noexcept;
  Recovered on_repair(const FecRepair& repair) noexcept;

  struct Statistics {
    std::uint64_t packets_recovered = 0;
    std::uint64_t blocks_whole = 0;  // of which a repair came, and nothing was lost
    std::uint64_t blocks_recovered = 0;
    std::uint64_t blocks_failed = 0;  // of which a repair came, and that were given up
    std::uint64_t refused = 0;        // frames
  };
  const Statistics& statistics() const noexcept { return statistics_; }
  std::size_t bytes() const noexcept { return bytes_; }  // of buffers

 private:
  struct Block;
  struct Slot;
  Slot* find(std::uint64_t block) noexcept;
  void finish(Slot& slot) noexcept;
  void give_up(Slot& slot) noexcept;
  Recovered refuse(Slot* slot, FecError error) noexcept;
  bool reserve(Slot& slot, std::size_t bytes) noexcept;
  Recovered recover(Slot& slot) noexcept;

  Options options_;
  std::size_t bytes_ = 0;
  std::vector<Slot> slots_;  // by block modulo kMostBlocks
  std::vector<std::unique_ptr<Block>> spare_;
  std::vector<Packet> recovered_;
  Statistics statistics_;
};

}  // namespace portolan::rudp
