#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "floor.h"

namespace portolan::bench {
namespace {

constexpr std::size_t kBufferSize = 128 * 1024;
constexpr std::size_t kHeaderSize = 5;
constexpr std::size_t kMaxPayload = 64 * 1024;
constexpr int kEventsAtOnce = 256;

// What does not fit in the pass of the moment. A connection that keeps up never has one.
struct Backlog {
  std::string unparsed;  // the beginning of a frame whose end has not arrived
  std::string unsent;    // answers that the socket did not take
};

class TcpFloor {
 public:
  TcpFloor(int listener, FloorProtocol protocol) : listener_(listener), protocol_(protocol) {}

  int run() {
    epoll_ = ::epoll_create1(EPOLL_CLOEXEC);
    if (epoll_ < 0 || !watch(EPOLL_CTL_ADD, listener_, EPOLLIN)) return 1;
    std::array<epoll_event, kEventsAtOnce> events;
    for (;;) {
      const int count = ::epoll_wait(epoll_, events.data(), kEventsAtOnce, -1);
      if (count < 0 && errno != EINTR) return 1;
      for (int i = 0; i < count; ++i) {
        const int fd = events[i].data.fd;
        if (fd == listener_) {
          accept_all();
        } else if ((events[i].events & EPOLLOUT) != 0) {
          flush(fd);
        } else {
          serve(fd);
        }
      }
    }
  }

 private:
  bool watch(int operation, int fd, std::uint32_t mask) {
    epoll_event event{};
    event.events = mask;
    event.data.fd = fd;
    return ::epoll_ctl(epoll_, operation, fd, &event) == 0;
  }

  void accept_all() {
    for (;;) {
      const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd < 0) return;
      if (static_cast<std::size_t>(fd) >= backlogs_.size()) backlogs_.resize(static_cast<std::size_t>(fd) + 1);
      if (!watch(EPOLL_CTL_ADD, fd, EPOLLIN)) ::close(fd);
    }
  }

  void drop(int fd) {
    backlogs_[fd].reset();
    ::close(fd);
  }

  Backlog& backlog(int fd) {
    if (!backlogs_[fd]) backlogs_[fd] = std::make_unique<Backlog>();
    return *backlogs_[fd];
  }

  void serve(int fd) {
    std::size_t kept = 0;
    if (backlogs_[fd] && !backlogs_[fd]->unparsed.empty()) {
      kept = backlogs_[fd]->unparsed.copy(buffer_.data(), kMaxPayload + kHeaderSize);
      backlogs_[fd]->unparsed.clear();
    }
    const ssize_t got = ::recv(fd, buffer_.data() + kept, buffer_.size() - kept, 0);
    if (got <= 0) {
      if (got < 0 && errno == EAGAIN) return;
      drop(fd);
      return;
    }
    const std::size_t size = kept + static_cast<std::size_t>(got);
    bool quit = false;
    const std::size_t ready = protocol_ == FloorProtocol::kEcho ? size : answer_frames(size, quit);
    if (ready > 0 && !send_or_keep(fd, ready)) return;
    if (quit) {
      drop(fd);
    } else if (ready < size) {
      backlog(fd).unparsed.assign(buffer_.data() + ready, size - ready);
    }
  }

  // Turns complete frames into their answers where they lie (an echo is its own answer) and says where they
  // end.
  std::size_t answer_frames(std::size_t size, bool& quit) {
    std::size_t at = 0;
    while (size - at >= kHeaderSize) {
      const auto* head = reinterpret_cast<const unsigned char*>(buffer_.data() + at);
      const std::size_t length =
          std::size_t{head[0]} << 24 | std::size_t{head[1]} << 16 | std::size_t{head[2]} << 8 | std::size_t{head[3]};
      const unsigned char type = head[4];
      if (length > kMaxPayload || (type != 1 && type != 2)) {
        quit = true;
        break;
      }
      if (size - at - kHeaderSize < length) break;
      if (type == 2) {
        char* payload = buffer_.data() + at + kHeaderSize;
        std::reverse(payload, payload + length);
      }
      at += kHeaderSize + length;
    }
    return at;
  }

  bool send_or_keep(int fd, std::size_t size) {
    ssize_t sent = ::send(fd, buffer_.data(), size, MSG_NOSIGNAL);
    if (sent == static_cast<ssize_t>(size)) return true;
    if (sent < 0) {
      if (errno != EAGAIN) {
        drop(fd);
        return false;
      }
      sent = 0;
    }
    // Reading stops until the peer has taken its answers, so a backlog never passes one buffer.
    backlog(fd).unsent.assign(buffer_.data() + sent, size - static_cast<std::size_t>(sent));
    watch(EPOLL_CTL_MOD, fd, EPOLLOUT);
    return true;
  }

  void flush(int fd) {
    std::string& unsent = backlog(fd).unsent;
    const ssize_t sent = ::send(fd, unsent.data(), unsent.size(), MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno != EAGAIN) drop(fd);
      return;
    }
    unsent.erase(0, static_cast<std::size_t>(sent));
    if (unsent.empty()) watch(EPOLL_CTL_MOD, fd, EPOLLIN);
  }

  int listener_;
  FloorProtocol protocol_;
  int epoll_ = -1;
  std::vector<std::unique_ptr<Backlog>> backlogs_;  // by descriptor
  std::array<char, kBufferSize> buffer_;
};

}  // namespace

int serve_tcp_floor(FloorProtocol protocol) {
  const int listener = open_loopback_socket(SOCK_STREAM);
  if (listener < 0 || !announce(listener, protocol == FloorProtocol::kEcho ? "echo" : "binary", "tcp")) {
    fmt::print(stderr, "bench_floor: cannot listen on 127.0.0.1: {}\n", std::strerror(errno));
    return 1;
  }
  return std::make_unique<TcpFloor>(listener, protocol)->run();
}

}  // namespace portolan::bench
