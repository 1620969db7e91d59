// One stream of a rudp connection, used as a socket: what a StreamConnection does with a descriptor otherwise, it does with
// this, so that every service runs over rudp:// unchanged.
//
// What both sides have to say of a stream before anything else (the connection under it may be old, and opening a stream
// alone sends nothing): whoever opens it writes one byte, kHello; whoever accepts it answers with the same. So a service that
// speaks first hears of its peer, and a dial that is done has been answered, as a TCP connection's has. A stream that is not
// accepted is reset with a code that says why. All after that is the service's.
//
// Owned by its StreamConnection; outlives the connection that it is of, and its host. One worker's thread. The handler is
// called from the loop alone, never from inside a call.
#pragma once

#include "event/io_event.h"
#include "net/address.h"
#include "rudp/connection.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace portolan {

class RudpHost;
class RudpLink;

class RudpStream {
 public:
  static constexpr std::byte kHello{1};
  // Why a stream was reset or its rest not wanted: on the wire.
  enum Code : std::uint64_t {
    kClosed = 0,    // its end is not interested any more
    kReset = 1,     // as a TCP connection is reset
    kRefused = 2,   // there are too many, they come too fast, or the service is ending
    kProtocol = 3,  // it did not begin with kHello
  };

  enum class State : std::uint8_t { waiting, open, failed };

  // Not yet opened, or (with `id`) accepted. Of `link`, on `host`.
  RudpStream(RudpHost& host, RudpLink& link);
  RudpStream(RudpHost& host, RudpLink& link, rudp::StreamId id);
  ~RudpStream();
  RudpStream(const RudpStream&) = delete;
  RudpStream& operator=(const RudpStream&) = delete;

  // ---- As a socket ----
  void bind(IoEvent::Handler handler, void* owner) noexcept;
  // As IoEvent's, and like there the handler is called again as long as there is something.
  void want(short events) noexcept;
  short wanted() const noexcept { return wanted_; }
  // Whether it was accepted.
  State state() const noexcept { return failure_ != NetError::none ? State::failed : state_; }
  NetError failure() const noexcept { return failure_; }
  std::string_view message() const noexcept { return message_; }  // a sentence without the target

  // As recv(2): what there is, 0 for nothing; see ended and failure.
  std::size_t receive(std::span<std::byte> into) noexcept;
  bool ended() const noexcept { return ended_; }  // and all of it was received
  bool readable() const noexcept;
  // As send(2): bytes taken; -1: none will be any more, see output_failure.
  std::ptrdiff_t send(std::span<const std::byte> data) noexcept;
  NetError output_failure() const noexcept { return failure_ != NetError::none ? failure_ : NetError::reset; }
  // shutdown(SHUT_WR).
  void finish() noexcept;
  // It goes with a reset; otherwise what was written is delivered after the object has gone.
  void cut() noexcept { cut_ = true; }
  Address local() const noexcept;

 private:
  friend class RudpHost;
  friend class RudpLink;
  // Bits of want() that something is there for.
  short ready() const noexcept;
  void opened(rudp::StreamId id) noexcept;
  bool say_hello() noexcept;
  void hear_hello() noexcept;
  void fail(NetError why, std::string_view message) noexcept;
  void notify() noexcept;
  rudp::Connection* connection() const noexcept;  // null: there is none, or it has not been opened

  RudpHost* host_;         // null: it has gone
  RudpLink* link_;         // null: its connection has ended
  rudp::StreamId id_ = 0;  // from opened_ on
  IoEvent::Handler handler_ = nullptr;
  void* owner_ = nullptr;
  std::string message_;
  std::uint64_t heard_before_ = 0;  // packets of the peer, when it was begun
  short wanted_ = 0;
  NetError failure_ = NetError::none;
  State state_ = State::waiting;
  bool opened_ = false;
  bool said_hello_ = false;
  bool queued_ = false;
  bool ended_ = false;
  bool finished_ = false;
  bool delivered_ = false;
  bool cut_ = false;
  bool unwanted_ = false;  // the peer does not want the rest of the output
};

}  // namespace portolan
