// How many packets a pipelining seed sender keeps in flight: what the path delivers in the time of an empty round trip,
// and a quarter more, so that a faster path shows itself.
//
// In the manner of BBR (draft-ietf-ccwg-bbr): the greatest delivery rate of the last rounds times the least round trip
// of the last ten seconds, found by doubling; every ten seconds half of that, to see the least round trip again. Loss
// does not slow it down, a path that delivers less does. What is lost while the path is not full (as the rate still
// doubles, or at half of it) is the path's own loss, and so much more is sent.
// Owned by a SeedWindow, on its thread; allocates nothing.
#pragma once

#include "plugin/descriptor.h"

#include <array>
#include <cstddef>
#include <cstdint>

namespace portolan::rudp {

class SeedRate {
 public:
  // Stays with a packet that left, until its acknowledgement.
  struct Mark {
    std::uint64_t delivered = 0;  // packets, by then
    Duration at{};                // when the last of those was acknowledged
    bool starved = false;         // no more was there to be sent, so the rate says little of the path
  };
  Mark sent(Duration now, bool nothing_in_flight, bool starved) noexcept;
  void delivered(const Mark& mark, Duration round_trip, Duration now) noexcept;  // a packet that was sent once
  void delivered_again(Duration now) noexcept;                                   // or more often: who knows which
  void lost() noexcept { ++round_lost_; }
  void begin_again() noexcept;  // the path or the peer is another

  double window() const noexcept { return window_; }  // packets, at least 2
  // Between two packets, so that a window that opens at once does not overrun the path's queue. Zero: not known.
  Duration interval() const noexcept;
  Duration least_round_trip() const noexcept { return least_; }  // zero: not known

 private:
  static constexpr std::size_t kRounds = 8;
  static constexpr double kFirst = 10;  // RFC 6928
  void end_round(Duration now) noexcept;
  double path(double rate) const noexcept;  // packets that fill it

  double window_ = kFirst;
  bool starting_ = true;
  int flat_rounds_ = 0;   // since the rate grew, while starting
  int drain_rounds_ = 0;  // yet to go, at half the window
  double reached_ = 0;    // the rate that growth is measured against
  double own_loss_ = 0;   // of the path, as a fraction
  std::uint64_t delivered_ = 0;
  Duration delivered_at_{};
  std::uint64_t round_began_ = 0;  // at so many delivered
  std::uint64_t round_end_ = 0;    // with the acknowledgement of a packet that left after so many
  std::uint64_t round_lost_ = 0;
  bool round_starved_ = true;
  std::array<double, kRounds> rates_{};  // packets a second, the greatest of each round
  std::size_t round_ = 0;
  Duration least_{};
  Duration least_at_{};
  Duration drained_least_{};
};

}  // namespace portolan::rudp
