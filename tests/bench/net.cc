#include "net.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstring>
#include <ctime>

namespace portolan::bench {
namespace {

volatile std::sig_atomic_t g_interrupted = 0;

void note_interrupt(int) { g_interrupted = 1; }

}  // namespace

void Descriptor::reset() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

Result<sockaddr_in> parse_address(std::string_view text) {
  const auto scheme = text.find("://");
  const auto colon = text.rfind(':');
  sockaddr_in address{};
  address.sin_family = AF_INET;
  if (scheme != std::string_view::npos && colon > scheme) {
    const std::string host{text.substr(scheme + 3, colon - scheme - 3)};
    std::uint16_t port = 0;
    const auto [end, error] = std::from_chars(text.data() + colon + 1, text.data() + text.size(), port);
    if (error == std::errc{} && end == text.data() + text.size() && port != 0 &&
        ::inet_pton(AF_INET, host.c_str(), &address.sin_addr) == 1) {
      address.sin_port = htons(port);
      return address;
    }
  }
  return Failure(fmt::format("announced an address that makes no sense: {}", text));
}

Result<Descriptor> connect_tcp(const sockaddr_in& address) {
  Descriptor fd{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  if (!fd) return Failure(error_text("no socket"));
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0) {
    return Failure(error_text("cannot connect"));
  }
  const int on = 1;
  ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  ::fcntl(fd.get(), F_SETFL, O_NONBLOCK);
  return fd;
}

Result<Descriptor> connect_udp(const sockaddr_in& address) {
  Descriptor fd{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  if (!fd) return Failure(error_text("no socket"));
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0) {
    return Failure(error_text("cannot connect"));
  }
  return fd;
}

Result<sockaddr_in> free_loopback_address(int socket_type) {
  const Descriptor fd{::socket(AF_INET, socket_type | SOCK_CLOEXEC, 0)};
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (!fd || ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), size) < 0 ||
      ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size) < 0) {
    return Failure(error_text("no free port"));
  }
  return address;
}

void close_by_reset(Descriptor& socket) {
  const linger at_once{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(socket.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  socket.reset();
}

bool watch(int epoll, int operation, int fd, std::uint32_t mask, std::uint32_t index) {
  epoll_event event{};
  event.events = mask;
  event.data.u32 = index;
  return ::epoll_ctl(epoll, operation, fd, &event) == 0;
}

Result<void> send_all(int fd, const char* data, std::size_t size) {
  while (size > 0) {
    const ssize_t sent = ::send(fd, data, size, MSG_NOSIGNAL);
    if (sent >= 0) {
      data += sent;
      size -= static_cast<std::size_t>(sent);
    } else if (errno == EAGAIN) {
      pollfd room{fd, POLLOUT, 0};
      if (::poll(&room, 1, kSilenceMs) == 0) return Failure("stopped reading");
    } else if (errno == EPIPE || errno == ECONNRESET) {
      return Failure("closed a connection that was in use");
    } else if (errno != EINTR) {
      return Failure(error_text("cannot send"));
    }
  }
  return {};
}

Result<void> read_until(int fd, std::string& kept, std::string_view text) {
  for (;;) {
    if (const std::size_t at = kept.find(text); at != std::string::npos) {
      kept.erase(0, at + text.size());
      return {};
    }
    pollfd readable{fd, POLLIN, 0};
    if (::poll(&readable, 1, kSilenceMs) == 0) return Failure(fmt::format("said nothing for {} s", kSilenceMs / 1000));
    if (interrupted()) return Failure("interrupted");
    std::array<char, 16 * 1024> chunk;
    const ssize_t got = ::recv(fd, chunk.data(), chunk.size(), 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (got <= 0) return Failure("closed a connection that was in use");
    kept.append(chunk.data(), static_cast<std::size_t>(got));
  }
}

void write_tag(char* at, std::uint32_t number, char first_letter) {
  for (std::size_t i = 0; i < kTagSize; ++i) {
    at[i] = static_cast<char>(first_letter + (number & 15));
    number >>= 4;
  }
}

std::uint32_t read_tag(const char* at) {
  std::uint32_t number = 0;
  for (std::size_t i = kTagSize; i-- > 0;) {
    if (at[i] < 'a' || at[i] > 'p') return UINT32_MAX;
    number = number << 4 | static_cast<std::uint32_t>(at[i] - 'a');
  }
  return number;
}

std::string error_text(std::string_view what) { return fmt::format("{}: {}", what, std::strerror(errno)); }

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

float us_since(Clock::time_point begin) {
  return std::chrono::duration<float, std::micro>(Clock::now() - begin).count();
}

double own_cpu_seconds() {
  timespec spent{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &spent);
  return static_cast<double>(spent.tv_sec) + static_cast<double>(spent.tv_nsec) / 1e9;
}

std::size_t raise_descriptor_limit() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  ::getrlimit(RLIMIT_NOFILE, &limit);
  return limit.rlim_cur;
}

void catch_interrupts() {
  struct sigaction action{};
  action.sa_handler = note_interrupt;
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
}

bool interrupted() { return g_interrupted != 0; }

}  // namespace portolan::bench
