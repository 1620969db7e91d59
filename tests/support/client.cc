#include "support/client.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <sys/un.h>
#include <unistd.h>

namespace portolan::testing {

const char* to_text(End end) {
  switch (end) {
    case End::none: return "open";
    case End::closed: return "closed";
    case End::reset: return "reset";
    case End::refused: return "refused";
    case End::timed_out: return "timed out";
    case End::failed: return "failed";
  }
  return "?";
}

bool socket_address(const std::string& address, sockaddr_storage& out, socklen_t& length, int& type) {
  out = {};
  const std::size_t scheme_end = address.find("://");
  if (scheme_end == std::string::npos) return false;
  const std::string scheme = address.substr(0, scheme_end);
  const std::string rest = address.substr(scheme_end + 3);
  type = scheme == "udp" ? SOCK_DGRAM : SOCK_STREAM;
  if (scheme == "unix") {
    auto* name = reinterpret_cast<sockaddr_un*>(&out);
    if (rest.size() >= sizeof name->sun_path) return false;
    name->sun_family = AF_UNIX;
    std::memcpy(name->sun_path, rest.data(), rest.size());
    length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + rest.size() + (rest[0] == '@' ? 0 : 1));
    if (rest[0] == '@') name->sun_path[0] = '\0';
    return true;
  }
  const std::size_t colon = rest.rfind(':');
  if (colon == std::string::npos) return false;
  const auto port = htons(static_cast<std::uint16_t>(std::atoi(rest.c_str() + colon + 1)));
  std::string host = rest.substr(0, colon);
  if (!host.empty() && host.front() == '[') {
    auto* name = reinterpret_cast<sockaddr_in6*>(&out);
    name->sin6_family = AF_INET6;
    name->sin6_port = port;
    length = sizeof *name;
    host = host.substr(1, host.size() - 2);
    return ::inet_pton(AF_INET6, host.c_str(), &name->sin6_addr) == 1;
  }
  auto* name = reinterpret_cast<sockaddr_in*>(&out);
  name->sin_family = AF_INET;
  name->sin_port = port;
  length = sizeof *name;
  return ::inet_pton(AF_INET, host.c_str(), &name->sin_addr) == 1;
}

Client::Client(const std::string& address, ClientOptions options) : options_(std::move(options)) {
  sockaddr_storage peer;
  socklen_t length = 0;
  int type = 0;
  if (!socket_address(address, peer, length, type)) {
    ended(End::failed, "not an address: " + address);
    return;
  }
  datagram_ = type == SOCK_DGRAM;
  descriptor_ = ::socket(peer.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (descriptor_ < 0) {
    ended_by_errno("making a socket");
    return;
  }
  if (peer.ss_family != AF_UNIX && !datagram_) {
    const int on = 1;
    ::setsockopt(descriptor_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  if (options_.receive_buffer > 0) {
    ::setsockopt(descriptor_, SOL_SOCKET, SO_RCVBUF, &options_.receive_buffer, sizeof options_.receive_buffer);
  }
  if (!options_.source.empty()) {
    sockaddr_in from{};
    from.sin_family = AF_INET;
    ::inet_pton(AF_INET, options_.source.c_str(), &from.sin_addr);
    if (::bind(descriptor_, reinterpret_cast<const sockaddr*>(&from), sizeof from) != 0) {
      ended_by_errno("binding the source address");
      return;
    }
  }
  if (::connect(descriptor_, reinterpret_cast<const sockaddr*>(&peer), length) != 0) {
    // A unix socket with a full backlog says EAGAIN at once: ask again until the deadline.
    const Deadline deadline(options_.patience);
    int error = errno;
    while (error == EAGAIN && !deadline.passed()) {
      ::poll(nullptr, 0, 2);
      error = ::connect(descriptor_, reinterpret_cast<const sockaddr*>(&peer), length) == 0 ? 0 : errno;
    }
    if (error == EINPROGRESS) {
      if (!wait(POLLOUT, deadline)) {
        ended(End::timed_out, "connecting to " + address + " timed out");
        return;
      }
      socklen_t size = sizeof error;
      ::getsockopt(descriptor_, SOL_SOCKET, SO_ERROR, &error, &size);
    }
    if (error != 0) {
      errno = error;
      ended_by_errno(("connecting to " + address).c_str());
      return;
    }
  }
  if (address.starts_with("tls://") && options_.handshake) shake_hands(SSL_connect);
}

Client Client::of_accepted(int descriptor, ClientOptions options) {
  Client client;
  client.descriptor_ = descriptor;
  client.options_ = std::move(options);
  const int on = 1;
  ::setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (client.options_.tls) client.shake_hands(SSL_accept);
  return client;
}

Client::~Client() { close(); }

Client::Client(Client&& other) noexcept { *this = std::move(other); }

Client& Client::operator=(Client&& other) noexcept {
  if (this == &other) return *this;
  close();
  options_ = std::move(other.options_);
  descriptor_ = std::exchange(other.descriptor_, -1);
  ssl_ = std::exchange(other.ssl_, nullptr);
  datagram_ = other.datagram_;
  end_ = other.end_;
  error_ = std::move(other.error_);
  pending_ = std::move(other.pending_);
  return *this;
}

void Client::close() noexcept {
  if (ssl_) SSL_free(ssl_);
  ssl_ = nullptr;
  if (descriptor_ >= 0) ::close(descriptor_);
  descriptor_ = -1;
}

void Client::close_with_reset() noexcept {
  const linger now{.l_onoff = 1, .l_linger = 0};
  if (descriptor_ >= 0) ::setsockopt(descriptor_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
  close();
}

std::uint16_t Client::local_port() const {
  sockaddr_in name{};
  socklen_t length = sizeof name;
  ::getsockname(descriptor_, reinterpret_cast<sockaddr*>(&name), &length);
  return ntohs(name.sin_port);
}

long Client::ended(End end, std::string what) {
  if (end_ == End::none) {
    end_ = end;
    error_ = std::move(what);
  }
  return -1;
}

long Client::ended_by_errno(const char* doing) {
  const int number = errno;
  const End end = number == ECONNRESET || number == EPIPE      ? End::reset
                  : number == ECONNREFUSED || number == ENOENT ? End::refused
                                                               : End::failed;
  return ended(end, std::string(doing) + ": " + std::strerror(number));
}

long Client::ended_by_tls(int result, const char* doing, short* wanted) {
  const int kind = SSL_get_error(ssl_, result);
  const int number = errno;
  if (kind == SSL_ERROR_WANT_READ || kind == SSL_ERROR_WANT_WRITE) {
    *wanted = kind == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT;
    return 0;
  }
  if (kind == SSL_ERROR_ZERO_RETURN) return ended(End::closed, "close_notify");
  const unsigned long code = ERR_get_error();
  ERR_clear_error();
  if (kind == SSL_ERROR_SYSCALL && code == 0 && number != 0) {
    errno = number;
    return ended_by_errno(doing);
  }
  char text[256] = "the connection ended without close_notify";
  if (code != 0) ERR_error_string_n(code, text, sizeof text);
  return ended(End::failed, std::string(doing) + ": " + text);
}

bool Client::wait(short events, const Deadline& deadline) {
  for (;;) {
    pollfd entry{.fd = descriptor_, .events = events, .revents = 0};
    const int ready = ::poll(&entry, 1, deadline.left_ms());
    if (ready > 0) return true;
    if (ready == 0 || errno != EINTR) return false;
  }
}

void Client::shake_hands(int (*step)(SSL*)) {
  ssl_ = options_.tls ? SSL_new(options_.tls) : nullptr;
  if (!ssl_) {
    ended(End::failed, "no TLS context was given");
    return;
  }
  SSL_set_fd(ssl_, descriptor_);
  const Deadline deadline(options_.patience);
  for (;;) {
    ERR_clear_error();
    errno = 0;
    const int result = step(ssl_);
    if (result == 1) return;
    short wanted = 0;
    if (ended_by_tls(result, "TLS handshake", &wanted) < 0) return;
    if (!wait(wanted, deadline)) {
      ended(End::timed_out, "the TLS handshake timed out");
      return;
    }
  }
}

long Client::try_send(std::string_view data, short* wanted) {
  *wanted = POLLOUT;
  if (ssl_) {
    ERR_clear_error();
    errno = 0;
    std::size_t sent = 0;
    const int result = SSL_write_ex(ssl_, data.data(), data.size(), &sent);
    return result == 1 ? static_cast<long>(sent) : ended_by_tls(0, "sending", wanted);
  }
  const ssize_t sent = ::send(descriptor_, data.data(), data.size(), MSG_NOSIGNAL);
  if (sent >= 0) return sent;
  return errno == EAGAIN || errno == EINTR ? 0 : ended_by_errno("sending");
}

long Client::try_receive(char* data, std::size_t size, short* wanted) {
  *wanted = POLLIN;
  if (ssl_) {
    ERR_clear_error();
    errno = 0;
    std::size_t count = 0;
    const int result = SSL_read_ex(ssl_, data, size, &count);
    return result == 1 ? static_cast<long>(count) : ended_by_tls(0, "receiving", wanted);
  }
  const ssize_t count = ::recv(descriptor_, data, size, 0);
  if (count > 0) return count;
  if (count == 0 && !datagram_) return ended(End::closed, "the peer closed");
  return errno == EAGAIN || errno == EINTR ? 0 : ended_by_errno("receiving");
}

bool Client::send(std::string_view data) {
  const Deadline deadline(options_.patience);
  while (!data.empty()) {
    // A peer that sends no more may still be sent to.
    if (descriptor_ < 0 || (end_ != End::none && end_ != End::closed)) return false;
    short wanted = 0;
    const long sent = try_send(data, &wanted);
    if (sent < 0) return false;
    data.remove_prefix(static_cast<std::size_t>(sent));
    if (sent == 0 && !wait(wanted, deadline)) return ended(End::timed_out, "sending timed out") >= 0;
  }
  return true;
}

std::size_t Client::send_what_fits(std::string_view data) {
  short wanted = 0;
  if (descriptor_ < 0 || end_ != End::none) return 0;
  const long sent = try_send(data, &wanted);
  return sent > 0 ? static_cast<std::size_t>(sent) : 0;
}

std::string Client::receive(std::size_t count) {
  const Deadline deadline(options_.patience);
  while (pending_.size() < count && descriptor_ >= 0 && end_ == End::none) {
    char block[65536];
    short wanted = 0;
    const long got = try_receive(block, sizeof block, &wanted);
    if (got > 0) {
      pending_.append(block, static_cast<std::size_t>(got));
    } else if (got == 0 && !wait(wanted, deadline)) {
      ended(End::timed_out, "receiving timed out after " + std::to_string(pending_.size()) + " bytes");
    }
  }
  const std::size_t size = std::min(count, pending_.size());
  std::string result = pending_.substr(0, size);
  pending_.erase(0, size);
  return result;
}

std::string Client::receive_line() {
  const Deadline deadline(options_.patience);
  std::size_t searched = 0;
  for (;;) {
    const std::size_t newline = pending_.find('\n', searched);
    if (newline != std::string::npos) return receive(newline + 1);
    searched = pending_.size();
    if (descriptor_ < 0 || end_ != End::none) return receive(pending_.size());
    char block[16384];
    short wanted = 0;
    const long got = try_receive(block, sizeof block, &wanted);
    if (got > 0) {
      pending_.append(block, static_cast<std::size_t>(got));
    } else if (got == 0 && !wait(wanted, deadline)) {
      ended(End::timed_out, "waiting for a line timed out");
    }
  }
}

std::string Client::receive_all() { return receive(static_cast<std::size_t>(-1)); }

std::string Client::receive_datagram() {
  char block[65536];
  const Deadline deadline(options_.patience);
  for (;;) {
    const ssize_t count = ::recv(descriptor_, block, sizeof block, 0);
    if (count >= 0) return std::string(block, static_cast<std::size_t>(count));
    if (errno != EAGAIN && errno != EINTR) {
      ended_by_errno("receiving a datagram");
      return {};
    }
    // No datagram is an answer too (it may have been dropped on purpose): the conversation goes on.
    if (!wait(POLLIN, deadline)) return {};
  }
}

std::string Client::exchange(std::string_view data, std::size_t expected) {
  const Deadline deadline(options_.patience);
  while ((!data.empty() || pending_.size() < expected) && descriptor_ >= 0 && end_ == End::none) {
    short events = 0;
    bool moved = false;
    if (!data.empty()) {
      short wanted = 0;
      const long sent = try_send(data, &wanted);
      if (sent < 0) break;
      data.remove_prefix(static_cast<std::size_t>(sent));
      moved = sent > 0;
      events = static_cast<short>(events | wanted);
    }
    char block[65536];
    short wanted = 0;
    const long got = try_receive(block, sizeof block, &wanted);
    if (got > 0) pending_.append(block, static_cast<std::size_t>(got));
    if (got < 0) break;
    events = static_cast<short>(events | wanted);
    if (!moved && got == 0 && !wait(events, deadline)) {
      ended(End::timed_out, "exchanging timed out with " + std::to_string(data.size()) + " bytes unsent and " +
                                std::to_string(pending_.size()) + " of " + std::to_string(expected) + " received");
    }
  }
  return receive(std::min(expected, pending_.size()));
}

bool Client::finish_sending() {
  if (!ssl_) return ::shutdown(descriptor_, SHUT_WR) == 0;
  // 0: our close_notify is out and theirs has not come, which is what a half-close is.
  return SSL_shutdown(ssl_) >= 0;
}

}  // namespace portolan::testing
