// A connection of rudp: streams, messages, and how it ends.
//
// Owned by its Endpoint. One thread, that of the endpoint's loop. Handlers are called from inside Endpoint::receive and
// Endpoint::on_timeout; they may call anything here. A function that has given the connection something to send makes the
// endpoint ask for its turn (EndpointHandler::on_wake).
#pragma once

#include "net/address.h"
#include "rudp/options.h"

#include <expected>
#include <memory>
#include <span>
#include <string_view>

namespace portolan::rudp {

class Connection;
class ConnectionEngine;

class ConnectionHandler {
 public:
  // The peer has answered and, where there is a key, proved that it has it. What was written before goes out now.
  virtual void on_connected(Connection&) noexcept {}
  // The peer has opened a stream; on_readable follows when there is something.
  virtual void on_stream(Connection&, StreamId) noexcept {}
  // There are new bytes in peek, or the stream has ended.
  virtual void on_readable(Connection&, StreamId) noexcept {}
  // There is room again after write took less than it was given.
  virtual void on_writable(Connection&, StreamId) noexcept {}
  // All that was written and the end of the stream have been acknowledged by the peer.
  virtual void on_delivered(Connection&, StreamId) noexcept {}
  // The peer gave its side of the stream up; what was not read is gone.
  virtual void on_reset(Connection&, StreamId, std::uint64_t code) noexcept { (void)code; }
  // The peer does not want the rest of what this side writes: reset follows by itself.
  virtual void on_stop(Connection&, StreamId, std::uint64_t code) noexcept { (void)code; }
  // A whole message; `data` is valid during the call.
  virtual void on_message(Connection&, std::span<const std::byte> data) noexcept { (void)data; }
  // The last call. The connection is destroyed soon after, not inside of this call.
  virtual void on_closed(Connection&, const CloseReason& why) noexcept { (void)why; }

 protected:
  ~ConnectionHandler() = default;
};

class Connection {
 public:
  // ---- Streams: ordered bytes in both directions, each with its own flow control ----

  // Nothing is sent for it until something is written. `weight` 1 to 256: its share while several have something to
  // send. The error, a sentence: the peer allows no more streams now, or the connection closes.
  std::expected<StreamId, std::string_view> open_stream(unsigned weight = 16) noexcept;
  // Copies as much as there is room for and says how much that was. Less than `data.size()`: on_writable comes.
  std::size_t write(StreamId stream, std::span<const std::byte> data) noexcept;
  // Bytes that write would take now.
  std::size_t writable(StreamId stream) const noexcept;
  // No more is written: the peer sees the end after all before it.
  void finish(StreamId stream) noexcept;
  // Gives this side's output up; what the peer has not got it will never get.
  void reset(StreamId stream, std::uint64_t code) noexcept;
  // What has been received and not consumed, as far as it lies in one piece; empty: nothing now.
  std::span<const std::byte> peek(StreamId stream) const noexcept;
  void consume(StreamId stream, std::size_t bytes) noexcept;
  // The peer has finished, and all of it was consumed.
  bool ended(StreamId stream) const noexcept;
  // This side does not want the rest: the peer is told, what comes is dropped.
  void stop(StreamId stream, std::uint64_t code) noexcept;
  // Bytes written that the peer has not acknowledged.
  std::size_t unacknowledged(StreamId stream) const noexcept;

  // ---- Messages: whole or not at all, not ordered ----

  // Copies it. False: longer than the peer or the path (unreliable: one packet) takes, or no room in the send buffer.
  bool send_message(std::span<const std::byte> data, const MessageOptions& options = {}) noexcept;

  // ---- The connection ----

  // Tells the peer at once; what was not acknowledged may be lost. on_closed comes from the endpoint's next turn.
  void close(std::uint64_t code, std::string_view reason) noexcept;
  bool connected() const noexcept;
  bool protected_by_key() const noexcept;
  const Address& peer() const noexcept;
  ConnectionStatistics statistics() const noexcept;
  void set_handler(ConnectionHandler& handler) noexcept;

 private:
  friend class ConnectionEngine;
  explicit Connection(ConnectionEngine& engine) noexcept : engine_(engine) {}
  ConnectionEngine& engine_;
};

}  // namespace portolan::rudp
