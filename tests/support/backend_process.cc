#include "support/backend_process.h"

#include "support/crowd.h"
#include "support/server_socket.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <new>
#include <string_view>
#include <vector>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

namespace portolan::testing {

namespace {

// What one connection may keep unsent before it is no longer read.
constexpr std::size_t kMostUnsent = 256 * 1024;

struct Connection {
  std::string input;
  std::string output;
  Clock::time_point due{};  // of the output, when answers are late
  bool ended = false;       // the peer sends no more
};

class Serving {
 public:
  Serving(int listening, bool datagrams, std::string name, BackendProcess::Shared& shared)
      : name_(std::move(name)),
        shared_(shared),
        listening_(listening),
        datagrams_(datagrams),
        poll_(::epoll_create1(0)) {}

  [[noreturn]] void run() {
    for (;;) {
      watch_listener();
      epoll_event events[256];
      const int count = ::epoll_wait(poll_, events, 256, wait_ms());
      for (int index = 0; index < count; ++index) {
        const int descriptor = events[index].data.fd;
        if (descriptor == listening_)
          datagrams_ ? receive_datagrams() : accept_all();
        else if (events[index].events & (EPOLLIN | EPOLLHUP | EPOLLERR) && !receive(descriptor))
          end(descriptor);
        else
          settle(descriptor);
      }
      if (late_)
        for (auto next = connections_.begin(); next != connections_.end();) settle((next++)->first);
    }
  }

 private:
  int wait_ms() const {
    if (late_) return 2;
    return watched_ ? 50 : 5;  // it may be told to do otherwise meanwhile
  }

  void watch_listener() {
    const bool wanted = shared_.conduct != Conduct::keep_waiting;
    if (wanted == watched_) return;
    epoll_event event{.events = EPOLLIN, .data = {.fd = listening_}};
    ::epoll_ctl(poll_, wanted ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, listening_, &event);
    watched_ = wanted;
  }

  void accept_all() {
    for (;;) {
      const int descriptor = ::accept4(listening_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (descriptor < 0) return;
      ++shared_.accepted;
      const Conduct conduct = shared_.conduct;
      if (conduct == Conduct::reset) {
        const linger now{.l_onoff = 1, .l_linger = 0};
        ::setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &now, sizeof now);
      }
      if (conduct == Conduct::reset || conduct == Conduct::close) {
        ::close(descriptor);
        continue;
      }
      const int on = 1;
      ::setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      ++shared_.open;
      connections_[descriptor];
      epoll_event event{.events = conduct == Conduct::deaf ? 0U : EPOLLIN, .data = {.fd = descriptor}};
      ::epoll_ctl(poll_, EPOLL_CTL_ADD, descriptor, &event);
    }
  }

  void receive_datagrams() {
    static char block[65536];
    for (;;) {
      sockaddr_storage from;
      socklen_t length = sizeof from;
      const ssize_t count = ::recvfrom(listening_, block, sizeof block, 0, reinterpret_cast<sockaddr*>(&from), &length);
      if (count < 0) return;
      ++shared_.accepted;
      if (shared_.conduct == Conduct::silent) continue;
      std::string answer(block, static_cast<std::size_t>(count));
      if (shared_.conduct == Conduct::lines) answer.insert(0, name_ + " ");
      ++shared_.answered;
      ::sendto(listening_, answer.data(), answer.size(), 0, reinterpret_cast<const sockaddr*>(&from), length);
    }
  }

  // False: it has ended.
  bool receive(int descriptor) {
    Connection& connection = connections_[descriptor];
    static char block[65536];
    const ssize_t count = ::recv(descriptor, block, sizeof block, 0);
    if (count < 0) return errno == EAGAIN || errno == EINTR;
    if (count == 0) connection.ended = true;
    const std::string_view data(block, static_cast<std::size_t>(count));
    switch (shared_.conduct) {
      case Conduct::lines: take_lines(connection, data); break;
      case Conduct::echo: connection.output += data; break;
      case Conduct::half_handshake:
        if (count > 0) connection.output.append("\x16\x03\x03\x00\x7a\x02\x00", 7);
        break;
      default: break;
    }
    return true;
  }

  void take_lines(Connection& connection, std::string_view data) {
    connection.input += data;
    std::size_t from = 0;
    for (std::size_t end; (end = connection.input.find('\n', from)) != std::string::npos; from = end + 1) {
      connection.output += name_ + " " + connection.input.substr(from, end + 1 - from);
      if (const int delay = shared_.delay_ms) {
        connection.due = Clock::now() + Milliseconds(delay);
        late_ = true;
      }
      ++shared_.answered;
    }
    connection.input.erase(0, from);
  }

  void settle(int descriptor) {
    const auto found = connections_.find(descriptor);
    if (found == connections_.end()) return;
    Connection& connection = found->second;
    if (!connection.output.empty() && Clock::now() >= connection.due) {
      const ssize_t sent = ::send(descriptor, connection.output.data(), connection.output.size(), MSG_NOSIGNAL);
      if (sent < 0 && errno != EAGAIN) return end(descriptor);
      if (sent > 0) connection.output.erase(0, static_cast<std::size_t>(sent));
    }
    if (connection.ended && connection.output.empty()) return end(descriptor);
    const bool reads = !connection.ended && connection.output.size() < kMostUnsent;
    const bool writes = !connection.output.empty() && Clock::now() >= connection.due;
    epoll_event event{.events = (reads ? EPOLLIN : 0U) | (writes ? EPOLLOUT : 0U), .data = {.fd = descriptor}};
    ::epoll_ctl(poll_, EPOLL_CTL_MOD, descriptor, &event);
  }

  void end(int descriptor) {
    if (connections_.erase(descriptor) == 0) return;
    ::close(descriptor);
    --shared_.open;
  }

  const std::string name_;
  BackendProcess::Shared& shared_;
  const int listening_;
  const bool datagrams_;
  const int poll_;
  bool watched_ = false;
  bool late_ = false;  // answers have been late: all are looked at now and then
  std::map<int, Connection> connections_;
};

}  // namespace

BackendProcess::BackendProcess(const BackendOptions& options) : address_(options.listen), name_(options.name) {
  void* memory = ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) std::abort();
  shared_ = new (memory) Shared{};
  shared_->conduct = options.conduct;
  const int listening = bind_socket(address_, {.backlog = options.backlog});
  if (listening < 0) {
    std::perror(address_.c_str());
    std::abort();
  }
  const bool datagrams = address_.starts_with("udp://");
  process_.start({options.name}, {.in_child = [this, listening, datagrams] {
                   raise_descriptor_limit();
                   Serving(listening, datagrams, name_, *shared_).run();
                 }});
  ::close(listening);
}

BackendProcess::~BackendProcess() {
  process_.kill();
  ::munmap(shared_, sizeof(Shared));
}

}  // namespace portolan::testing
