#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "bulk_pattern.h"
#include "floor.h"

namespace portolan::bench {
namespace {

constexpr int kEventsAtOnce = 64;

struct Stream {
  bool begun = false;
  bool right = true;
  std::uint8_t number = 0;
  std::uint64_t received = 0;  // without the first byte
};

class BulkSink {
 public:
  explicit BulkSink(int listener) : listener_(listener), buffer_(BulkPattern::kMaxSlice) {}

  int run() {
    epoll_ = ::epoll_create1(EPOLL_CLOEXEC);
    if (epoll_ < 0 || !watch(listener_)) return 1;
    std::array<epoll_event, kEventsAtOnce> events;
    for (;;) {
      const int count = ::epoll_wait(epoll_, events.data(), kEventsAtOnce, -1);
      if (count < 0 && errno != EINTR) return 1;
      for (int i = 0; i < count; ++i) {
        if (events[i].data.fd == listener_) {
          accept_one();
        } else {
          receive(events[i].data.fd);
        }
      }
    }
  }

 private:
  bool watch(int fd) {
    epoll_event event{.events = EPOLLIN, .data = {.fd = fd}};
    return ::epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) == 0;
  }

  void accept_one() {
    const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    if (static_cast<std::size_t>(fd) >= streams_.size()) streams_.resize(static_cast<std::size_t>(fd) + 1);
    streams_[fd] = {};
    if (!watch(fd)) ::close(fd);
  }

  void receive(int fd) {
    Stream& stream = streams_[fd];
    const ssize_t got = ::recv(fd, buffer_.data(), stream.begun ? buffer_.size() : 1, 0);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
      if (got == 0) answer(fd, stream);
      ::close(fd);
    } else if (stream.begun) {
      const auto size = static_cast<std::size_t>(got);
      stream.right &= std::memcmp(buffer_.data(), pattern_.at(stream.number, stream.received), size) == 0;
      stream.received += size;
    } else {
      stream.number = static_cast<std::uint8_t>(buffer_[0]);
      stream.begun = true;
    }
  }

  static void answer(int fd, const Stream& stream) {
    const std::string text = stream.right ? fmt::format("{}\n", stream.received) : "wrong\n";
    // A few bytes into an empty buffer: there is room.
    ::send(fd, text.data(), text.size(), MSG_NOSIGNAL);
  }

  int listener_;
  int epoll_ = -1;
  BulkPattern pattern_;
  std::vector<Stream> streams_;  // by descriptor
  std::vector<char> buffer_;
};

}  // namespace

int serve_bulk_sink() {
  const int listener = open_loopback_socket(SOCK_STREAM);
  if (listener < 0 || !announce(listener, "sink", "tcp")) {
    fmt::print(stderr, "bench_floor: cannot listen on 127.0.0.1: {}\n", std::strerror(errno));
    return 1;
  }
  return BulkSink(listener).run();
}

}  // namespace portolan::bench
