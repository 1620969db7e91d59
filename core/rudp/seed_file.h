// A file in the seed format `[Type u8][SeqNum u32 BE][payload]`, both ways, with any stop-and-wait peer.
//
// Sans-I/O: datagrams and `now` go in; datagrams, deadlines, blocks and the reason of a failure come out. After each
// receive(), and at each deadline(), next_datagram() is called until it is empty. One object per transfer that is sent, one
// receiver per peer, owned by whoever owns the socket, on one thread. A file is never in memory: blocks are pulled from a
// source and pushed into a sink, in order.
// Refuses: packets over 1024 bytes, types that the format does not know, acknowledgements of what was never sent.
//
// The format has neither identity nor checksum: whoever can send datagrams with the peer's address can speak for it, and
// whether the file is whole is for a hash to say that travels elsewhere.
#pragma once

#include "plugin/descriptor.h"
#include "rudp/seed_format.h"
#include "rudp/seed_reorder.h"
#include "rudp/seed_window.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <span>
#include <string>

namespace portolan::rudp {

inline constexpr std::size_t kSeedBlock = kSeedFilePacket - kSeedHeader;  // bytes of a file in a packet

class SeedFileSource {
 public:
  // The next bytes of the file: as many as fit, fewer only at the end, none behind it. Or the error number.
  virtual std::expected<std::size_t, int> read(std::span<std::byte> into) noexcept = 0;

 protected:
  ~SeedFileSource() = default;
};

// The fin has the number behind the last block's, and leaves when all blocks are acknowledged: whatever a receiver makes
// of its number, by then there is nothing that it could cut off.
class SeedFileSender {
 public:
  SeedFileSender(const SeedSendOptions& options, SeedFileSource& source);

  void receive(std::span<const std::byte> datagram, Duration now) noexcept { window_.receive(datagram, now); }
  std::span<const std::byte> next_datagram(Duration now);
  std::optional<Duration> deadline() const noexcept;

  bool done() const noexcept { return phase_ == Phase::fin && window_.empty(); }
  // Why it goes no further: the peer is silent, or the file could not be read.
  std::optional<std::string> failure() const;
  std::uint64_t bytes_read() const noexcept { return bytes_; }
  const SeedWindow& window() const noexcept { return window_; }

 private:
  enum class Phase : std::uint8_t { blocks, last_acknowledgements, fin, failed };
  void pull();

  SeedFileSource& source_;
  SeedWindow window_;
  Phase phase_ = Phase::blocks;
  int error_number_ = 0;
  std::uint64_t bytes_ = 0;
};

// False from any of these: this transfer is not answered any more (the format has no word for it, so its sender gives up).
// They may not call the receiver.
class SeedFileSink {
 public:
  virtual bool begin() noexcept = 0;
  virtual bool write(std::span<const std::byte> block) noexcept = 0;
  virtual bool finish() noexcept = 0;   // all of it is there; the fin is acknowledged afterwards
  virtual void abandon() noexcept = 0;  // its sender began another one instead

 protected:
  ~SeedFileSink() = default;
};

// Acknowledges each block once it is written or kept, and the fin once everything before it is written; a fin that comes
// before its time waits for that. After that it goes on answering: stragglers, and a fin whose acknowledgement was lost.
//
// The first number of a file is `first_sequence`, or 0 or 1 without it; `any_first` takes whatever arrives first, and with
// that the rest of a file whose beginning a former receiver was sent. A fin counts with the number behind the last block's
// or with that one's; with any other, as some senders have it, when it comes twice in a row.
// Which packets begin another file: those with numbers that the former file did not have, its first number with other bytes,
// and its first number with the same bytes when it comes twice in a row; while a file is being received, only the latter.
class SeedFileReceiver {
 public:
  struct Options {
    std::uint32_t window = 1024;  // packets kept, and remembered
    std::optional<std::uint32_t> first_sequence = {};
    bool any_first = false;
  };
  struct Stats {
    std::uint64_t blocks = 0;
    std::uint64_t bytes = 0;
    std::uint64_t files = 0;  // finished
    std::uint64_t duplicates = 0;
    std::uint64_t rejected = 0;
  };
  enum class Phase : std::uint8_t { waiting, receiving, finished, refused };
  SeedFileReceiver(const Options& options, SeedFileSink& sink);

  void receive(std::span<const std::byte> datagram);
  // An acknowledgement, until there is none: empty.
  std::span<const std::byte> next_datagram() noexcept;

  Phase phase() const noexcept { return phase_; }
  const SeedReorder& reorder() const noexcept { return reorder_; }
  const Stats& stats() const noexcept { return stats_; }

 private:
  void on_data(const SeedPacket& packet);
  void on_fin(const SeedPacket& packet);
  bool may_be_first(std::uint32_t sequence) const noexcept;
  bool begins_another(const SeedPacket& packet) noexcept;
  void begin(std::uint32_t first) noexcept;
  void write(std::span<const std::byte> block) noexcept;
  void write_kept() noexcept;
  void finish() noexcept;
  void acknowledge(std::uint32_t sequence, bool with_offer = false) noexcept;

  const Options options_;
  SeedFileSink& sink_;
  SeedReorder reorder_;
  SeedSuspicion suspicion_;
  Phase phase_ = Phase::waiting;
  std::uint32_t first_ = 0;
  std::uint32_t first_hash_ = 0;
  std::optional<std::uint32_t> fin_;  // its number, from when it came on
  struct Reply {
    std::array<std::byte, kSeedLongestReply> bytes{};
    std::size_t size = 0;
  };
  std::array<Reply, 2> replies_{};  // of a block, and of the fin that waited for it
  std::size_t reply_count_ = 0;
  std::size_t reply_next_ = 0;
  Stats stats_;
};

}  // namespace portolan::rudp
