// One UDP socket's worth of rudp: tells packets apart, answers handshakes, and owns the connections. No I/O.
//
// The owner (net/rudp_socket.h, or a simulator) hands it what was received, asks it for what is to be sent, and calls
// on_timeout when `deadline` has come. One thread.
//
// Spoofing: an answer to who has not proved its address is never larger than 3 times what came from there, and when
// `half_open` handshakes are under way, nothing is kept for a new one until it has come back with a cookie (RFC 9000,
// sections 8.1 and 8.1.2).
#pragma once

#include "rudp/connection.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

namespace portolan::rudp {

struct EndpointOptions {
  ConnectionOptions connection = {};  // of those that come from peers
  bool accepts = false;               // connections of peers; else they are refused without an answer
  std::size_t max_connections = 1000;
  std::size_t half_open = 32;  // handshakes under way above which cookies are asked for; 0: always
  // Of the endpoints that share one port: this one's number, and how many there are. The ids of its connections are
  // congruent to `place` modulo `places` in their lowest 32 bits, so that who hands out datagrams finds the owner of
  // each (net/rudp_steering.h).
  std::uint32_t place = 0;
  std::uint32_t places = 1;
  // Under which the tokens of RESET are made. One that a restart does not change tells peers at once that their
  // connections have gone; one that two endpoints share lets either of them end the other's (RFC 9000, section 21.11).
  // None: random, so that peers learn of a restart by silence.
  std::optional<Secret> reset_key;
};

class EndpointHandler {
 public:
  // A peer has completed a handshake. Null refuses it.
  virtual ConnectionHandler* on_connection(Connection&) noexcept { return nullptr; }
  // A datagram of another protocol on the same port: its first byte is below 0x40, which is where the seed formats are.
  virtual void on_foreign_datagram(const Address& from, const Address& to, std::span<const std::byte> data) noexcept {
    (void)from;
    (void)to;
    (void)data;
  }
  // There is something to send, or the deadline has changed, because of a call from outside receive and on_timeout.
  virtual void on_wake() noexcept {}

 protected:
  ~EndpointHandler() = default;
};

// A train of datagrams to one address, all of `segment` bytes but the last, which may be shorter: what UDP_SEGMENT takes.
struct Train {
  Address to;
  Address from;  // local address; empty: the system's choice
  std::span<const std::byte> data;
  std::size_t segment = 0;
  bool probe =
      false;  // of the path's MTU: to be sent with the don't-fragment bit whatever the kernel knows of the path
};

class Endpoint {
 public:
  Endpoint(const EndpointOptions& options, EndpointHandler& handler);
  ~Endpoint();
  Endpoint(const Endpoint&) = delete;
  Endpoint& operator=(const Endpoint&) = delete;

  // Begins a handshake; the connection can be written to at once. Owned by the endpoint until on_closed has returned.
  // Null when out of memory.
  Connection* connect(const Address& to, const ConnectionOptions& options, ConnectionHandler& handler,
                      Duration now) noexcept;

  // A datagram from the network; it is decrypted in place. `to` is the local address, empty when it is not known.
  void receive(const Address& from, const Address& to, std::span<std::byte> data, Duration now) noexcept;
  // Builds the next train into `buffer` (of 64 KiB). False: nothing may be sent now; see deadline.
  bool transmit(Train& train, std::span<std::byte> buffer, Duration now) noexcept;
  // When on_timeout, and then transmit, is to be called: Duration::max() for never.
  Duration deadline() const noexcept;
  void on_timeout(Duration now) noexcept;
  // A train could not be sent because its datagrams are too long for the path (EMSGSIZE).
  void too_long(const Address& to, std::size_t segment, Duration now) noexcept;

  // From now on, for connections that peers begin.
  void set_options(const EndpointOptions& options) noexcept;
  std::size_t connections() const noexcept;
  // Closes every connection, in order; they are gone when connections() is 0.
  void close_all(std::uint64_t code, std::string_view reason) noexcept;
  // Time as the caller's last call has told it.
  Duration now() const noexcept;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace portolan::rudp
