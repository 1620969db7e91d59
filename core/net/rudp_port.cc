#include "rudp_port.h"

#include "base/log.h"
#include "net/stream_connection.h"
#include "plugin/instance.h"

#include <algorithm>

namespace portolan {

namespace {

// Of connections, each of which may carry all sessions of an appliance.
constexpr std::uint32_t kMostConnections = 10'000;

rudp::EndpointOptions endpoint_options(const Instance& instance) {
  rudp::EndpointOptions options;
  if (instance.configuration.rudp) options.connection = *instance.configuration.rudp;
  options.accepts = true;
  const std::uint32_t sessions = instance.limits.max_sessions;
  options.max_connections = sessions ? std::min(sessions, kMostConnections) : kMostConnections;
  // Sessions are counted by the service; this only has to be no less.
  options.connection.max_streams = sessions ? sessions : kMostConnections;
  return options;
}

}  // namespace

std::expected<std::unique_ptr<RudpPort>, std::string> RudpPort::make(Loop& loop, int descriptor, Instance& instance) {
  std::unique_ptr<RudpPort> port(new RudpPort(loop));
  auto socket = RudpSocket::adopt(loop, descriptor, endpoint_options(instance), *port);
  if (!socket) return std::unexpected(socket.error());
  port->socket_ = std::move(*socket);
  port->instance_ = &instance;
  return port;
}

void RudpPort::serve(Instance* instance) noexcept {
  instance_ = instance;
  if (instance) socket_->endpoint().set_options(endpoint_options(*instance));
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
