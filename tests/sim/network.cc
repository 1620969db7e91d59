#include "sim/network.h"

#include <algorithm>

namespace portolan::sim {

Network::Network(const LinkSettings& there, const LinkSettings& back, std::uint64_t seed)
    : links_{Link(there, seed * 2 + 1), Link(back, seed * 2 + 2)},
      addresses_{*Address::parse("192.0.2.1:1111"), *Address::parse("192.0.2.2:2222")},
      buffer_(64 * 1024),
      random_(seed) {}

void Network::at(Duration time, std::function<void()> what) {
  events_.push(
      {.at = time, .order = order_++, .to = kNear, .source = {}, .target = {}, .data = {}, .what = std::move(what)});
}

void Network::transmit(Side from) {
  rudp::Endpoint* endpoint = endpoints_[from].get();
  rudp::Train train;
  while (endpoint && endpoint->transmit(train, buffer_, now_)) {
    std::span<const std::byte> rest = train.data;
    while (!rest.empty()) {
      const std::span<const std::byte> datagram = rest.first(std::min(train.segment, rest.size()));
      rest = rest.subspan(datagram.size());
      for (const Link::Arrival& arrival : links_[from].offer(datagram.size(), now_)) {
        Event event{.at = arrival.at,
                    .order = order_++,
                    .to = from == kNear ? kFar : kNear,
                    .source = addresses_[from],
                    .target = train.to,
                    .data = {datagram.begin(), datagram.end()},
                    .what = {}};
        if (arrival.corrupt) {
          std::byte& victim = event.data[random_() % event.data.size()];
          victim ^= static_cast<std::byte>(1U << random_() % 8);
        }
        events_.push(std::move(event));
      }
    }
  }
}

void Network::settle() {
  transmit(kNear);
  transmit(kFar);
}

bool Network::run(Duration until, const std::function<bool()>& done) {
  settle();
  while (!done()) {
    Duration next = events_.empty() ? Duration::max() : events_.top().at;
    for (const auto& endpoint : endpoints_)
      if (endpoint) next = std::min(next, endpoint->deadline());
    if (next > until) {
      now_ = std::max(now_, until);
      return false;
    }
    still_ = next > now_ ? 0 : still_ + 1;
    if (still_ == kStill) {
      stuck_ = true;
      return false;
    }
    now_ = std::max(now_, next);
    for (const auto& endpoint : endpoints_)
      if (endpoint && endpoint->deadline() <= now_) endpoint->on_timeout(now_);
    while (!events_.empty() && events_.top().at <= now_) {
      Event event = std::move(const_cast<Event&>(events_.top()));
      events_.pop();
      if (event.what) {
        event.what();
      } else if (endpoints_[event.to] && event.target == addresses_[event.to]) {
        endpoints_[event.to]->receive(event.source, event.target, event.data, now_);
      }
    }
    settle();
  }
  return true;
}

}  // namespace portolan::sim
