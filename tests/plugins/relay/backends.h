// A relay's backends for tests of its rules: b1, b2, … at 10.0.0.1:80, 10.0.0.2:80, …
#pragma once

#include "plugins/relay/balancer.h"
#include "plugins/relay/relay_state.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace portolan::relay::testing {

inline constexpr Duration kStart = std::chrono::seconds(1000);

inline SetSettings backends(const std::vector<std::uint32_t>& weights) {
  SetSettings settings;
  for (std::size_t n = 1; n <= weights.size(); ++n) {
    settings.backends.push_back({.address = "tcp://10.0.0." + std::to_string(n) + ":80",
                                 .name = "b" + std::to_string(n),
                                 .weight = weights[n - 1]});
  }
  return settings;
}

inline Address client(unsigned number) {
  return *Address::parse("192." + std::to_string(number >> 16U & 0xffU) + "." + std::to_string(number >> 8U & 0xffU) +
                         "." + std::to_string(number & 0xffU) + ":4711");
}

// Events as "kind detail" lines.
inline std::string told(Events& events) {
  std::string text;
  for (const Event& event : events.take()) text += std::string(to_string(event.kind)) + " " + event.detail + "\n";
  return text;
}

// One session after the other, each gone before the next: the last letters of the names that they got, "-" for none.
inline std::string turns(Balancer& balancer, std::size_t count, Duration now = kStart) {
  Events events;
  std::string text;
  for (std::size_t n = 0; n < count; ++n) {
    const auto place = balancer.choose(client(static_cast<unsigned>(n)), {}, now, events);
    text += place ? place->member().name().back() : '-';
  }
  return text;
}

}  // namespace portolan::relay::testing
