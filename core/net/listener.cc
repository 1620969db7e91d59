#include "listener.h"

#include "base/file_status.h"
#include "base/log.h"
#include "net/packet_info.h"
#include "net/rudp_steering.h"

#include <fmt/format.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

namespace portolan {

namespace {

// How far a receive buffer for datagrams should go: a burst of a few thousand small ones.
constexpr int kDatagramBuffer = 1024 * 1024;

struct SocketAddress {
  SocketAddress() = default;
  explicit SocketAddress(const Endpoint& endpoint) : length(endpoint.to_sockaddr(storage)) {}
  sockaddr_storage storage{};
  socklen_t length = 0;
  const sockaddr* get() const noexcept { return reinterpret_cast<const sockaddr*>(&storage); }
};

void set_option(int socket, int level, int name, int value) noexcept {
  setsockopt(socket, level, name, &value, sizeof value);
}

std::string bind_error(const Endpoint& endpoint, int error) {
  const std::string address = endpoint.to_string();
  switch (error) {
    case EADDRINUSE:
      return fmt::format(
          "cannot listen on {}: the address is in use by another program; stop that one or choose another port",
          address);
    case EADDRNOTAVAIL:
      return fmt::format("cannot listen on {}: this machine has no such address; see `portolan net`", address);
    case EACCES:
    case EPERM:
      return fmt::format("cannot listen on {}: not permitted; ports below {} want root or CAP_NET_BIND_SERVICE",
                         address, 1024);
    case ENOENT: return fmt::format("cannot listen on {}: the directory does not exist; create it", address);
    default: return fmt::format("cannot listen on {}: {}", address, std::strerror(error));
  }
}

std::unexpected<std::string> failed(const Endpoint& endpoint, int error) {
  return std::unexpected(bind_error(endpoint, error));
}

bool is_stream(const Endpoint& endpoint) noexcept {
  return endpoint.transport != Transport::udp && endpoint.transport != Transport::rudp;
}

UniqueFd make_socket(const Endpoint& endpoint) {
  const int family = endpoint.transport == Transport::unix_stream ? AF_UNIX
                     : endpoint.address.is_v6()                   ? AF_INET6
                                                                  : AF_INET;
  const int type = is_stream(endpoint) ? SOCK_STREAM : SOCK_DGRAM;
  UniqueFd socket(::socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket) return socket;
  if (family != AF_UNIX && is_stream(endpoint)) set_option(socket.get(), SOL_SOCKET, SO_REUSEADDR, 1);
  if (family == AF_INET6) set_option(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, 1);
  return socket;
}

// Binds without SO_REUSEPORT, which would share the port in silence with whoever has it already.
int probe(const Endpoint& endpoint) {
  const UniqueFd socket = make_socket(endpoint);
  if (!socket) return errno;
  const SocketAddress address(endpoint);
  if (::bind(socket.get(), address.get(), address.length) != 0) return errno;
  if (is_stream(endpoint) && endpoint.address.port() != 0 && ::listen(socket.get(), 1) != 0) return errno;
  return 0;
}

bool wildcard(const Address& address) noexcept { return address.scope() == AddressScope::unspecified; }

void prepare(int socket, const Endpoint& endpoint, const SocketOptions& options) noexcept {
  if (endpoint.transport == Transport::tcp || endpoint.transport == Transport::tls) {
    set_option(socket, IPPROTO_TCP, TCP_NODELAY, options.no_delay);
    set_option(socket, SOL_SOCKET, SO_KEEPALIVE, options.keep_alive);
  }
  if (endpoint.transport == Transport::udp) {
    set_option(socket, SOL_SOCKET, SO_RCVBUF, kDatagramBuffer);
    set_option(socket, SOL_SOCKET, SO_SNDBUF, kDatagramBuffer);
    // On a wildcard the answer must leave from the address that the question came to.
    if (wildcard(endpoint.address)) ask_for_packet_info(socket, endpoint.address.is_v6());
  }
  if (is_stream(endpoint)) ::listen(socket, static_cast<int>(options.backlog));
}

// A socket file that nobody listens on any more is left over from a crash and may go.
bool stale(const Endpoint& endpoint) {
  const auto status = file_status(endpoint.path);
  if (!status || !status->is_socket()) return false;
  const UniqueFd socket = make_socket(endpoint);
  const SocketAddress address(endpoint);
  return socket && connect(socket.get(), address.get(), address.length) != 0 && errno == ECONNREFUSED;
}

}  // namespace

std::string BoundListener::key(const Endpoint& endpoint) {
  Endpoint socket = endpoint;
  if (socket.transport == Transport::tls) socket.transport = Transport::tcp;
  if (socket.transport == Transport::rudp) socket.transport = Transport::udp;
  return socket.to_string();
}

std::expected<Endpoint, std::string> endpoint_of(int descriptor) {
  SocketAddress address;
  address.length = sizeof address.storage;
  int type = 0;
  socklen_t length = sizeof type;
  if (getsockname(descriptor, reinterpret_cast<sockaddr*>(&address.storage), &address.length) != 0 ||
      getsockopt(descriptor, SOL_SOCKET, SO_TYPE, &type, &length) != 0)
    return std::unexpected(fmt::format("descriptor {} is not a socket", descriptor));
  Endpoint endpoint;
  if (address.storage.ss_family == AF_UNIX && type == SOCK_STREAM) {
    endpoint.transport = Transport::unix_stream;
    const auto& unix_address = reinterpret_cast<const sockaddr_un&>(address.storage);
    const std::size_t size = address.length - offsetof(sockaddr_un, sun_path);
    endpoint.path.assign(unix_address.sun_path, size);
    if (size && endpoint.path.front() == '\0')
      endpoint.path.front() = '@';
    else
      endpoint.path = endpoint.path.c_str();
    return endpoint;
  }
  endpoint.address = Address::from(address.get());
  if (endpoint.address.empty() || (type != SOCK_STREAM && type != SOCK_DGRAM))
    return std::unexpected(fmt::format("descriptor {} is not a TCP, UDP or unix stream socket", descriptor));
  endpoint.transport = type == SOCK_STREAM ? Transport::tcp : Transport::udp;
  return endpoint;
}

std::expected<std::unique_ptr<BoundListener>, std::string> BoundListener::bind(const Endpoint& endpoint,
                                                                               const SocketOptions& options,
                                                                               unsigned workers) {
  std::unique_ptr<BoundListener> listener(new BoundListener(endpoint));
  const bool is_unix = endpoint.transport == Transport::unix_stream;
  const bool has_path = is_unix && !endpoint.path.starts_with('@');
  if (has_path && stale(endpoint)) unlink(endpoint.path.c_str());
  const bool share = !is_unix && workers > 1;
  if (share) {
    if (const int error = probe(endpoint)) return failed(endpoint, error);
  }
  for (unsigned worker = 0; worker < (share ? workers : 1); ++worker) {
    UniqueFd socket = make_socket(endpoint);
    if (!socket) return failed(endpoint, errno);
    if (share) set_option(socket.get(), SOL_SOCKET, SO_REUSEPORT, 1);
    const SocketAddress address(listener->actual_);
    // From the first moment on, nobody but owner and group may connect.
    const mode_t mask = has_path ? umask(0777 & ~static_cast<mode_t>(options.unix_mode)) : 0;
    const int result = ::bind(socket.get(), address.get(), address.length);
    const int error = errno;
    if (has_path) umask(mask);
    if (result != 0) return failed(endpoint, error);
    listener->owns_path_ = has_path;
    if (is_stream(endpoint) && ::listen(socket.get(), static_cast<int>(options.backlog)) != 0)
      return failed(endpoint, errno);
    prepare(socket.get(), endpoint, options);
    if (!is_unix && listener->actual_.address.port() == 0) {
      const auto bound = endpoint_of(socket.get());
      if (!bound) return std::unexpected(bound.error());
      listener->actual_.address.set_port(bound->address.port());
    }
    listener->sockets_.push_back(std::move(socket));
  }
  if (share && endpoint.transport == Transport::rudp && !steer_rudp(listener->sockets_.front().get(), workers))
    log::warning(
        "{}: the kernel hands packets to workers by their addresses alone ({}): a client whose address changes "
        "loses its connection",
        endpoint.to_string(), std::strerror(errno));
  return listener;
}

std::expected<std::unique_ptr<BoundListener>, std::string> BoundListener::adopt(UniqueFd socket,
                                                                                const Endpoint& endpoint,
                                                                                const SocketOptions& options) {
  const auto bound = endpoint_of(socket.get());
  if (!bound) return std::unexpected(bound.error());
  std::unique_ptr<BoundListener> listener(new BoundListener(endpoint));
  listener->actual_.address = bound->address;
  const int flags = fcntl(socket.get(), F_GETFL);
  fcntl(socket.get(), F_SETFL, flags | O_NONBLOCK);
  prepare(socket.get(), endpoint, options);
  // One accept queue for all workers: they watch the same descriptor.
  listener->sockets_.push_back(std::move(socket));
  return listener;
}

BoundListener::~BoundListener() {
  if (owns_path_) unlink(actual_.path.c_str());
}

void BoundListener::apply(const SocketOptions& options) noexcept {
  for (const UniqueFd& socket : sockets_) prepare(socket.get(), requested_, options);
  if (owns_path_) chmod(actual_.path.c_str(), options.unix_mode);
}

std::expected<std::unique_ptr<BoundListener>, std::string> bind_admin(const Endpoint& endpoint, std::uint32_t mode) {
  return BoundListener::bind(endpoint, {.backlog = 64, .unix_mode = mode}, 1);
}

}  // namespace portolan
