// One direction of a link in virtual time: its rate, its queue, its delay, and what it does to datagrams.
//
// The order of things: the queue's tail is dropped, what is left is sent out at the rate, lost or spoilt, and arrives after the
// delay. Seeded: the same calls give the same fate.
#pragma once

#include "plugin/descriptor.h"

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

namespace portolan::sim {

struct LinkSettings {
  double rate = 50e6 / 8;                          // bytes a second; 0: as fast as it comes
  Duration queue = std::chrono::milliseconds(50);  // time that the last byte waits at most
  Duration delay = std::chrono::milliseconds(10);
  Duration jitter{};       // up to so much more, without a change of order
  double loss = 0;         // of each datagram by itself
  double burst_begin = 0;  // Gilbert–Elliott: from good to bad
  double burst_end = 1;    // and back
  double burst_loss = 1;   // in the bad state
  double reorder = 0;      // share that is overtaken
  Duration reorder_by = std::chrono::milliseconds(5);
  double duplicate = 0;
  double corrupt = 0;
  std::size_t mtu = 1500;     // IP packet
  std::size_t overhead = 28;  // of IP and UDP
  std::size_t frame = 14;     // of Ethernet, which the rate carries, too
};

class Link {
 public:
  struct Arrival {
    Duration at{};
    bool corrupt = false;
  };
  struct Counts {
    std::uint64_t datagrams = 0, bytes = 0;  // IP, as they are offered
    std::uint64_t dropped_by_queue = 0, lost = 0;
  };

  Link(const LinkSettings& settings, std::uint64_t seed) : settings_(settings), random_(seed) {}
  LinkSettings& settings() noexcept { return settings_; }
  void set_down(bool down) noexcept { down_ = down; }

  // Zero, one or two arrivals of a datagram that is offered now.
  std::vector<Arrival> offer(std::size_t bytes, Duration now);
  const Counts& counts() const noexcept { return counts_; }
  // How long each datagram waited in the queue, in microseconds.
  const std::vector<std::uint32_t>& waits() const noexcept { return waits_; }

 private:
  double uniform() { return std::uniform_real_distribution<double>(0, 1)(random_); }
  LinkSettings settings_;
  std::mt19937_64 random_;
  Duration free_at_{};
  Duration last_arrival_{};
  bool bad_ = false;
  bool down_ = false;
  Counts counts_;
  std::vector<std::uint32_t> waits_;
};

}  // namespace portolan::sim
