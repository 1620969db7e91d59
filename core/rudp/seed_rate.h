// How many packets a pipelining seed sender keeps in flight: what the path delivers in the time of an empty round trip, and
// a quarter more, so that a faster path shows itself.
//
// In the manner of BBR (draft-ietf-ccwg-bbr): the greatest delivery rate of the last rounds times the least round trip of
// the last ten seconds, found by doubling. Lost packets count as filling the path, up to 30 %: loss alone does not
// slow it down, a path that delivers less does. Owned by a SeedWindow, on its thread; allocates nothing.
#pragma once

#include "plugin/descriptor.h"

#include <array>
#include <cstdint>

namespace portolan::rudp {

class SeedRate {
 public:
  // What is kept with a packet when it leaves, and comes back with its acknowledgement.
  struct Mark {
    std::uint64_t delivered = 0;  // packets, by then
    Duration at{};                // when the last of those was acknowledged
    bool starved = false;         // there was too little to send, which says nothing of the path
  };
  Mark sent(Duration now, bool idle, bool starved) noexcept;
  void delivered(const Mark& mark, Duration round_trip, Duration now) noexcept;  // sent once, so both are known
  void delivered() noexcept;                                                     // after a retransmission
  void lost() noexcept;
  void collapse() noexcept;  // nothing came back for several timeouts: begin again

  double window() const noexcept { return window_; }             // packets, at least 2
  Duration least_round_trip() const noexcept { return least_; }  // zero: not known

 private:
  static constexpr std::size_t kRounds = 8;
  static constexpr double kFirst = 10;
  void end_round(Duration now) noexcept;

  double window_ = kFirst;
  bool starting_ = true;
  std::uint8_t flat_rounds_ = 0;   // in which the rate did not grow while starting
  std::uint8_t drain_rounds_ = 0;  // in which the queue is let run empty, to see the least round trip again
  double reached_ = 0;             // the rate that growth is measured against
  double loss_ = 0;                // of the packets, smoothed
  std::uint64_t delivered_ = 0;
  Duration delivered_at_{};
  std::uint64_t round_end_ = 0;
  std::uint64_t round_delivered_ = 0;
  std::uint64_t round_lost_ = 0;
  bool round_starved_ = true;
  std::array<double, kRounds> rates_{};  // packets a second, the greatest of each round
  std::size_t round_ = 0;
  Duration least_{};
  Duration least_at_{};
};

}  // namespace portolan::rudp
