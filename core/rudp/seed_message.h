// Messages in the seed format `[SeqNum u32 BE][Ack u8][payload]`, both ways, with any stop-and-wait peer.
//
// Sans-I/O: datagrams and `now` go in; datagrams, deadlines, messages and the reason of a failure come out. After each
// receive(), and at each deadline(), next_datagram() is called until it is empty. One object of each kind per peer, owned
// by whoever owns the socket, on one thread. Nothing throws but std::bad_alloc of push.
// Refuses: messages over max_message, what the format does not know, acknowledgements of what was never sent.
//
// The format has neither identity nor checksum: whoever can send datagrams with the peer's address can speak for it.
#pragma once

#include "plugin/descriptor.h"
#include "rudp/seed_format.h"
#include "rudp/seed_reorder.h"
#include "rudp/seed_window.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace portolan::rudp {

inline constexpr std::size_t kSeedLongestMessage = kSeedMessagePacket - kSeedHeader;

class SeedMessageSender {
 public:
  struct Options {
    SeedSendOptions send;
    std::size_t max_queued = 256 * 1024;  // bytes; one message always fits
  };
  explicit SeedMessageSender(const Options& options);

  // False: too long, no room now (until something was acknowledged), or failed.
  bool push(std::span<const std::byte> message);
  void receive(std::span<const std::byte> datagram, Duration now) noexcept { window_.receive(datagram, now); }
  std::span<const std::byte> next_datagram(Duration now) noexcept { return window_.next_datagram(now); }
  std::optional<Duration> deadline() const noexcept { return window_.deadline(); }

  bool all_acknowledged() const noexcept { return window_.empty(); }
  // The peer is silent, and nothing more is sent: the queued messages may or may not have arrived.
  const std::optional<SeedSilence>& failure() const noexcept { return window_.silence(); }
  const SeedWindow& window() const noexcept { return window_; }

 private:
  std::size_t max_queued_;
  SeedWindow window_;
};

class SeedMessageSink {
 public:
  // Valid until it returns. It may not call the receiver.
  virtual void message(std::span<const std::byte> payload) noexcept = 0;

 protected:
  ~SeedMessageSink() = default;
};

// Acknowledges each packet once it is delivered or kept, and delivers each number once. Which number is the first:
// `first_sequence`, or without it the first that arrives, which is right with every sender that waits for its first
// acknowledgement before it sends more (ours does), and when either side restarts.
// A sender that restarts is recognized by numbers outside the window, or used by another payload, that come twice in a
// row: its first message waits for one retransmission. Not when it repeats what the former one sent under the same numbers:
// an owner that forgets quiet peers takes care of most of that.
class SeedMessageReceiver {
 public:
  struct Options {
    bool ordered = true;
    std::uint32_t window = 256;         // packets kept, and remembered
    std::size_t max_kept = 256 * 1024;  // bytes
    std::size_t max_message = kSeedLongestMessage;
    std::optional<std::uint32_t> first_sequence = {};
    // In order: a sender that goes on has given up what is missing for so long, and so does the receiver. Zero: never.
    Duration gap_timeout = std::chrono::seconds(60);
  };
  struct Stats {
    std::uint64_t delivered = 0;
    std::uint64_t duplicates = 0;
    std::uint64_t rejected = 0;  // no data packet, too long, no room, not to be placed
    std::uint64_t skipped = 0;   // given up after gap_timeout
    std::uint64_t restarts = 0;  // of the peer
  };
  SeedMessageReceiver(const Options& options, SeedMessageSink& sink);

  void receive(std::span<const std::byte> datagram, Duration now);
  // The acknowledgement, once; empty: none.
  std::span<const std::byte> next_datagram() noexcept;
  std::optional<Duration> deadline() const noexcept;
  void on_time(Duration now) noexcept;

  const SeedReorder& reorder() const noexcept { return reorder_; }
  const Stats& stats() const noexcept { return stats_; }

 private:
  void deliver(std::span<const std::byte> payload) noexcept;
  void deliver_kept(Duration now) noexcept;
  void restart(const SeedPacket& packet, Duration now);
  void acknowledge(std::uint32_t sequence, bool with_offer = false) noexcept;

  const Options options_;
  SeedMessageSink& sink_;
  SeedReorder reorder_;
  SeedSuspicion suspicion_;
  bool started_ = false;
  Duration gap_since_{};
  std::array<std::byte, kSeedLongestReply> reply_{};
  std::size_t reply_size_ = 0;
  Stats stats_;
};

}  // namespace portolan::rudp
