// Messages in the seed format `[SeqNum u32 BE][Ack u8][payload]`, both ways, with any stop-and-wait peer.
//
// Sans-I/O: datagrams and `now` go in; datagrams, deadlines, messages and the reason of a failure come out. After each
// receive(), and at each deadline(), next_datagram() is called until it is empty. A datagram with Ack=0 is the
// receiver's, with Ack=1 the sender's. One object of each kind per peer, owned by whoever owns the socket, on one
// thread. Refuses: messages over max_message, what the format does not know, acknowledgements of what was never sent.
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
    std::size_t max_queued = 256 * 1024;  // bytes not yet acknowledged; one message fits always
  };
  explicit SeedMessageSender(const Options& options);

  // False: too long, no room before something is acknowledged, or failed.
  bool push(std::span<const std::byte> message);
  void receive(std::span<const std::byte> datagram, Duration now) noexcept { window_.receive(datagram, now); }
  std::span<const std::byte> next_datagram(Duration now) { return window_.next_datagram(now); }
  std::optional<Duration> deadline() const noexcept { return window_.deadline(); }

  bool all_acknowledged() const noexcept { return window_.empty(); }
  // The peer is silent, and nothing more is sent: what was queued may or may not have arrived.
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

// Acknowledges each packet once it is delivered or kept, and delivers each number once.
//
// Which number is the first: `first_sequence`, or without it the first to arrive, which is right with every sender that
// waits for its first acknowledgement before it sends more (ours does), and after either side has restarted.
// A sender that restarts shows itself by numbers outside the window, or that another payload had: its first message
// waits for one retransmission (SeedSuspicion). What repeats the former one's numbers and payloads is a duplicate; that
// owners forget peers which are quiet takes care of most of these. For kQuiet after a restart nothing is taken before
// its turn, unless the sender asked for that: it may be left of what the former one sent.
class SeedMessageReceiver {
 public:
  struct Options {
    bool ordered = true;                // false: each message as it comes
    std::uint32_t window = 256;         // packets, kept or remembered
    std::size_t max_kept = 256 * 1024;  // bytes
    std::size_t max_message = kSeedLongestMessage;
    std::optional<std::uint32_t> first_sequence = {};
    // A sender that goes on while something is missing for so long has given that up, and so does the receiver.
    Duration gap_timeout = std::chrono::seconds(60);
  };
  struct Stats {
    std::uint64_t delivered = 0;
    std::uint64_t duplicates = 0;
    std::uint64_t rejected = 0;  // no data packet, too long, no room, or of no place
    std::uint64_t given_up = 0;  // after gap_timeout
    std::uint64_t restarts = 0;  // of the peer
  };
  static constexpr Duration kQuiet = std::chrono::seconds(10);
  SeedMessageReceiver(const Options& options, SeedMessageSink& sink);

  void receive(std::span<const std::byte> datagram, Duration now);
  // The acknowledgement, once; empty: there is none. Also gives up gaps.
  std::span<const std::byte> next_datagram(Duration now) noexcept;
  std::optional<Duration> deadline() const noexcept;

  const SeedReorder& reorder() const noexcept { return reorder_; }
  const Stats& stats() const noexcept { return stats_; }

 private:
  bool place(const SeedPacket& packet, Duration now);
  void deliver(const SeedPacket& packet) noexcept;
  void deliver_kept() noexcept;
  void start(std::uint32_t first);
  void acknowledge(const SeedPacket& packet) noexcept;

  const Options options_;
  SeedMessageSink& sink_;
  SeedReorder reorder_;
  SeedSuspicion suspicion_;
  bool started_ = false;
  Duration missing_since_{};  // the expected one, while others are ahead
  Duration takes_ahead_from_ = Duration::min();
  std::array<std::byte, kSeedLongestReply> reply_{};
  std::size_t reply_size_ = 0;
  Stats stats_;
};

}  // namespace portolan::rudp
