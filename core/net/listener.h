// Bound sockets: made on the main thread, owned by core, kept over reloads.
//
// A BoundListener is one address with a socket for each worker that serves it (SO_REUSEPORT), or one socket shared
// by all (unix, socket activation). The options that Linux hands from a listening socket to the accepted one
// (TCP_NODELAY, keep-alive) are set once, here. Main thread.
#pragma once

#include "base/unique_fd.h"
#include "net/address.h"

#include <cstdint>
#include <expected>
#include <memory>
#include <string>
#include <vector>

namespace portolan {

struct SocketOptions {
  bool no_delay = true;
  bool keep_alive = true;
  std::uint32_t backlog = 1024;
  std::uint32_t unix_mode = 0660;
  friend bool operator==(const SocketOptions&, const SocketOptions&) = default;
};

class BoundListener {
 public:
  // Binds (stream sockets listen from now on, so that connections wait rather than being refused). The error names
  // the address and what to do.
  static std::expected<std::unique_ptr<BoundListener>, std::string> bind(const Endpoint& endpoint,
                                                                         const SocketOptions& options,
                                                                         unsigned workers);
  // Takes over a socket that systemd bound.
  static std::expected<std::unique_ptr<BoundListener>, std::string> adopt(UniqueFd socket, const Endpoint& endpoint,
                                                                          const SocketOptions& options);
  ~BoundListener();

  void apply(const SocketOptions& options) noexcept;
  const Endpoint& requested() const noexcept { return requested_; }
  // With the port that the system chose.
  const Endpoint& actual() const noexcept { return actual_; }
  int descriptor(unsigned worker) const noexcept { return sockets_[worker % sockets_.size()].get(); }
  std::size_t sockets() const noexcept { return sockets_.size(); }
  // What two listeners may not share: tcp and tls are the same socket, and so are udp and rudp.
  static std::string key(const Endpoint& endpoint);

 private:
  BoundListener(const Endpoint& requested) : requested_(requested), actual_(requested) {}
  Endpoint requested_;
  Endpoint actual_;
  std::vector<UniqueFd> sockets_;
  bool owns_path_ = false;
};

// Binds a stream socket for the admin API; the same rules and messages.
std::expected<std::unique_ptr<BoundListener>, std::string> bind_admin(const Endpoint& endpoint, std::uint32_t mode);

// The endpoint that a socket is bound to; the error when it is none that we know.
std::expected<Endpoint, std::string> endpoint_of(int descriptor);

}  // namespace portolan
