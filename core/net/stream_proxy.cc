// What comes before a session when the service is behind a proxy: the PROXY header (net/proxy_protocol.h) that says whose
// session it is. Until it has come, the connection is the proxy's, and counts for max_sessions alone.
//
// The header alone is taken from the socket, by looking before reading: what follows it is there for TLS, the plugin and
// splice(2) as if there had been nothing in front.
#include "base/callback.h"
#include "base/log.h"
#include "base/net_error.h"
#include "net/proxy_protocol.h"
#include "net/stream_connection.h"
#include "net/worker_io.h"
#include "plugin/instance.h"

#include <sys/socket.h>

#include <cerrno>
#include <cstring>

namespace portolan {

void StreamConnection::await_proxy_header() noexcept {
  state_ = State::proxy_header;
  counted_ = false;
  move_to(instance_.proxied);
}

void StreamConnection::read_proxy_header() noexcept {
  const std::size_t limit = instance_.configuration.proxy_protocol->max_size;
  std::byte* const buffer = instance_.io.read_buffer();
  const std::size_t held = input_ ? input_->size() : 0;
  if (held) std::memcpy(buffer, input_->data(), held);
  const ssize_t seen = recv(descriptor_, buffer + held, limit - held, MSG_PEEK);
  if (seen < 0) return errno == EAGAIN || errno == EINTR ? void() : destroy(net_error_of(errno));
  // Some proxies check whether a service is there by a connection alone: nobody's session, and no refusal.
  if (seen == 0 && !held) return destroy(NetError::none);
  if (seen == 0) return refuse_proxy(Refusal::bad_message, "the PROXY header is cut off");

  const std::size_t size = held + static_cast<std::size_t>(seen);
  const auto header = parse_proxy_header({buffer, size}, limit);
  if (!header && !header.error().missing) return refuse_proxy(Refusal::bad_message, header.error().reason);
  // What a header that is not whole consists of is all its own. Read again, the bytes are the same ones.
  const std::size_t its_own = header ? header->size - held : size - held;
  if (recv(descriptor_, buffer + held, its_own, 0) != static_cast<ssize_t>(its_own)) return destroy(NetError::system);
  const bool kept = contain("a PROXY header", [&] {
    if (header)
      take_over_from_proxy(*header);
    else
      input_ = std::make_unique<std::vector<std::byte>>(buffer, buffer + size);
  });
  if (!kept || !header) return kept ? void() : destroy(NetError::system);
  begin_proxied_session();
}

void StreamConnection::take_over_from_proxy(const ProxyHeader& header) {
  input_.reset();
  if (header.source.empty()) return;  // LOCAL, UNKNOWN and the like: the proxy speaks for itself
  destination_ = std::make_unique<NetAddress>(header.destination.plain());
  peer_ = header.source;
  peer_text_.reset();
}

void StreamConnection::begin_proxied_session() noexcept {
  const auto admission = instance_.admit_session(peer_, Instance::Blame::stream, Instance::Place::taken);
  if (!admission.admitted) {
    reset_asked_ = admission.drop;
    return destroy(NetError::none);
  }
  client_ = admission.client;
  counted_ = instance_.statistics;
  state_ = tls_ ? State::handshake : State::open;
  move_to(had_message_ ? instance_.active : instance_.awaiting);
  tls_ ? advance_handshake() : static_cast<void>(open_handler());
}

// Not on the proxy's account: it is trusted, and a ban of its address would be one of all its clients.
void StreamConnection::refuse_proxy(Refusal reason, std::string_view why) noexcept {
  refused_ = true;
  refusal_ = reason;
  instance_.refuse(reason, peer_, Instance::Blame::nobody);
  log::print(LogLevel::info, {instance_.configuration.name, id_}, "a connection of {} is refused: {}", info().peer,
             why);
  destroy(NetError::protocol);
}

}  // namespace portolan
