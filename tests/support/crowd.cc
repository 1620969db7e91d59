#include "support/crowd.h"

#include "support/client.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

namespace portolan::testing {

std::size_t raise_descriptor_limit() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  return static_cast<std::size_t>(limit.rlim_max);
}

std::size_t Crowd::open(std::size_t count, Milliseconds patience) {
  sockaddr_storage peer;
  socklen_t length = 0;
  int type = 0;
  if (!socket_address(address_, peer, length, type)) {
    error_ = "not an address: " + address_;
    return 0;
  }
  const Deadline deadline(patience);
  // No more at once than the daemon's backlog holds: what overflows it waits a second for the next SYN.
  constexpr std::size_t kBatch = 256;
  std::size_t connected = 0;
  while (connected < count && error_.empty()) {
    std::vector<pollfd> waiting;
    const std::size_t batch = std::min(kBatch, count - connected);
    for (std::size_t index = 0; index < batch; ++index) {
      const int descriptor = ::socket(peer.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
      if (descriptor < 0) {
        error_ = std::string("making a socket: ") + std::strerror(errno);
        break;
      }
      if (peer.ss_family == AF_INET) {
        // 127.0.1.1 and on, a new one every 5,000 sessions.
        sockaddr_in from{};
        from.sin_family = AF_INET;
        from.sin_addr.s_addr = htonl(0x7f000101U + next_source_++ / 5000);
        const int on = 1;
        ::setsockopt(descriptor, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
        ::bind(descriptor, reinterpret_cast<const sockaddr*>(&from), sizeof from);
      }
      if (::connect(descriptor, reinterpret_cast<const sockaddr*>(&peer), length) != 0 && errno != EINPROGRESS) {
        error_ = std::string("connecting: ") + std::strerror(errno);
        ::close(descriptor);
        break;
      }
      waiting.push_back({.fd = descriptor, .events = POLLOUT, .revents = 0});
    }
    for (pollfd& entry : waiting) {
      int error = ETIMEDOUT;
      socklen_t size = sizeof error;
      if (::poll(&entry, 1, deadline.left_ms()) > 0) ::getsockopt(entry.fd, SOL_SOCKET, SO_ERROR, &error, &size);
      if (error != 0) {
        error_ = std::string("connecting: ") + std::strerror(error);
        ::close(entry.fd);
        continue;
      }
      descriptors_.push_back(entry.fd);
      ++connected;
    }
  }
  return connected;
}

std::size_t Crowd::send_all(std::string_view text) {
  std::size_t sent = 0;
  for (const int descriptor : descriptors_) {
    sent += ::send(descriptor, text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size());
  }
  return sent;
}

std::size_t Crowd::ask_all(std::string_view text, std::string_view expected, Milliseconds patience) {
  const Deadline deadline(patience);
  send_all(text);
  std::size_t good = 0;
  std::string answer(expected.size() + 1, '\0');
  for (const int descriptor : descriptors_) {
    std::size_t got = 0;
    while (got < expected.size()) {
      const ssize_t count = ::recv(descriptor, answer.data() + got, answer.size() - got, 0);
      if (count > 0) {
        got += static_cast<std::size_t>(count);
        continue;
      }
      pollfd entry{.fd = descriptor, .events = POLLIN, .revents = 0};
      if (count == 0 || (errno != EAGAIN && errno != EINTR) || ::poll(&entry, 1, deadline.left_ms()) <= 0) {
        error_ = count == 0        ? "a session was closed"
                 : errno == EAGAIN ? "a session did not answer in time"
                                   : std::string("receiving: ") + std::strerror(errno);
        break;
      }
    }
    good += got == expected.size() && std::string_view(answer).substr(0, got) == expected;
  }
  return good;
}

std::size_t Crowd::ended() const {
  std::size_t count = 0;
  for (const int descriptor : descriptors_) {
    char byte;
    const ssize_t got = ::recv(descriptor, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    count += got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR);
  }
  return count;
}

void Crowd::close_some(std::size_t count) {
  while (count-- > 0 && !descriptors_.empty()) {
    ::close(descriptors_.back());
    descriptors_.pop_back();
  }
}

void Crowd::close_all(bool with_reset) {
  const linger now{.l_onoff = 1, .l_linger = 0};
  for (const int descriptor : descriptors_) {
    if (with_reset) ::setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    ::close(descriptor);
  }
  descriptors_.clear();
}

}  // namespace portolan::testing
