// What the faults make of one direction of one peer's datagrams: datagrams and `now` go in, and come out when they are due,
// or never, or more than once, or out of order. No I/O, no clock. Nothing here throws but std::bad_alloc, from push and
// change.
//
// Owned by the session that it belongs to, on its worker's thread; a session without faults has none. The queue is bounded:
// what comes while it is full is dropped and counted, as a router does.
//
// A datagram goes through, whatever the order of the set: black_hole, loss, duplicate (the copies go on each for itself),
// corrupt, latency, bandwidth, reorder. Latency and its jitter keep the order; reorder alone changes it: what it holds back
// comes when `gap` later ones have gone out, or after `delay` when that is sooner (a second, when there is a gap and no
// delay). Faults decide when a datagram comes in: what is under way when a black hole opens still goes out.
#pragma once

#include "plugins/relay/fault_set.h"

#include <cstddef>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace portolan::relay {

class DatagramFaults {
 public:
  struct Limits {
    std::size_t datagrams = 1024;
    std::size_t bytes = 1024 * 1024;
  };

  DatagramFaults(FaultSet::Shared set, FaultDirection direction, std::uint64_t session, Duration now)
      : DatagramFaults(std::move(set), direction, session, now, Limits()) {}
  DatagramFaults(FaultSet::Shared set, FaultDirection direction, std::uint64_t session, Duration now, Limits limits)
      : faults_(std::move(set), Carrier::datagrams, direction, session, now), limits_(limits) {}

  // Datagrams under way come no later than the new latencies would have them from now on, unless there is a rate.
  void change(FaultSet::Shared set, Duration now);
  std::uint64_t version() const noexcept { return faults_.version(); }
  // False when no fault strikes this session and nothing is under way: it may do without until the set changes. The same
  // session draws the same again.
  bool needed() const noexcept { return !faults_.none() || held() > 0; }

  void push(std::span<const std::byte> datagram, Duration now);
  // The next that is due: valid until the next call of anything here.
  std::optional<std::span<const std::byte>> pop(Duration now);
  // When pop will have something; max() when nothing is under way.
  Duration next_due() const noexcept;

  std::size_t held() const noexcept { return queue_.size() + held_back_.size(); }
  std::size_t held_bytes() const noexcept { return bytes_; }
  std::uint64_t dropped() const noexcept { return dropped_; }  // for want of room

 private:
  struct Datagram {
    std::unique_ptr<std::byte[]> bytes;
    std::size_t size = 0;
    Duration due{};
    std::uint64_t number = 0;  // in the order in which they came
    std::int64_t gap = 0;      // held back: later ones that are still to go out before it
  };

  void enqueue(std::span<const std::byte> data, Duration now);
  std::span<const std::byte> hand_out(Datagram datagram) noexcept;

  ActiveFaults faults_;
  Limits limits_;
  std::deque<Datagram> queue_;       // by when they are due
  std::vector<Datagram> held_back_;  // by `reorder`
  std::unique_ptr<std::byte[]> handed_out_;
  std::size_t bytes_ = 0;
  std::uint64_t dropped_ = 0;
  std::uint64_t next_number_ = 0;
  Duration last_due_{};
};

}  // namespace portolan::relay
