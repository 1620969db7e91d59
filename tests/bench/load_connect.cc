#include "load_connect.h"

#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

namespace portolan::bench {

Result<void> ConnectLoad::open(const sockaddr_in& address) {
  address_ = address;
  epoll_ = Descriptor{::epoll_create1(EPOLL_CLOEXEC)};
  slots_.resize(kAtOnce);
  for (Slot& slot : slots_) {
    for (std::size_t at = 0; at < kMessageSize; ++at) slot.message[at] = static_cast<char>('a' + at % 26);
  }
  return {};
}

Result<void> ConnectLoad::begin(std::uint32_t index) {
  Slot& slot = slots_[index];
  slot.begun = Clock::now();
  slot.fd = Descriptor{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  if (!slot.fd) return Failure(error_text("no socket"));
  slot.received = 0;
  slot.connected = false;
  write_tag(slot.message.data(), next_tag_++);
  // On the loopback the handshake is usually over when connect returns.
  if (::connect(slot.fd.get(), reinterpret_cast<const sockaddr*>(&address_), sizeof address_) == 0) {
    return ask(index, EPOLL_CTL_ADD);
  }
  if (errno != EINPROGRESS) return Failure(error_text("cannot connect"));
  if (!watch(epoll_.get(), EPOLL_CTL_ADD, slot.fd.get(), EPOLLOUT, index)) return Failure(error_text("epoll"));
  return {};
}

Result<void> ConnectLoad::ask(std::uint32_t index, int operation) {
  Slot& slot = slots_[index];
  slot.connected = true;
  if (!watch(epoll_.get(), operation, slot.fd.get(), EPOLLIN, index)) return Failure(error_text("epoll"));
  return send_all(slot.fd.get(), slot.message.data(), slot.message.size());
}

Result<bool> ConnectLoad::advance(std::uint32_t index) {
  Slot& slot = slots_[index];
  if (!slot.connected) {
    int error = 0;
    socklen_t size = sizeof error;
    ::getsockopt(slot.fd.get(), SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) return Failure(fmt::format("cannot connect: {}", std::strerror(error)));
    if (auto asked = ask(index, EPOLL_CTL_MOD); !asked) return Failure(std::move(asked).error());
    return false;
  }
  std::array<char, kMessageSize + 1> answer;
  const std::size_t due = kMessageSize - slot.received;
  const ssize_t got = ::recv(slot.fd.get(), answer.data(), due + 1, 0);
  if (got < 0 && errno == EAGAIN) return false;
  if (got <= 0) return Failure("closed a connection before it answered");
  const auto size = static_cast<std::size_t>(got);
  if (size > due || std::memcmp(answer.data(), slot.message.data() + slot.received, size) != 0) {
    return Failure("gave a wrong answer");
  }
  slot.received += size;
  return size == due;
}

Result<Tally> ConnectLoad::run(const Bounds& bounds) {
  Tally tally;
  const double cpu_before = own_cpu_seconds();
  const auto start = Clock::now();
  for (std::uint32_t i = 0; i < kAtOnce; ++i) {
    if (auto begun = begin(i); !begun) return Failure(std::move(begun).error());
  }
  std::uint64_t begun_count = kAtOnce;
  std::size_t under_way = kAtOnce;
  std::array<epoll_event, kAtOnce> events;
  while (under_way > 0) {
    const int count = ::epoll_wait(epoll_.get(), events.data(), kAtOnce, kSilenceMs);
    if (interrupted()) return Failure("interrupted");
    if (count == 0) return Failure(fmt::format("no answer for {} s", kSilenceMs / 1000));
    const bool in_time = seconds_since(start) < bounds.seconds;
    for (int i = 0; i < count; ++i) {
      const std::uint32_t index = events[i].data.u32;
      const auto done = advance(index);
      if (!done) return Failure(done.error());
      if (!*done) continue;
      ++tally.requests;
      tally.latency_us.push_back(us_since(slots_[index].begun));
      if (closing_ == Closing::kReset) {
        close_by_reset(slots_[index].fd);
      } else {
        slots_[index].fd.reset();
      }
      if (!in_time || begun_count >= bounds.requests) {
        --under_way;
        continue;
      }
      ++begun_count;
      if (auto begun = begin(index); !begun) return Failure(std::move(begun).error());
    }
  }
  tally.seconds = seconds_since(start);
  tally.generator_cpu_seconds = own_cpu_seconds() - cpu_before;
  return tally;
}

}  // namespace portolan::bench
