// The least that a TCP relay can do. Messages are read and written. A read that filled its buffer, or a peer without
// room, turns to splice through a pipe, for as long as that moves a good deal at once. A pipe is taken from a pool when
// there are bytes for it and goes back when they are through, so an idle pair holds none. FIN is passed on as FIN and a
// reset as a reset.
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "floor.h"

namespace portolan::bench {
namespace {

constexpr std::size_t kBufferSize = 64 * 1024;
constexpr std::size_t kPipeSize = 256 * 1024;
constexpr ssize_t kMinBulk = 16 * 1024;  // below it, a copy costs less than a second system call
constexpr std::size_t kPooledPipes = 64;
constexpr int kEventsAtOnce = 256;
constexpr unsigned kSpliceFlags = SPLICE_F_MOVE | SPLICE_F_NONBLOCK;

struct Pipe {
  int out = -1;
  int in = -1;
};

struct Pair;

struct Side {
  Pair* pair = nullptr;
  Side* peer = nullptr;
  int fd = -1;
  std::uint32_t watched = 0;
  bool ended = false;    // it sends no more
  bool bulk = false;     // to be spliced
  Pipe pipe{};           // with what its peer has not taken yet; while there is such, this side is not read
  std::size_t held = 0;  // bytes in the pipe
};

struct Pair {
  Side client;
  Side backend;
  bool connected = false;
};

class PipePool {
 public:
  Pipe take() {
    Pipe pipe;
    if (!pipes_.empty()) {
      pipe = pipes_.back();
      pipes_.pop_back();
    } else if (std::array<int, 2> ends{}; ::pipe2(ends.data(), O_NONBLOCK | O_CLOEXEC) == 0) {
      pipe = {ends[0], ends[1]};
      ::fcntl(pipe.in, F_SETPIPE_SZ, static_cast<int>(kPipeSize));  // the default holds a buffer as well
    }
    return pipe;
  }

  void give_back(Pipe pipe) {
    if (pipes_.size() < kPooledPipes) {
      pipes_.push_back(pipe);
    } else {
      discard(pipe);
    }
  }

  static void discard(Pipe pipe) {
    ::close(pipe.out);
    ::close(pipe.in);
  }

 private:
  std::vector<Pipe> pipes_;
};

class RelayFloor {
 public:
  RelayFloor(int listener, const sockaddr_in& backend) : listener_(listener), backend_(backend) {}

  int run() {
    epoll_ = ::epoll_create1(EPOLL_CLOEXEC);
    epoll_event listening{.events = EPOLLIN, .data = {.ptr = nullptr}};
    if (epoll_ < 0 || ::epoll_ctl(epoll_, EPOLL_CTL_ADD, listener_, &listening) < 0) return 1;
    std::array<epoll_event, kEventsAtOnce> events;
    for (;;) {
      const int count = ::epoll_wait(epoll_, events.data(), kEventsAtOnce, -1);
      if (count < 0 && errno != EINTR) return 1;
      for (int i = 0; i < count; ++i) {
        auto* side = static_cast<Side*>(events[i].data.ptr);
        if (side == nullptr) {
          accept_all();
        } else if (side->fd >= 0) {
          handle(*side, events[i].events);
        }
      }
      closed_.clear();  // not before: the other side's event may be in the same batch
    }
  }

 private:
  void accept_all() {
    for (;;) {
      const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd < 0) return;
      auto pair = std::make_unique<Pair>();
      pair->client = {.pair = pair.get(), .peer = &pair->backend, .fd = fd};
      pair->backend = {.pair = pair.get(),
                       .peer = &pair->client,
                       .fd = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
      dial(*pair.release());  // close() takes it back
    }
  }

  void dial(Pair& pair) {
    const int fd = pair.backend.fd;
    const int on = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (::connect(fd, reinterpret_cast<const sockaddr*>(&backend_), sizeof backend_) == 0) {
      begin(pair);
    } else if (errno == EINPROGRESS) {
      watch(pair.backend, EPOLLOUT);
    } else {
      reset(pair.backend);
    }
  }

  void begin(Pair& pair) {
    pair.connected = true;
    watch(pair.client, EPOLLIN);
    watch(pair.backend, EPOLLIN);
  }

  void finish_dial(Side& backend) {
    int error = 0;
    socklen_t size = sizeof error;
    ::getsockopt(backend.fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) {
      reset(backend);
    } else {
      begin(*backend.pair);
    }
  }

  // A side of which nothing is wanted leaves epoll altogether: it would report a hang-up over and over.
  void watch(Side& side, std::uint32_t mask) {
    if (mask == side.watched) return;
    const int operation = side.watched == 0 ? EPOLL_CTL_ADD : mask == 0 ? EPOLL_CTL_DEL : EPOLL_CTL_MOD;
    epoll_event event{.events = mask, .data = {.ptr = &side}};
    ::epoll_ctl(epoll_, operation, side.fd, &event);
    side.watched = mask;
  }

  void handle(Side& side, std::uint32_t events) {
    if (!side.pair->connected) return finish_dial(side);
    if ((side.watched & events & EPOLLOUT) != 0) pass_on(*side.peer);
    if (side.fd >= 0 && (side.watched & EPOLLIN) != 0 && (events & ~std::uint32_t{EPOLLOUT}) != 0) receive(side);
  }

  void receive(Side& from) {
    if (from.bulk) return receive_bulk(from);
    const ssize_t got = ::recv(from.fd, buffer_.data(), buffer_.size(), 0);
    if (got <= 0) return received_nothing(from, got);
    from.bulk = got == static_cast<ssize_t>(kBufferSize);
    ssize_t sent = ::send(from.peer->fd, buffer_.data(), static_cast<std::size_t>(got), MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno != EAGAIN) return reset(*from.peer);
      sent = 0;
    }
    if (sent < got) hold(from, buffer_.data() + sent, static_cast<std::size_t>(got - sent));
  }

  void receive_bulk(Side& from) {
    from.pipe = pipes_.take();
    if (from.pipe.in < 0) return reset(from);
    const ssize_t got = ::splice(from.fd, nullptr, from.pipe.in, nullptr, kPipeSize, kSpliceFlags);
    from.bulk = got >= kMinBulk;
    if (got > 0) {
      from.held = static_cast<std::size_t>(got);
      pass_on(from);
      return;
    }
    const int error = errno;
    pipes_.give_back(std::exchange(from.pipe, {}));
    errno = error;
    received_nothing(from, got);
  }

  void received_nothing(Side& from, ssize_t got) {
    if (got == 0) {
      end(from);
    } else if (errno != EAGAIN) {
      reset(from);
    }
  }

  void hold(Side& from, const char* data, std::size_t size) {
    from.pipe = pipes_.take();
    if (::write(from.pipe.in, data, size) != static_cast<ssize_t>(size)) return reset(from);
    from.held = size;
    from.bulk = true;
    wait_for_room(from);
  }

  void pass_on(Side& from) {
    while (from.held > 0) {
      const ssize_t sent = ::splice(from.pipe.out, nullptr, from.peer->fd, nullptr, from.held, kSpliceFlags);
      if (sent <= 0) return errno == EAGAIN ? wait_for_room(from) : reset(*from.peer);
      from.held -= static_cast<std::size_t>(sent);
    }
    pipes_.give_back(std::exchange(from.pipe, {}));
    watch(from, from.watched | EPOLLIN);
    watch(*from.peer, from.peer->watched & ~std::uint32_t{EPOLLOUT});
  }

  void wait_for_room(Side& from) {
    watch(from, from.watched & ~std::uint32_t{EPOLLIN});
    watch(*from.peer, from.peer->watched | EPOLLOUT);
  }

  void end(Side& from) {
    from.ended = true;
    if (from.peer->ended) return close(*from.pair);
    ::shutdown(from.peer->fd, SHUT_WR);
    watch(from, from.watched & ~std::uint32_t{EPOLLIN});
  }

  void reset(Side& broken) {
    const linger at_once{.l_onoff = 1, .l_linger = 0};
    ::setsockopt(broken.peer->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(*broken.pair);
  }

  void close(Pair& pair) {
    for (Side* side : {&pair.client, &pair.backend}) {
      ::close(std::exchange(side->fd, -1));
      if (side->pipe.in >= 0) PipePool::discard(side->pipe);  // there may be bytes in it
    }
    closed_.emplace_back(&pair);
  }

  int listener_;
  sockaddr_in backend_;
  int epoll_ = -1;
  PipePool pipes_;
  std::vector<std::unique_ptr<Pair>> closed_;
  std::array<char, kBufferSize> buffer_;
};

}  // namespace

int serve_relay_floor(const char* backend_port) {
  sockaddr_in backend{};
  backend.sin_family = AF_INET;
  backend.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  backend.sin_port = htons(static_cast<std::uint16_t>(std::strtoul(backend_port, nullptr, 10)));
  const int listener = open_loopback_socket(SOCK_STREAM);
  if (listener < 0 || !announce(listener, "relay", "tcp")) {
    fmt::print(stderr, "bench_floor: cannot listen on 127.0.0.1: {}\n", std::strerror(errno));
    return 1;
  }
  return std::make_unique<RelayFloor>(listener, backend)->run();
}

}  // namespace portolan::bench
