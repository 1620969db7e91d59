// What active checks say about a backend: down after `fall` failures in a row, up after `rise` successes, and when the
// next check is due.
//
// One for each backend, shared by all workers. state() takes no lock and is for any thread; the rest is for whoever
// runs the checks, and takes a short one. The first result decides at once.
#pragma once

#include "plugin/descriptor.h"
#include "plugins/relay/random.h"

#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

namespace portolan::relay {

struct HealthSettings {
  bool active = false;       // there are checks; without them a backend's state does not matter
  bool initially_up = true;  // may be chosen before the first check
  Duration every = std::chrono::seconds(5);
  Duration every_down = std::chrono::seconds(2);  // when it is not up, or about to change
  std::uint32_t rise = 2;
  std::uint32_t fall = 3;
  friend bool operator==(const HealthSettings&, const HealthSettings&) = default;
};

enum class HealthState : std::uint8_t { unknown, up, down };
std::string_view to_string(HealthState state) noexcept;

class Health {
 public:
  HealthState state() const noexcept { return state_.load(std::memory_order_relaxed); }
  // When the backend came back from being down; 0: it was never down. For slow start.
  Duration recovered_at() const noexcept { return Duration(recovered_at_.load(std::memory_order_relaxed)); }

  // The outcome of a check, `reason` a few words about it: "connection refused". The answer is the new state, if it is
  // another. The interval to the next check varies by 10 %, so that checks of many backends do not march in step.
  std::optional<HealthState> on_result(const HealthSettings& settings, bool passed, std::string_view reason,
                                       Duration now, Random& random) noexcept;
  // The next check; zero before the first.
  Duration due(const HealthSettings& settings) const noexcept;

  struct View {
    HealthState state = HealthState::unknown;
    Duration since{};          // monotonic; 0: never changed
    std::string reason;        // of the last check
    std::uint32_t streak = 0;  // results in a row that speak against the state
    std::uint64_t checks = 0;
    std::uint64_t failed = 0;
  };
  View view() const;

 private:
  std::atomic<HealthState> state_{HealthState::unknown};
  std::atomic<std::int64_t> recovered_at_{0};

  mutable std::mutex mutex_;
  std::uint32_t streak_ = 0;
  Duration checked_at_{};
  Duration since_{};
  double jitter_ = 1;
  std::uint64_t checks_ = 0;
  std::uint64_t failed_ = 0;
  std::string reason_;
};

}  // namespace portolan::relay
