// All streams of a connection: which there are, what the peer may send on them and we to it, and whose turn it is.
//
// It belongs to its connection, for which it reads and writes the frames of streams. What happened it leaves as events, to be
// delivered when the packet has been read to its end. A rule of the protocol that the peer broke comes back as a sentence.
#pragma once

#include "rudp/options.h"
#include "rudp/sent_packets.h"
#include "rudp/stream.h"
#include "rudp/wire.h"

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace portolan::rudp {

// What the peer lets us send, from its transport parameters.
struct PeerLimits {
  std::uint64_t max_data = 0;
  std::uint64_t max_stream_data = 0;  // of each stream at first
  std::uint64_t max_streams = 0;
};

class Streams {
 public:
  struct Event {
    enum class Kind : std::uint8_t { opened, readable, writable, delivered, reset, stopped };
    Kind kind;
    StreamId stream;
    std::uint64_t code = 0;
  };
  using Problem = const char*;  // null: none

  // `initiator`: this side connected.
  Streams(const ConnectionOptions& options, bool initiator);
  ~Streams();
  void set_peer_limits(const PeerLimits& limits) noexcept;
  // What the peer may send at first.
  PeerLimits own_limits() const noexcept;

  // ---- The user's (connection.h) ----
  bool open(unsigned weight, StreamId& id);
  std::size_t write(StreamId id, std::span<const std::byte> data);
  std::size_t writable(StreamId id) const noexcept;
  void finish(StreamId id) noexcept;
  void reset(StreamId id, std::uint64_t code) noexcept;
  std::span<const std::byte> peek(StreamId id) const noexcept;
  void consume(StreamId id, std::size_t bytes) noexcept;
  bool ended(StreamId id) const noexcept;
  void stop(StreamId id, std::uint64_t code) noexcept;
  std::size_t unacknowledged(StreamId id) const noexcept;

  // ---- Frames that came ----
  Problem on_stream(StreamId id, std::uint64_t offset, std::span<const std::byte> data, bool end);
  Problem on_reset_stream(StreamId id, std::uint64_t code, std::uint64_t final_size);
  Problem on_stop_sending(StreamId id, std::uint64_t code);
  void on_max_data(std::uint64_t limit) noexcept;
  Problem on_max_stream_data(StreamId id, std::uint64_t limit);
  void on_max_streams(std::uint64_t limit) noexcept;

  // ---- Frames to send ----
  bool wants_to_send() const noexcept;
  bool has_control() const noexcept { return !control_.empty() || max_data_due_ || max_streams_due_; }
  // The end of a stream is near: what is left fits into `bytes`, and nothing follows for now.
  bool tail(std::uint64_t bytes) const noexcept;
  // Appends frames while there is room in the packet and in its record.
  void write_control(Writer& out, SentPacket& packet);
  void write_data(Writer& out, SentPacket& packet);
  // For a probe: of what is under way already, what was sent first. False: there is nothing.
  bool write_probe(Writer& out, SentPacket& packet);

  void on_acknowledged(const SentFrame& frame);
  void on_lost(const SentFrame& frame);

  std::vector<Event>& events() noexcept { return events_; }
  // Frees what is done with. Not while events wait.
  void sweep();
  std::uint64_t retransmitted() const noexcept { return retransmitted_; }
  std::size_t count() const noexcept { return streams_.size(); }

 private:
  struct Stream {
    StreamId id = 0;
    unsigned weight = 16;
    std::int64_t credit = 0;
    SendHalf out;
    ReceiveHalf in;
    std::uint64_t peer_window = 0;  // we may send up to this offset
    std::uint64_t window = 0;       // the peer may, as it was told
    std::uint64_t counted = 0;      // of what was received, as consumed
    std::uint64_t stop_code = 0;
    bool ready : 1 = false;
    bool in_control : 1 = false;
    bool window_due : 1 = false;
    bool reset_due : 1 = false;
    bool stop_due : 1 = false;
    bool writer_waits : 1 = false;
    bool delivered_told : 1 = false;
    bool done : 1 = false;
  };
  Stream* find(StreamId id) noexcept;
  const Stream* find(StreamId id) const noexcept;
  // Of a frame from the peer: null without a problem when the stream has gone already.
  Stream* find_or_open(StreamId id, Problem& problem);
  bool own(StreamId id) const noexcept { return (id & 1U) == (initiator_ ? 0U : 1U); }
  void make_ready(Stream& stream);
  bool sendable(const Stream& stream) const noexcept;
  void want_control(Stream& stream);
  void tell(Event::Kind kind, Stream& stream, std::uint64_t code = 0);
  // Who waits for room, when there is enough of it to be worth the while.
  void tell_writer(Stream& stream);
  std::uint64_t worth_telling() const noexcept;
  // So much less is held: the shared room may have become enough for all.
  void release(std::uint64_t bytes);
  std::uint64_t first_window() const noexcept;
  std::uint64_t unheld_window() const noexcept;  // of the connection's: what no reader has before it
  void renew_window(Stream& stream);
  void renew_window() noexcept;
  bool put_piece(Writer& out, SentPacket& packet, Stream& stream, SendHalf::Piece piece, bool again);
  void maybe_done(Stream& stream);

  ConnectionOptions options_;
  bool initiator_;
  std::unordered_map<StreamId, std::unique_ptr<Stream>> streams_;
  std::vector<Stream*> ready_;  // have something to send, in turns
  std::size_t turn_ = 0;
  std::vector<Stream*> control_;  // have a frame about themselves to send
  std::vector<StreamId> done_;
  std::vector<Event> events_;
  StreamId next_own_;
  std::uint64_t opened_own_ = 0;
  std::uint64_t opened_peer_ = 0;
  // What the peer allows.
  PeerLimits peer_;
  std::uint64_t data_sent_ = 0;  // highest offsets of all streams
  // What we allow.
  std::uint64_t max_data_;
  std::uint64_t data_received_ = 0;
  std::uint64_t data_consumed_ = 0;
  std::uint64_t max_streams_;
  bool max_data_due_ = false;
  bool max_streams_due_ = false;
  std::uint64_t held_ = 0;  // in memory for sending
  std::uint64_t retransmitted_ = 0;
};

}  // namespace portolan::rudp
