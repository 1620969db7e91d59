// The messages of a connection: whole or not at all, in no order, cut into as many packets as they need.
//
// It belongs to its connection, for which it reads and writes the frames MESSAGE and DATAGRAM. What the peer may make it hold
// is bounded: no more bytes of messages that are not whole than `kMostBytes`, which a peer that keeps the protocol never
// exceeds with reliable ones; of those with a deadline, whose rest may never come, the oldest go.
#pragma once

#include "rudp/options.h"
#include "rudp/range_set.h"
#include "rudp/sent_packets.h"
#include "rudp/wire.h"

#include <algorithm>
#include <deque>
#include <map>
#include <span>
#include <vector>

namespace portolan::rudp {

class Messages {
 public:
  static constexpr std::uint64_t kMostBytes = 4 * 1024 * 1024;  // sent and not acknowledged; or received and not whole
  static constexpr std::uint64_t kMostAhead = 4096;             // numbers that a message may be ahead of the oldest
  static constexpr std::size_t kUntold = 16 * 1024;             // bytes of a message that every side takes
  using Problem = const char*;                                  // null: none

  explicit Messages(const ConnectionOptions& options) : max_message_(std::max(options.max_message, kUntold)) {}
  std::size_t max_message() const noexcept { return max_message_; }
  void set_peer_limit(std::size_t max_message) noexcept { peer_max_message_ = std::max(max_message, kUntold); }

  bool send(std::span<const std::byte> data, const MessageOptions& options, std::size_t datagram_room, Duration now);

  // A frame whose type was read. A message that is whole now is in taken(), until the next call.
  Problem on_message(Reader& in, bool deadline);
  Problem on_datagram(Reader& in);
  std::span<const std::vector<std::byte>> whole() const noexcept { return whole_; }
  void clear_whole() noexcept { whole_.clear(); }

  bool wants_to_send() const noexcept { return !ready_.empty() || !datagrams_.empty(); }
  bool has_datagrams() const noexcept { return !datagrams_.empty(); }
  // What goes next has a deadline: redundancy is for it. Its lifetime, or zero.
  Duration next_lifetime() const noexcept;
  // Drops what is too late, and appends frames while there is room.
  void write(Writer& out, SentPacket& packet, Duration now);
  void on_acknowledged(const SentFrame& frame);
  void on_lost(const SentFrame& frame);
  // For a probe: of what was sent first. False: there is nothing.
  bool write_probe(Writer& out, SentPacket& packet, Duration now);

  std::uint64_t expired() const noexcept { return expired_; }

 private:
  struct Outgoing {
    std::vector<std::byte> data;
    RangeSet acknowledged;
    RangeSet lost;
    std::size_t sent = 0;
    bool deadline = false;
    bool ready = false;
    Duration lifetime{};
    Duration expires = Duration::max();
  };
  struct Incoming {
    std::vector<std::byte> data;
    RangeSet received;
    bool deadline = false;
  };
  void make_ready(std::uint64_t number, Outgoing& message);
  void drop(std::map<std::uint64_t, Outgoing>::iterator message);
  bool put(Writer& out, SentPacket& packet, std::uint64_t number, const Outgoing& message, std::size_t offset,
           std::size_t length);
  void make_room();

  std::size_t max_message_;
  std::size_t peer_max_message_ = kUntold;  // before the peer has told: every one takes so much
  std::map<std::uint64_t, Outgoing> outgoing_;
  std::deque<std::uint64_t> ready_;
  std::deque<std::vector<std::byte>> datagrams_;
  std::uint64_t next_number_ = 0;
  std::uint64_t held_ = 0;
  std::uint64_t expired_ = 0;
  std::map<std::uint64_t, Incoming> incoming_;
  RangeSet done_;  // numbers of messages that were whole, or are too old
  std::uint64_t incoming_bytes_ = 0;
  std::vector<std::vector<std::byte>> whole_;
};

}  // namespace portolan::rudp
