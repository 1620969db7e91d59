// A UDP socket that speaks rudp (core/rudp/endpoint.h): reads with recvmmsg and UDP_GRO, sends trains with UDP_SEGMENT, falls
// back to single datagrams where the kernel or the device takes none, and paces by a timer of its loop.
//
// What could not be sent because the socket's buffer or the device's queue is full is kept and goes first as soon as there
// is room; nothing is built meanwhile. What the network says (ICMP) is passed on to who asked for it, and believed by nobody
// here.
//
// Belongs to one loop and its thread; not to be destroyed from inside a handler. Its connections end with it, without a word to their peers: call
// endpoint().close_all and wait until there are none for an end in order.
#pragma once

#include "event/loop.h"
#include "rudp/endpoint.h"

#include <expected>
#include <functional>
#include <memory>
#include <string>

namespace portolan {

class RudpSocket {
 public:
  // Binds a socket of its own; port 0 takes any. The error is a sentence without the address. `handler`'s on_wake is not
  // called: the socket has taken it over. Without a reset_key, one that accepts takes a key that it has again when the
  // program is started anew at the same address, until the machine is.
  static std::expected<std::unique_ptr<RudpSocket>, std::string> open(Loop& loop, const Address& local,
                                                                      const rudp::EndpointOptions& options,
                                                                      rudp::EndpointHandler& handler);
  // Takes over a bound, non-blocking descriptor.
  static std::expected<std::unique_ptr<RudpSocket>, std::string> adopt(Loop& loop, int descriptor,
                                                                       const rudp::EndpointOptions& options,
                                                                       rudp::EndpointHandler& handler);
  virtual ~RudpSocket() = default;

  virtual rudp::Endpoint& endpoint() noexcept = 0;
  virtual Address local() const noexcept = 0;
  // As Endpoint::connect, with the loop's time.
  virtual rudp::Connection* connect(const Address& to, const rudp::ConnectionOptions& options,
                                    rudp::ConnectionHandler& handler) noexcept = 0;
  // Calls `told` when the network says that there is no way to an address, or nobody there (an errno: ECONNREFUSED). Who
  // sees the packets can forge it; good to end a handshake early.
  virtual void watch_unreachable(std::function<void(const Address&, int error_number)> told) noexcept = 0;
  // A datagram of another protocol on the same port (the seed formats). Lost where it cannot be sent.
  virtual void send_foreign(const Address& to, const Address& from, std::span<const std::byte> data) noexcept = 0;
};

}  // namespace portolan
