#include "rudp_port.h"

#include "base/callback.h"
#include "net/stream_connection.h"
#include "plugin/instance.h"

#include <algorithm>
#include <cerrno>

namespace portolan {

namespace {

// Of connections, each of which may carry all sessions of an appliance.
constexpr std::uint32_t kMostConnections = 10'000;

rudp::EndpointOptions endpoint_options(const Instance& instance, unsigned places) {
  rudp::EndpointOptions options;
  if (instance.configuration.rudp) options.connection = *instance.configuration.rudp;
  options.accepts = true;
  options.place = instance.io.worker() % places;
  options.places = places;
  const std::uint32_t sessions = instance.limits.max_sessions;
  options.max_connections = sessions ? std::min(sessions, kMostConnections) : kMostConnections;
  // Sessions are counted by the service; this only has to be no less.
  options.connection.max_streams = sessions ? sessions : kMostConnections;
  return options;
}

}  // namespace

std::expected<std::unique_ptr<RudpPort>, std::string> RudpPort::make(Loop& loop, int descriptor, unsigned places,
                                                                     Instance& instance) {
  std::unique_ptr<RudpPort> port(new RudpPort(loop, places));
  auto socket = RudpSocket::adopt(loop, descriptor, endpoint_options(instance, places), *port);
  if (!socket) return std::unexpected(socket.error());
  port->socket_ = std::move(*socket);
  port->serve(&instance);
  return port;
}

void RudpPort::forget(const Instance& instance) noexcept {
  messages_.forget(instance);
  foreign_.forget(instance);
}

// ---- What comes beside streams -------------------------------------------------------------------------------

void RudpPort::Datagrams::receive(const DatagramBatch::Received& datagram) noexcept {
  Instance& instance = *instance_;
  instance.io.tick();
  take(datagram);
  instance.io.settle();
}

void RudpPort::Datagrams::send(DatagramSession& session, std::span<const std::byte> data) noexcept {
  if (transport() == Transport::udp) {
    port_.socket_->send_foreign(session.peer, session.local, data);
    return session.sent(data.size());
  }
  const auto found = port_.speakers_.find(session.peer);
  const bool taken =
      found != port_.speakers_.end() && found->second->connection() && found->second->connection()->send_message(data);
  taken ? session.sent(data.size()) : session.not_sent(EAGAIN);
}

void RudpPort::on_foreign_datagram(const Address& from, const Address& to, std::span<const std::byte> data) noexcept {
  if (!instance_ || !instance_->configuration.plugin->rudp_datagrams) return;
  foreign_.receive({.data = data, .from = from, .to = to});
}

void RudpPort::message(RudpLink& link, std::span<const std::byte> data) noexcept {
  if (!instance_ || !instance_->configuration.plugin->rudp_datagrams || !link.connection()) return;
  const Address peer = link.connection()->peer();
  if (!contain("a message of rudp", [&] { speakers_[peer] = &link; })) return;
  messages_.receive({.data = data, .from = peer, .to = {}});
}

void RudpPort::forget(RudpLink& link) noexcept {
  std::erase_if(speakers_, [&link](const auto& one) { return one.second == &link; });
}

// ---- Streams -------------------------------------------------------------------------------------------------

void RudpPort::serve(Instance* instance) noexcept {
  instance_ = instance;
  messages_.point_to(instance);
  foreign_.point_to(instance);
  if (instance) socket_->endpoint().set_options(endpoint_options(*instance, places_));
}

rudp::ConnectionHandler* RudpPort::on_connection(rudp::Connection& connection) noexcept {
  if (!instance_) return nullptr;
  if (instance_->banned(connection.peer())) {
    instance_->refuse(Refusal::banned, connection.peer(), Instance::Blame::datagram);
    return nullptr;
  }
  RudpLink* link = add_link({}, {});
  if (link) link->attach(connection);
  return link;
}

void RudpPort::accept(RudpLink& link, rudp::StreamId id) noexcept {
  if (!instance_ || !link.connection()) return link.refuse(id, RudpStream::kRefused);
  const Address peer = link.connection()->peer();
  Instance& instance = *instance_;
  instance.io.tick();
  const auto admission = instance.admit_session(peer);
  if (!admission.admitted) {
    link.refuse(id, RudpStream::kRefused);
  } else if (auto stream = link.accept(id)) {
    StreamConnection::accept(instance, std::move(stream), peer, admission.client);
  } else {
    instance.session_ended(admission.client);
  }
  instance.io.settle();
}

}  // namespace portolan
