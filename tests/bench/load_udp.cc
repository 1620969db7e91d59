#include "load_udp.h"

#include <fmt/format.h>
#include <sys/epoll.h>

#include <cerrno>
#include <cstring>

namespace portolan::bench {
namespace {

constexpr int kEventsAtOnce = 256;
constexpr auto kLostAfter = std::chrono::milliseconds(100);

}  // namespace

Result<void> UdpLoad::open(const sockaddr_in& address) {
  epoll_ = Descriptor{::epoll_create1(EPOLL_CLOEXEC)};
  for (int i = 0; i < kSockets; ++i) {
    auto fd = connect_udp(address);
    if (!fd) return Failure(std::move(fd).error());
    Peer& peer = peers_.emplace_back();
    peer.fd = std::move(*fd);
    for (Slot& slot : peer.slots) {
      for (std::size_t at = 0; at < kMessageSize; ++at) slot.message[at] = static_cast<char>('a' + at % 26);
    }
    if (!watch(epoll_.get(), EPOLL_CTL_ADD, peer.fd.get(), EPOLLIN, static_cast<std::uint32_t>(i))) {
      return Failure(error_text("epoll"));
    }
  }
  return {};
}

// The slot's index is part of the tag, so that an answer finds its slot.
void UdpLoad::renew(Slot& slot, unsigned index) {
  write_tag(slot.message.data(), next_tag_++ << 4 | index);
  slot.under_way = true;
}

Result<void> UdpLoad::send_slots(Peer& peer, const std::array<bool, kUnderWay>& which) {
  std::array<iovec, kUnderWay> slices;
  std::array<mmsghdr, kUnderWay> headers{};
  unsigned count = 0;
  for (unsigned i = 0; i < kUnderWay; ++i) {
    if (!which[i]) continue;
    peer.slots[i].sent = now_;
    slices[count] = {peer.slots[i].message.data(), kMessageSize};
    headers[count].msg_hdr.msg_iov = &slices[count];
    headers[count].msg_hdr.msg_iovlen = 1;
    ++count;
  }
  // What the kernel drops here counts as lost like everything else; only a closed port is the end.
  if (count > 0 && ::sendmmsg(peer.fd.get(), headers.data(), count, 0) < 0 && errno == ECONNREFUSED) {
    return Failure("closed its UDP port");
  }
  return {};
}

Result<void> UdpLoad::serve(Peer& peer, bool more, Tally& tally) {
  std::array<std::array<char, kMessageSize + 1>, kUnderWay> bytes;
  std::array<iovec, kUnderWay> slices;
  std::array<mmsghdr, kUnderWay> headers{};
  for (unsigned i = 0; i < kUnderWay; ++i) {
    slices[i] = {bytes[i].data(), bytes[i].size()};
    headers[i].msg_hdr.msg_iov = &slices[i];
    headers[i].msg_hdr.msg_iovlen = 1;
  }
  const int got = ::recvmmsg(peer.fd.get(), headers.data(), kUnderWay, MSG_DONTWAIT, nullptr);
  if (got < 0) {
    if (errno == ECONNREFUSED) return Failure("closed its UDP port");
    return {};
  }
  std::array<bool, kUnderWay> free{};
  for (int i = 0; i < got; ++i) {
    const unsigned index = static_cast<unsigned>(bytes[i][0] - 'a');
    if (headers[i].msg_len != kMessageSize || index >= kUnderWay) return Failure("gave a wrong answer");
    Slot& slot = peer.slots[index];
    if (std::memcmp(bytes[i].data(), slot.message.data(), kMessageSize) != 0) {
      // The late answer to a datagram that was given up differs in its tag alone.
      if (std::memcmp(bytes[i].data() + kTagSize, slot.message.data() + kTagSize, kMessageSize - kTagSize) != 0) {
        return Failure("gave a wrong answer");
      }
      continue;
    }
    if (!slot.under_way) continue;
    slot.under_way = false;
    --under_way_;
    ++tally.requests;
    free[index] = true;
  }
  if (!more) return {};
  for (unsigned i = 0; i < kUnderWay; ++i) {
    if (!free[i]) continue;
    renew(peer.slots[i], i);
    ++under_way_;
  }
  return send_slots(peer, free);
}

Result<void> UdpLoad::repeat_lost(Tally& tally) {
  for (Peer& peer : peers_) {
    std::array<bool, kUnderWay> lost{};
    for (unsigned i = 0; i < kUnderWay; ++i) {
      if (!peer.slots[i].under_way || now_ - peer.slots[i].sent < kLostAfter) continue;
      lost[i] = true;
      ++tally.lost;
    }
    if (auto sent = send_slots(peer, lost); !sent) return sent;
  }
  return {};
}

Result<Tally> UdpLoad::run(const Bounds& bounds) {
  Tally tally;
  const double cpu_before = own_cpu_seconds();
  const auto begin = Clock::now();
  now_ = begin;
  auto last_look = begin;
  auto last_answer = begin;
  std::array<bool, kUnderWay> all;
  all.fill(true);
  for (Peer& peer : peers_) {
    for (unsigned i = 0; i < kUnderWay; ++i) renew(peer.slots[i], i);
    if (auto sent = send_slots(peer, all); !sent) return Failure(std::move(sent).error());
  }
  under_way_ = peers_.size() * kUnderWay;
  std::array<epoll_event, kEventsAtOnce> events;
  while (under_way_ > 0) {
    const int count = ::epoll_wait(epoll_.get(), events.data(), kEventsAtOnce, 50);
    if (interrupted()) return Failure("interrupted");
    now_ = Clock::now();
    const bool more = tally.requests < bounds.requests && seconds_since(begin) < bounds.seconds;
    const std::uint64_t answered = tally.requests;
    for (int i = 0; i < count; ++i) {
      if (auto served = serve(peers_[events[i].data.u32], more, tally); !served) {
        return Failure(std::move(served).error());
      }
    }
    if (tally.requests != answered) last_answer = now_;
    if (now_ - last_answer > std::chrono::milliseconds(kSilenceMs)) {
      return Failure(fmt::format("no answer for {} s", kSilenceMs / 1000));
    }
    if (now_ - last_look > kLostAfter / 2) {
      last_look = now_;
      if (auto repeated = repeat_lost(tally); !repeated) return Failure(std::move(repeated).error());
    }
  }
  tally.seconds = seconds_since(begin);
  tally.generator_cpu_seconds = own_cpu_seconds() - cpu_before;
  return tally;
}

}  // namespace portolan::bench
