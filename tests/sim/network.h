// Two endpoints of rudp and the links between them, in virtual time.
//
// Turns the clock to the next thing that happens: a datagram arrives, or a deadline of an endpoint comes. Nothing else moves
// it, so that a scenario is the same for the same seed.
#pragma once

#include "rudp/endpoint.h"
#include "sim/link.h"

#include <array>
#include <functional>
#include <memory>
#include <queue>
#include <vector>

namespace portolan::sim {

class Network {
 public:
  enum Side : std::size_t { kNear = 0, kFar = 1 };  // near connects, far accepts

  Network(const LinkSettings& there, const LinkSettings& back, std::uint64_t seed);

  void put(Side side, std::unique_ptr<rudp::Endpoint> endpoint) { endpoints_[side] = std::move(endpoint); }
  rudp::Endpoint* endpoint(Side side) noexcept { return endpoints_[side].get(); }
  void remove(Side side) noexcept { endpoints_[side].reset(); }
  Link& link(Side from) noexcept { return links_[from]; }
  Address address(Side side) const noexcept { return addresses_[side]; }
  // The side is seen under another port, or another address, from now on; what is on its way to the old one is lost.
  void move(Side side, const Address& to) noexcept { addresses_[side] = to; }

  Duration now() const noexcept { return now_; }
  // `what` is called at this time.
  void at(Duration time, std::function<void()> what);
  // Until `done` or this time, or until nothing is left that could happen. True: done.
  bool run(Duration until, const std::function<bool()>& done);
  // An endpoint has a deadline again and again and does nothing: on a real loop it would take all of a processor.
  bool stuck() const noexcept { return stuck_; }
  // Something was called on an endpoint from outside.
  void settle();

 private:
  struct Event {
    Duration at;
    std::uint64_t order;
    Side to;
    Address source, target;
    std::vector<std::byte> data;
    std::function<void()> what;
    bool operator<(const Event& other) const noexcept {  // std::priority_queue has the largest on top
      return at != other.at ? at > other.at : order > other.order;
    }
  };
  static constexpr unsigned kStill = 100'000;
  void transmit(Side from);

  Duration now_ = std::chrono::seconds(1000);
  std::array<Link, 2> links_;
  std::array<Address, 2> addresses_;
  std::array<std::unique_ptr<rudp::Endpoint>, 2> endpoints_;
  std::priority_queue<Event> events_;
  std::uint64_t order_ = 0;
  unsigned still_ = 0;
  bool stuck_ = false;
  std::vector<std::byte> buffer_;
  std::mt19937_64 random_;
};

}  // namespace portolan::sim
