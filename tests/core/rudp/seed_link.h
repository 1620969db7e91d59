// A link in virtual time between two parties that speak a seed format, and plain stop-and-wait peers as the format
// allows them. The same seed gives the same run.
#pragma once

#include "rudp/seed_format.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <queue>
#include <random>
#include <span>
#include <tuple>
#include <utility>
#include <vector>

namespace portolan::rudp::testing {

using Bytes = std::vector<std::byte>;
using namespace std::chrono_literals;

struct LinkOptions {
  double loss = 0;
  double twice = 0;             // of the datagrams that arrive, arrive again
  double junk = 0;              // for each datagram, another one of nonsense
  Duration delay = 10ms;        // one way
  Duration jitter{};            // more than the time between datagrams: they overtake each other
  double bytes_per_second = 0;  // 0: any number
  Duration queue = 50ms;        // at that rate; more is dropped
};

class Link {
 public:
  Link(const LinkOptions& with, SeedFormat format, std::mt19937_64& random)
      : options(with), format_(format), random_(random) {}

  void send(std::span<const std::byte> datagram, Duration now) {
    ++datagrams;
    bytes += datagram.size();
    if (happens(options.junk)) arrives(now + options.delay, nonsense());
    if (options.bytes_per_second > 0) {
      free_at_ = std::max(free_at_, now);
      if (free_at_ - now > options.queue) return;
      const double seconds = static_cast<double>(datagram.size() + 28) / options.bytes_per_second;
      free_at_ += std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
      now = free_at_;
    }
    if (down || happens(options.loss)) return;
    for (int copies = happens(options.twice) ? 2 : 1; copies > 0; --copies) {
      const Duration more = options.jitter > 0ns ? Duration(random_() % options.jitter.count()) : 0ns;
      arrives(now + options.delay + more, Bytes(datagram.begin(), datagram.end()));
    }
  }
  std::optional<Duration> next() const { return on_way_.empty() ? std::nullopt : std::optional(on_way_.top().at); }
  Bytes take() {
    Bytes datagram = std::move(const_cast<Datagram&>(on_way_.top()).bytes);
    on_way_.pop();
    return datagram;
  }

  LinkOptions options;
  bool down = false;
  std::uint64_t datagrams = 0;
  std::uint64_t bytes = 0;

 private:
  struct Datagram {
    Duration at;
    std::uint64_t order;
    Bytes bytes;
    bool operator<(const Datagram& other) const { return std::tie(other.at, other.order) < std::tie(at, order); }
  };
  bool happens(double probability) { return std::uniform_real_distribution<>()(random_) < probability; }
  void arrives(Duration at, Bytes datagram) { on_way_.push({at, order_++, std::move(datagram)}); }
  // Too short, too long, of unknown kinds, and acknowledgements of what nobody sent.
  Bytes nonsense() {
    Bytes datagram(random_() % 12 == 0 ? 1025 + random_() % 500 : random_() % 40);
    for (std::byte& one : datagram) one = static_cast<std::byte>(random_());
    if (datagram.size() >= kSeedHeader && random_() % 2 == 0)
      write_seed_header(format_, SeedKind::acknowledgement, static_cast<std::uint32_t>(random_()), datagram.data());
    return datagram;
  }

  SeedFormat format_;
  std::mt19937_64& random_;
  Duration free_at_{};
  std::uint64_t order_ = 0;
  std::priority_queue<Datagram> on_way_;
};

// One end of a link.
struct Party {
  std::function<void(std::span<const std::byte>, Duration)> receive;
  std::function<std::span<const std::byte>(Duration)> next_datagram;
  std::function<std::optional<Duration>()> deadline;
};

template <typename Engine>
Party party_of(Engine& engine) {
  return {[&engine](std::span<const std::byte> datagram, Duration now) { engine.receive(datagram, now); },
          [&engine](Duration now) {
            if constexpr (requires { engine.next_datagram(now); }) {
              return engine.next_datagram(now);
            } else {
              return engine.next_datagram();
            }
          },
          [&engine]() -> std::optional<Duration> {
            if constexpr (requires { engine.deadline(); }) return engine.deadline();
            return std::nullopt;
          }};
}

class World {
 public:
  World(const LinkOptions& there, const LinkOptions& back, SeedFormat format, std::uint64_t seed)
      : random(seed), there_link(there, format, random), back_link(back, format, random) {}
  World(const LinkOptions& both, SeedFormat format, std::uint64_t seed) : World(both, both, format, seed) {}

  // Both work, until `stop`. False: neither has anything left to do, or not before `patience` is over.
  bool run(const Party& one, const Party& other, const std::function<bool()>& stop, Duration patience = 1h) {
    const Duration end = now + patience;
    while (!stop()) {
      drain(one, there_link);
      drain(other, back_link);
      std::optional<Duration> next;
      for (const auto& at : {there_link.next(), back_link.next(), one.deadline(), other.deadline()})
        if (at && (!next || *at < *next)) next = at;
      if (!next || *next > end) return stop();
      now = std::max(now, *next);
      // One datagram at a time, as from a socket.
      while (there_link.next() && *there_link.next() <= now) {
        other.receive(there_link.take(), now);
        drain(other, back_link);
      }
      while (back_link.next() && *back_link.next() <= now) {
        one.receive(back_link.take(), now);
        drain(one, there_link);
      }
    }
    return true;
  }

  std::mt19937_64 random;
  Link there_link;
  Link back_link;
  Duration now = 1s;

 private:
  void drain(const Party& party, Link& link) const {
    for (auto datagram = party.next_datagram(now); !datagram.empty(); datagram = party.next_datagram(now))
      link.send(datagram, now);
  }
};

// What a receiver without a buffer makes of a number, each to the letter of the format.
enum class Strict {
  expected_only,     // takes the expected one, acknowledges it and what is before it, ignores the rest
  acknowledges_all,  // takes the expected one, acknowledges whatever comes
  unlike_the_last,   // takes what has another number than the last one
  beyond_the_last,   // takes what has a greater number than the last one
};

class StrictReceiver {
 public:
  StrictReceiver(SeedFormat format, Strict strict, std::uint32_t first)
      : format_(format), strict_(strict), next_(first) {}

  void receive(std::span<const std::byte> datagram, Duration) {
    const auto packet = parse_seed(format_, datagram);
    if (!packet || packet->kind == SeedKind::acknowledgement) return;
    const std::int32_t ahead = seed_distance(next_, packet->sequence);
    if (ahead > 0 && strict_ == Strict::expected_only) return;
    reply_.resize(kSeedHeader);
    write_seed_header(format_, SeedKind::acknowledgement, packet->sequence, reply_.data());
    if (strict_ == Strict::unlike_the_last ? packet->sequence + 1 == next_
                                           : ahead < 0 || (ahead > 0 && strict_ == Strict::acknowledges_all))
      return;
    next_ = packet->sequence + 1;
    if (packet->kind == SeedKind::fin) {
      finished = true;
    } else {
      taken.emplace_back(packet->payload.begin(), packet->payload.end());
    }
  }
  std::span<const std::byte> next_datagram() {
    sent_.clear();
    std::swap(sent_, reply_);
    return sent_;
  }

  std::vector<Bytes> taken;
  bool finished = false;

 private:
  SeedFormat format_;
  Strict strict_;
  std::uint32_t next_;
  Bytes reply_;
  Bytes sent_;
};

// Sends each packet until exactly its acknowledgement comes. With a window it sends so many, and repeats all that are
// not acknowledged, as a simple sender that does not stop and wait.
class StrictSender {
 public:
  StrictSender(SeedFormat format, std::uint32_t first, std::vector<Bytes> packets, std::size_t window = 1)
      : format_(format), first_(first), packets_(std::move(packets)), window_(window), acknowledged_(packets_.size()) {
    if (format == SeedFormat::files) acknowledged_.push_back(false);
  }

  void receive(std::span<const std::byte> datagram, Duration now) {
    const auto packet = parse_seed(format_, datagram);
    if (!packet || packet->kind != SeedKind::acknowledgement || !packet->payload.empty()) return;
    const std::uint32_t index = packet->sequence - first_;
    if (index >= sent_ || acknowledged_[index]) return;
    acknowledged_[index] = true;
    const std::size_t before = base_;
    while (base_ < acknowledged_.size() && acknowledged_[base_]) ++base_;
    if (base_ != before) at_ = now + kTimeout;
  }
  std::span<const std::byte> next_datagram(Duration now) {
    if (done()) return {};
    if (now >= at_) {
      again_ = base_;
      at_ = now + kTimeout;
    }
    // The fin leaves when all else is acknowledged.
    const std::size_t end = std::min(base_ + window_, base_ < packets_.size() ? packets_.size() : acknowledged_.size());
    while (again_ < sent_ && (again_ < base_ || acknowledged_[again_])) ++again_;
    if (again_ < sent_) return packet(again_++);
    if (sent_ >= end) return {};
    if (sent_ == base_) at_ = now + kTimeout;
    again_ = sent_ + 1;
    return packet(sent_++);
  }
  std::optional<Duration> deadline() const { return done() || sent_ == 0 ? std::nullopt : std::optional(at_); }
  bool done() const { return base_ == acknowledged_.size(); }

 private:
  static constexpr Duration kTimeout = 200ms;
  std::span<const std::byte> packet(std::size_t index) {
    const bool fin = index == packets_.size();
    datagram_.assign(kSeedHeader, {});
    const auto sequence = static_cast<std::uint32_t>(first_ + index);
    write_seed_header(format_, fin ? SeedKind::fin : SeedKind::data, sequence, datagram_.data());
    if (!fin) datagram_.insert(datagram_.end(), packets_[index].begin(), packets_[index].end());
    return datagram_;
  }

  SeedFormat format_;
  std::uint32_t first_;
  std::vector<Bytes> packets_;
  std::size_t window_;
  std::vector<bool> acknowledged_;
  std::size_t base_ = 0;
  std::size_t sent_ = 0;
  std::size_t again_ = SIZE_MAX;
  Duration at_{};
  Bytes datagram_;
};

}  // namespace portolan::rudp::testing
