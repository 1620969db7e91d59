#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>

#include "floor.h"

namespace portolan::bench {
namespace {

constexpr unsigned kBatch = 64;
constexpr std::size_t kMaxDatagram = 2048;

struct Batch {
  std::array<std::array<char, kMaxDatagram>, kBatch> bytes;
  std::array<sockaddr_in, kBatch> peers;
  std::array<iovec, kBatch> slices;
  std::array<mmsghdr, kBatch> messages;
};

void prepare(Batch& batch, unsigned i) {
  batch.slices[i] = {batch.bytes[i].data(), kMaxDatagram};
  msghdr& header = batch.messages[i].msg_hdr;
  header = {};
  header.msg_name = &batch.peers[i];
  header.msg_namelen = sizeof(sockaddr_in);
  header.msg_iov = &batch.slices[i];
  header.msg_iovlen = 1;
}

}  // namespace

int serve_udp_floor() {
  const int fd = open_loopback_socket(SOCK_DGRAM);
  if (fd < 0 || !announce(fd, "echo", "udp")) {
    fmt::print(stderr, "bench_floor: cannot bind 127.0.0.1: {}\n", std::strerror(errno));
    return 1;
  }
  // A blocking recvmmsg would save the epoll_wait, but no daemon with more than one socket can have that.
  const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
  epoll_event event{};
  event.events = EPOLLIN;
  if (epoll < 0 || ::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) return 1;

  auto batch = std::make_unique<Batch>();
  for (unsigned i = 0; i < kBatch; ++i) prepare(*batch, i);
  for (;;) {
    if (::epoll_wait(epoll, &event, 1, -1) < 0 && errno != EINTR) return 1;
    const int count = ::recvmmsg(fd, batch->messages.data(), kBatch, MSG_DONTWAIT, nullptr);
    if (count <= 0) continue;
    for (int i = 0; i < count; ++i) batch->slices[i].iov_len = batch->messages[i].msg_len;
    // A datagram that the socket does not take is lost, as datagrams are: a client notices and asks again.
    ::sendmmsg(fd, batch->messages.data(), static_cast<unsigned>(count), MSG_DONTWAIT);
    for (int i = 0; i < count; ++i) prepare(*batch, static_cast<unsigned>(i));
  }
}

}  // namespace portolan::bench
