#include "load_bulk.h"

#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>

namespace portolan::bench {
namespace {

constexpr int kEventsAtOnce = 64;

}  // namespace

Result<void> BulkLoad::open(const sockaddr_in& address) {
  address_ = address;
  epoll_ = Descriptor{::epoll_create1(EPOLL_CLOEXEC)};
  return {};
}

Result<void> BulkLoad::begin(std::uint32_t index) {
  auto fd = connect_tcp(address_);
  if (!fd) return Failure(std::move(fd).error());
  const char number = static_cast<char>(index);
  if (auto sent = send_all(fd->get(), &number, 1); !sent) return sent;
  if (!watch(epoll_.get(), EPOLL_CTL_ADD, fd->get(), EPOLLOUT, index)) return Failure(error_text("epoll"));
  streams_[index] = {};
  streams_[index].fd = std::move(*fd);
  return {};
}

// One write in a turn, so that the streams keep step.
Result<void> BulkLoad::write(std::uint32_t index) {
  Stream& stream = streams_[index];
  const char* bytes = pattern_.at(static_cast<std::uint8_t>(index), stream.sent);
  const ssize_t sent = ::send(stream.fd.get(), bytes, kWriteSize, MSG_NOSIGNAL);
  if (sent < 0) {
    if (errno == EAGAIN) return {};
    return Failure(error_text("cannot send"));
  }
  stream.sent += static_cast<std::uint64_t>(sent);
  return {};
}

Result<void> BulkLoad::end(std::uint32_t index) {
  Stream& stream = streams_[index];
  stream.ended = true;
  if (::shutdown(stream.fd.get(), SHUT_WR) < 0) return Failure(error_text("cannot end a stream"));
  if (!watch(epoll_.get(), EPOLL_CTL_MOD, stream.fd.get(), EPOLLIN, index)) return Failure(error_text("epoll"));
  return {};
}

Result<bool> BulkLoad::read_answer(Stream& stream) {
  std::array<char, 64> bytes;
  const ssize_t got = ::recv(stream.fd.get(), bytes.data(), bytes.size(), 0);
  if (got < 0) {
    if (errno == EAGAIN) return false;
    return Failure(error_text("broke a stream"));
  }
  if (got > 0) {
    stream.answer.append(bytes.data(), static_cast<std::size_t>(got));
    if (stream.answer.size() <= bytes.size()) return false;
  }
  if (stream.answer == fmt::format("{}\n", stream.sent)) return true;
  if (stream.answer == "wrong\n") return Failure("passed on wrong bytes");
  return Failure(
      fmt::format("passed on {} bytes of {}", std::strtoull(stream.answer.c_str(), nullptr, 10), stream.sent));
}

Result<Tally> BulkLoad::run(const Bounds& bounds) {
  Tally tally;
  const double cpu_before = own_cpu_seconds();
  const auto start = Clock::now();
  for (std::uint32_t i = 0; i < streams_.size(); ++i) {
    if (auto begun = begin(i); !begun) return Failure(std::move(begun).error());
  }
  std::uint64_t bytes = 0;
  std::size_t under_way = streams_.size();
  std::array<epoll_event, kEventsAtOnce> events;
  while (under_way > 0) {
    const int count = ::epoll_wait(epoll_.get(), events.data(), kEventsAtOnce, kSilenceMs);
    if (interrupted()) return Failure("interrupted");
    if (count == 0) return Failure(fmt::format("took and sent nothing for {} s", kSilenceMs / 1000));
    const bool more = bytes / 1000 < bounds.requests && seconds_since(start) < bounds.seconds;
    for (int i = 0; i < count; ++i) {
      const std::uint32_t index = events[i].data.u32;
      Stream& stream = streams_[index];
      if (!stream.ended) {
        const std::uint64_t before = stream.sent;
        const auto done = more ? write(index) : end(index);
        if (!done) return Failure(done.error());
        bytes += stream.sent - before;
        continue;
      }
      const auto right = read_answer(stream);
      if (!right) return Failure(right.error());
      if (!*right) continue;
      stream.fd.reset();
      --under_way;
    }
  }
  tally.requests = bytes / 1000;
  tally.seconds = seconds_since(start);
  tally.generator_cpu_seconds = own_cpu_seconds() - cpu_before;
  return tally;
}

}  // namespace portolan::bench
