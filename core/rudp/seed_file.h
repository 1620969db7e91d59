// A file in the seed format `[Type u8][SeqNum u32 BE][payload]`, both ways, with any stop-and-wait peer.
//
// Sans-I/O: datagrams and `now` go in; datagrams, deadlines, blocks and the reason of a failure come out. After each
// receive(), and at each deadline(), next_datagram() is called until it is empty. One sender per file and one receiver
// per peer, owned by whoever owns the socket, on one thread. A file is never in memory: blocks are pulled from a source
// and pushed into a sink, in order.
// Refuses: packets over 1024 bytes, types that the format does not know, acknowledgements of what was never sent.
//
// The format has neither identity nor checksum: whoever can send datagrams with the peer's address can speak for it,
// and whether the file is whole is for a hash to say that travels elsewhere.
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
  // The next bytes of the file: as many as fit, fewer at its end only, and none behind it. Or the error number.
  virtual std::expected<std::size_t, int> read(std::span<std::byte> into) noexcept = 0;

 protected:
  ~SeedFileSource() = default;
};

// The fin has the number behind the last block's, and leaves when all blocks are acknowledged: whatever a receiver
// makes of its number, there is nothing then that it could cut off.
class SeedFileSender {
 public:
  SeedFileSender(const SeedSendOptions& options, SeedFileSource& source);

  void receive(std::span<const std::byte> datagram, Duration now) noexcept { window_.receive(datagram, now); }
  std::span<const std::byte> next_datagram(Duration now);
  std::optional<Duration> deadline() const noexcept;

  bool done() const noexcept { return phase_ == Phase::fin && window_.empty(); }
  // Why it goes no further: the peer is silent, or the file could not be read.
  std::optional<std::string> failure() const;
  std::uint64_t bytes_acknowledged() const noexcept { return bytes_read_ - window_.queued_bytes(); }
  const SeedWindow& window() const noexcept { return window_; }

 private:
  enum class Phase : std::uint8_t { blocks, last_blocks, fin, unreadable };
  void pull();

  SeedFileSource& source_;
  SeedWindow window_;
  Phase phase_ = Phase::blocks;
  int error_number_ = 0;
  std::uint64_t bytes_read_ = 0;
};

// False from any of these: the file is not answered any more, for which the format has no word: its sender gives up.
// They may not call the receiver.
class SeedFileSink {
 public:
  virtual bool begin() noexcept = 0;
  virtual bool write(std::span<const std::byte> block) noexcept = 0;
  virtual bool finish() noexcept = 0;   // all of it was written; only afterwards is the fin acknowledged
  virtual void abandon() noexcept = 0;  // the peer began another file before the end of this one

 protected:
  ~SeedFileSink() = default;
};

// Acknowledges a block once it is written or kept, and the fin once all before it is written; a fin that comes before
// its time waits for that. Afterwards it still answers stragglers, and a fin whose acknowledgement was lost.
//
// A file's first number is `first_sequence`, or 0 or 1 without it: what else arrives first is the rest of a file of
// which a former receiver had the beginning, and is not answered. A fin counts with the number behind the last block's,
// or with that one's; with any other, as some senders have it, when it comes again after a while.
// Behind a finished file another one begins with a number that it did not have, or with other bytes under its first
// number; with the same bytes, when they come again after a while (SeedSuspicion), or after kQuiet. In the midst of a
// file, only with its first number, and only when that comes again after a while, from outside the window or with other
// bytes. An empty file is a fin alone with the first number, 0 without first_sequence.
// What is left of the former file on the path fits into the next one. So for kQuiet after another file nothing is kept
// before its turn, unless the sender asked for that; and who sends several files gives each a port of its own.
class SeedFileReceiver {
 public:
  struct Options {
    std::uint32_t window = 2048;  // packets, kept or remembered
    std::optional<std::uint32_t> first_sequence = {};
  };
  struct Stats {
    std::uint64_t blocks = 0;  // written
    std::uint64_t files = 0;   // finished
    std::uint64_t duplicates = 0;
    std::uint64_t unanswered = 0;  // no data packet or fin, too long, of no place, or a fin before its time
  };
  enum class Phase : std::uint8_t { waiting, receiving, finished, refused };
  static constexpr Duration kQuiet = std::chrono::seconds(10);

  SeedFileReceiver(const Options& options, SeedFileSink& sink);

  void receive(std::span<const std::byte> datagram, Duration now);
  // The acknowledgements of what was received, one a call; empty: no more.
  std::span<const std::byte> next_datagram() noexcept;

  Phase phase() const noexcept { return phase_; }
  const SeedReorder& reorder() const noexcept { return reorder_; }
  const Stats& stats() const noexcept { return stats_; }

 private:
  void on_data(const SeedPacket& packet, Duration now);
  void on_fin(const SeedPacket& packet, Duration now);
  bool first_ever(const SeedPacket& packet) const noexcept;
  bool begins_another(const SeedPacket& packet, Duration now) noexcept;
  bool ends(std::uint32_t fin) const noexcept;
  void begin(const SeedPacket& packet, Duration now);
  bool write(std::span<const std::byte> block) noexcept;
  void on_block(const SeedPacket& packet) noexcept;
  void finish(std::uint32_t fin) noexcept;
  void acknowledge(const SeedPacket& packet) noexcept;

  const Options options_;
  SeedFileSink& sink_;
  SeedReorder reorder_;
  SeedSuspicion suspicion_;
  Phase phase_ = Phase::waiting;
  std::uint32_t first_ = 0;
  std::uint32_t first_hash_ = 0;
  std::optional<std::uint32_t> fin_;  // that waits, or that finished the file
  Duration last_new_{};               // when a file last went on
  Duration keeps_from_{};             // what comes before its turn

  struct Reply {
    std::array<std::byte, kSeedLongestReply> bytes;
    std::size_t size;
  };
  std::array<Reply, 2> replies_{};  // to a block, and to the fin that waited for it
  std::size_t reply_count_ = 0;
  std::size_t reply_next_ = 0;
  Stats stats_;
};

}  // namespace portolan::rudp
