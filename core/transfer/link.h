// What carries a transfer between two commands: one ordered stream to a peer, over rudp, TCP or a unix socket.
//
// Belongs to one loop and its thread. Handlers are called from the loop, never from inside a call to the link, and may do
// anything but destroy it. (In the daemon a core Stream takes this place: plugins/drop_box.)
#pragma once

#include "event/loop.h"
#include "net/address.h"
#include "rudp/options.h"

#include <cstddef>
#include <expected>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace portolan::transfer {

inline constexpr std::uint16_t kDefaultPort = 7660;

enum class Carrier : std::uint8_t { rudp, tcp, unix_socket };

// HOST[:PORT] of rudp, or one of rudp://HOST[:PORT], tcp://HOST[:PORT], unix://PATH.
struct Place {
  Carrier carrier = Carrier::rudp;
  std::string name;  // a host name that is to be resolved; empty: `address` is whole
  Address address;
  std::string path;
  std::string to_string() const;

  // The error is a sentence. `to_listen`: a number, no name; the port may be 0.
  static std::expected<Place, std::string> parse(std::string_view text, bool to_listen);
};

struct LinkClosed {
  std::string why;        // "nobody answers"
  bool final = false;     // it is no use to try again: a wrong key, a protocol that is not spoken there
  bool in_order = false;  // the peer has ended it
};

class LinkHandler {
 public:
  virtual void on_open() noexcept = 0;                         // of one that was dialed
  virtual void on_input() noexcept = 0;                        // there are new bytes in peek
  virtual void on_room() noexcept = 0;                         // write takes bytes again
  virtual void on_closed(const LinkClosed& how) noexcept = 0;  // the last call

 protected:
  ~LinkHandler() = default;
};

// Of rudp, for what a person or a test wants to know; zeros otherwise.
struct LinkFigures {
  Duration rtt{};
  double loss = 0;
  std::uint64_t bytes_sent = 0;  // on the wire
  std::uint64_t retransmitted = 0;
};

class Link {
 public:
  virtual ~Link() = default;
  virtual void set_handler(LinkHandler& handler) noexcept = 0;
  virtual std::span<const std::byte> peek() const noexcept = 0;
  virtual void consume(std::size_t bytes) noexcept = 0;
  // How many of them it took; fewer than all: on_room comes.
  virtual std::size_t write(std::span<const std::byte> data) noexcept = 0;
  // Ends it, without on_closed; what was written and not acknowledged may be lost.
  virtual void close() noexcept = 0;
  virtual std::string peer() const = 0;
  virtual LinkFigures figures() const noexcept { return {}; }
};

struct LinkOptions {
  rudp::ConnectionOptions rudp;  // its max_rate holds for TCP, too
};

// Begins to connect. The error is a failure of this machine.
std::expected<std::unique_ptr<Link>, std::string> dial(Loop& loop, const Place& place, const LinkOptions& options,
                                                       LinkHandler& handler);

class LinkAcceptor {
 public:
  // Whether a peer may come in at all.
  virtual bool admits(const Address& peer) noexcept = 0;
  // Its handler is to be set before this returns.
  virtual void on_link(std::unique_ptr<Link> link) noexcept = 0;

 protected:
  ~LinkAcceptor() = default;
};

class LinkListener {
 public:
  virtual ~LinkListener() = default;
  virtual Place local() const = 0;
};
std::expected<std::unique_ptr<LinkListener>, std::string> listen(Loop& loop, const Place& place,
                                                                 const LinkOptions& options, LinkAcceptor& acceptor);

}  // namespace portolan::transfer
