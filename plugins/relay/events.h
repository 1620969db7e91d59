// What happened to backends, as values: rules add them, the service stores them when the call has returned
// (Context::event).
//
// Owned by the caller, on one thread. An event for which there is no memory is lost, and counted.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace portolan::relay {

enum class EventKind : std::uint8_t {
  backend_up,
  backend_down,
  backend_ejected,
  backend_returned,
  backend_drained,
  backend_undrained,
  breaker_open,
  breaker_half_open,
  breaker_closed,
};

constexpr std::string_view to_string(EventKind kind) noexcept {
  switch (kind) {
    case EventKind::backend_up: return "backend_up";
    case EventKind::backend_down: return "backend_down";
    case EventKind::backend_ejected: return "backend_ejected";
    case EventKind::backend_returned: return "backend_returned";
    case EventKind::backend_drained: return "backend_drained";
    case EventKind::backend_undrained: return "backend_undrained";
    case EventKind::breaker_open: return "breaker_open";
    case EventKind::breaker_half_open: return "breaker_half_open";
    case EventKind::breaker_closed: return "breaker_closed";
  }
  return {};
}

struct Event {
  EventKind kind;
  std::string backend;  // its name
  std::string detail;   // a sentence: "10.0.0.7:8080 is down: connection refused (3 checks failed)"
};

class Events {
 public:
  template <typename... Args>
  void add(EventKind kind, std::string_view backend, fmt::format_string<Args...> format, Args&&... args) noexcept {
    try {
      list_.push_back({kind, std::string(backend), fmt::format(format, std::forward<Args>(args)...)});
    } catch (...) {
      ++lost_;
    }
  }
  bool empty() const noexcept { return list_.empty(); }
  std::uint64_t lost() const noexcept { return lost_; }
  std::vector<Event> take() noexcept { return std::exchange(list_, {}); }

 private:
  std::vector<Event> list_;
  std::uint64_t lost_ = 0;
};

}  // namespace portolan::relay
