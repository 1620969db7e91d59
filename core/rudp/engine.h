// The engine of one connection: from its handshake to its end. No I/O.
//
// It belongs to its endpoint (endpoint.cc), which hands it the packets with its connection id and asks it for what to send. Its
// parts each have a file: handshake.h and protection.h (security), acknowledger.h (what was received), recovery.h (what
// became of what was sent), streams.h, messages.h, fec_block.h, path_mtu.h. Here they are put together: packets are read in
// engine_receive.cc, and built in engine_send.cc.
#pragma once

#include "rudp/acknowledger.h"
#include "rudp/connection.h"
#include "rudp/engine_queue.h"
#include "rudp/fec_block.h"
#include "rudp/handshake.h"
#include "rudp/messages.h"
#include "rudp/path_mtu.h"
#include "rudp/protection.h"
#include "rudp/recovery.h"
#include "rudp/replay_window.h"
#include "rudp/streams.h"

#include <array>
#include <optional>
#include <vector>

namespace portolan::rudp {

struct Train;

class ConnectionEngine;

// What both sides of a handshake have to agree on without sending it: the wire's version and the initiator's id.
std::array<std::byte, 12> handshake_prologue(std::uint64_t initiator_id) noexcept;

// Whom an engine belongs to.
class EngineOwner {
 public:
  // It has something to send, to tell, or another deadline.
  virtual void on_engine_wake(ConnectionEngine& engine) noexcept = 0;
  // The peer of a connection that it opened has proved that it is there. Null: it is refused.
  virtual ConnectionHandler* on_engine_accepted(Connection& connection) noexcept = 0;

 protected:
  ~EngineOwner() = default;
};

class ConnectionEngine final : FrameOwner {
 public:
  enum class State : std::uint8_t {
    connecting,  // the initiator waits for ACCEPT
    half_open,   // the acceptor waits for the first packet that opens
    open,
    closing,   // CLOSE was sent, and is sent again to who does not know
    draining,  // CLOSE was received
    closed,
  };

  // The initiator's side: the handshake begins with the next transmit.
  ConnectionEngine(EngineOwner& owner, const ConnectionOptions& options, const Address& peer,
                   ConnectionHandler& handler, std::uint64_t own_id, Duration now);
  // The acceptor's, by an INITIAL whose first message has been read. `reset_token` goes to the peer.
  ConnectionEngine(EngineOwner& owner, const ConnectionOptions& options, const Address& peer, const Address& local,
                   std::uint64_t own_id, std::uint64_t peer_id, Handshake&& handshake, Bytes parameters,
                   std::span<const std::byte, 16> reset_token, Duration now);
  ~ConnectionEngine();

  // ---- The endpoint's ----
  Connection& connection() noexcept { return connection_; }
  State state() const noexcept { return state_; }
  std::uint64_t own_id() const noexcept { return own_id_; }
  std::uint64_t peer_id() const noexcept { return peer_id_; }
  const Address& peer() const noexcept { return peer_; }

  void on_data_packet(const Address& from, const Address& to, std::span<std::byte> packet, Duration now);
  void on_accept(Reader& in, Duration now);
  void on_retry(Bytes cookie, Duration now);
  void on_versions(Reader& in);
  void on_refused(HandshakeError why, std::uint8_t code);
  void on_reset(std::span<const std::byte, 16> token);
  // The initiator has sent its INITIAL again: it did not hear us.
  void repeat_accept() noexcept { accept_due_ = state_ == State::half_open; }

  bool transmit(Train& train, std::span<std::byte> buffer, Duration now);
  Duration deadline(Duration now) const noexcept;
  void on_timeout(Duration now);
  void too_long(std::size_t segment, Duration now);
  // Tells the handler what has happened. Outside of the reading of packets.
  void deliver_events();
  // The last call was made, and nothing keeps it any longer.
  bool finished() const noexcept { return state_ == State::closed && end_told_; }

  QueuePlace place;  // the endpoint's

  // ---- The user's (connection.h) ----
  std::expected<StreamId, std::string_view> open_stream(unsigned weight);
  std::size_t write(StreamId stream, std::span<const std::byte> data);
  void finish(StreamId stream);
  void reset(StreamId stream, std::uint64_t code);
  void consume(StreamId stream, std::size_t bytes);
  void stop(StreamId stream, std::uint64_t code);
  bool send_message(std::span<const std::byte> data, const MessageOptions& options);
  void close(std::uint64_t code, std::string_view reason);
  Streams& streams() noexcept { return streams_; }
  bool is_open() const noexcept { return state_ == State::open; }
  bool protected_by_key() const noexcept { return options_.key.has_value(); }
  ConnectionStatistics statistics() const noexcept;
  void set_handler(ConnectionHandler& handler) noexcept { handler_ = &handler; }

 private:
  using Problem = const char*;                         // null: none
  static constexpr std::size_t kMostProtected = 1500;  // bytes of frames of a packet that repairs protect
  static constexpr unsigned kPingAfter = 200;          // packets in a row that asked for no acknowledgement

  // ---- Handshake (engine.cc) ----
  std::vector<std::byte> own_parameters() const;
  bool read_parameters(Reader& in);
  void become_open(Duration now);
  bool refused_often() noexcept;
  bool build_initial(Train& train, std::span<std::byte> buffer, Duration now);
  bool build_accept(Train& train, std::span<std::byte> buffer);

  // ---- The end ----
  void end(CloseReason::Kind kind, std::uint64_t code, std::string_view text);
  void close_with(CloseReason::Kind kind, std::uint64_t wire_code, std::string_view text);

  // ---- Receiving (engine_receive.cc) ----
  Problem read_frames(Bytes frames, const Address& from, bool& counts, bool recovered);
  Problem read_fec_source(Reader& in, std::uint64_t number);
  Problem read_fec_repair(Reader& in);
  Problem take_recovered(std::span<const FecDecoder::Packet> packets);
  void note_address(const Address& from, const Address& to, std::size_t bytes, bool newest);
  void on_path_response(std::uint64_t challenge, const Address& from);

  // ---- Sending (engine_send.cc) ----
  std::size_t build_packet(std::span<std::byte> out, bool content);
  void write_content(Writer& out, SentPacket& packet);
  bool write_path_frames(Train& train, std::span<std::byte> buffer);
  bool write_mtu_probe(Train& train, std::span<std::byte> buffer);
  bool write_close(Train& train, std::span<std::byte> buffer);
  void begin_header(Writer& out) const;
  std::size_t seal(std::span<std::byte> packet, std::size_t size);
  bool has_content() const noexcept;
  bool wants_redundancy() const noexcept;
  void update_redundancy();
  Train to_peer(std::span<const std::byte> data, std::size_t segment) const;

  // ---- FrameOwner ----
  void on_frame_acknowledged(const SentFrame& frame) override;
  void on_frame_lost(const SentFrame& frame) override;
  void on_mtu_probe(std::size_t bytes, bool acknowledged) override;
  void on_large_packet_fate(bool acknowledged) override;

  // When a PING is due; never, mostly.
  Duration keep_alive_at() const noexcept {
    const bool wanted = initiator_ && options_.keep_alive > Duration::zero() && !ping_due_;
    // Of the two idle timeouts the shorter one counts, and a PING may be lost.
    return wanted ? last_sent_at_ + std::min(options_.keep_alive, idle_timeout_ / 3) : Duration::max();
  }
  void wake() noexcept { owner_.on_engine_wake(*this); }

  EngineOwner& owner_;
  ConnectionOptions options_;
  ConnectionHandler* handler_;
  Connection connection_{*this};
  State state_;
  bool initiator_;
  Duration now_;
  Address peer_;
  Address local_;
  std::uint64_t own_id_;
  std::uint64_t peer_id_ = 0;

  // Handshake.
  std::optional<Handshake> handshake_;
  std::vector<std::byte> first_message_;  // ours: message 1, or message 2
  std::vector<std::byte> cookie_;
  Duration began_at_;
  Duration initial_sent_at_{};
  Duration initial_due_at_{};
  Duration retried_at_{};
  unsigned initials_ = 0;
  unsigned refusals_ = 0;
  unsigned refused_initial_ = 0;
  unsigned accepts_ = 0;
  Duration accepted_at_{};
  bool accept_due_ = false;
  std::optional<std::array<std::byte, 16>> reset_token_;  // by which the peer says that it knows us no more

  // Security.
  std::optional<PacketSealer> sealer_;
  std::optional<PacketOpener> opener_;
  ReplayWindow replay_;
  std::uint64_t largest_received_ = 0;
  bool received_any_ = false;

  // What goes on.
  Acknowledger acknowledger_;
  Recovery recovery_;
  Streams streams_;
  Messages messages_;
  PathMtu mtu_;
  Duration idle_timeout_;
  Duration last_received_at_;
  Duration last_sent_at_;
  bool ping_due_ = false;

  // Redundancy.
  FecPolicy fec_policy_;
  std::optional<FecEncoder> fec_encoder_;
  std::optional<FecDecoder> fec_decoder_;
  std::uint64_t fec_blocks_recovered_ = 0, fec_blocks_failed_ = 0;
  std::vector<std::byte> twice_;  // frames of a packet that goes once more
  SentPacket twice_packet_;

  // Another address of the peer (RFC 9000, section 9).
  struct Path {
    Address peer;
    Address local;
    std::uint64_t challenge = 0;
    Duration due_at{};
    unsigned sent = 0;
    std::uint64_t received = 0;  // bytes: what goes there before it is proven is at most 3 times as much
    std::uint64_t bytes = 0;     // sent
  };
  std::optional<Path> candidate_;
  Address arrived_at_;  // where the packet that is read came to
  struct Response {
    Address to;
    Address from;
    std::uint64_t data;
  };
  std::optional<Response> response_;

  // The end.
  CloseReason reason_;
  std::vector<std::byte> close_frame_;
  bool close_due_ = false;
  Duration close_until_{};
  unsigned heard_closing_ = 0;
  bool end_told_ = false;
  bool opened_told_ = false;

  std::uint64_t packets_sent_ = 0, packets_received_ = 0, bytes_sent_ = 0, bytes_received_ = 0;
  std::uint64_t packets_recovered_ = 0, path_changes_ = 0;
};

}  // namespace portolan::rudp
