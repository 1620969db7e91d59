#include "load_tcp.h"

#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace portolan::bench {
namespace {

constexpr int kEventsAtOnce = 256;
constexpr std::size_t kFrameHeaderSize = 5;

char upper(char letter) { return letter >= 'a' && letter <= 'z' ? static_cast<char>(letter - 'a' + 'A') : letter; }

}  // namespace

Result<void> TcpLoad::open(const sockaddr_in& address) {
  epoll_ = Descriptor{::epoll_create1(EPOLL_CLOEXEC)};
  const std::size_t head = shape_.framing == Framing::kBinary ? kFrameHeaderSize : 0;
  for (int i = 0; i < shape_.batch; ++i) {
    tags_.push_back(static_cast<std::size_t>(i) * (head + shape_.message_size) + head);
  }
  for (int i = 0; i < shape_.connections; ++i) {
    auto fd = connect_tcp(address);
    if (!fd) return Failure(std::move(fd).error());
    Connection& connection = connections_.emplace_back();
    connection.fd = std::move(*fd);
    compose(connection);
    if (!watch(epoll_.get(), EPOLL_CTL_ADD, connection.fd.get(), EPOLLIN, static_cast<std::uint32_t>(i))) {
      return Failure(error_text("epoll"));
    }
  }
  // One byte more than is due, to notice a server that answers too much.
  buffer_.resize(connections_.front().expected.size() + 1);
  return {};
}

void TcpLoad::compose(Connection& connection) const {
  for (int i = 0; i < shape_.batch; ++i) {
    if (shape_.framing == Framing::kBinary) {
      const auto size = static_cast<std::uint32_t>(shape_.message_size);
      for (const int shift : {24, 16, 8, 0}) connection.request += static_cast<char>(size >> shift & 0xff);
      connection.request += '\x01';
    }
    for (std::size_t at = 0; at < shape_.message_size; ++at) {
      connection.request += static_cast<char>('a' + at % 26);
    }
    if (shape_.framing == Framing::kLines || shape_.framing == Framing::kUpperLines) connection.request.back() = '\n';
  }
  connection.expected = connection.request;
  if (shape_.framing == Framing::kUpperLines) {
    std::ranges::transform(connection.expected, connection.expected.begin(), upper);
  }
}

Result<void> TcpLoad::send_batch(Connection& connection) {
  const char answer_letter = shape_.framing == Framing::kUpperLines ? 'A' : 'a';
  for (const std::size_t at : tags_) {
    write_tag(connection.request.data() + at, next_tag_);
    write_tag(connection.expected.data() + at, next_tag_, answer_letter);
    ++next_tag_;
  }
  connection.received = 0;
  connection.asked = Clock::now();
  return send_all(connection.fd.get(), connection.request.data(), connection.request.size());
}

Result<bool> TcpLoad::receive(Connection& connection) {
  const std::size_t due = connection.expected.size() - connection.received;
  const ssize_t got = ::recv(connection.fd.get(), buffer_.data(), due + 1, 0);
  if (got < 0 && errno == EAGAIN) return false;
  if (got <= 0) return Failure("closed a connection that was in use");
  const auto size = static_cast<std::size_t>(got);
  if (size > due) return Failure("answered more than it was asked");
  if (std::memcmp(buffer_.data(), connection.expected.data() + connection.received, size) != 0) {
    return Failure("gave a wrong answer");
  }
  connection.received += size;
  return size == due;
}

Result<Tally> TcpLoad::run(const Bounds& bounds) {
  Tally tally;
  const double cpu_before = own_cpu_seconds();
  const auto begin = Clock::now();
  for (Connection& connection : connections_) {
    if (auto sent = send_batch(connection); !sent) return Failure(std::move(sent).error());
  }
  std::size_t under_way = connections_.size();
  std::array<epoll_event, kEventsAtOnce> events;
  while (under_way > 0) {
    const int count = ::epoll_wait(epoll_.get(), events.data(), kEventsAtOnce, kSilenceMs);
    if (interrupted()) return Failure("interrupted");
    if (count == 0) return Failure(fmt::format("no answer for {} s", kSilenceMs / 1000));
    const bool more = tally.requests < bounds.requests && seconds_since(begin) < bounds.seconds;
    for (int i = 0; i < count; ++i) {
      Connection& connection = connections_[events[i].data.u32];
      const auto complete = receive(connection);
      if (!complete) return Failure(complete.error());
      if (!*complete) continue;
      tally.latency_us.push_back(us_since(connection.asked));
      tally.requests += static_cast<std::uint64_t>(shape_.batch);
      if (!more) {
        --under_way;
      } else if (auto sent = send_batch(connection); !sent) {
        return Failure(std::move(sent).error());
      }
    }
  }
  tally.seconds = seconds_since(begin);
  tally.generator_cpu_seconds = own_cpu_seconds() - cpu_before;
  return tally;
}

}  // namespace portolan::bench
