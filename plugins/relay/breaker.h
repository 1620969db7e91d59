// A circuit breaker: after too many failures a backend gets no sessions at all for a while, then a few on trial
// (M. Nygard, "Release It!", chapter "Circuit Breaker"; a reopened one waits twice as long).
//
// One for each backend, shared by all workers. Any thread may call anything. Asking takes no lock but for the one call
// that begins the half-open state; failures, and successes after failures, take a short one. The settings are those
// of the caller's generation.
#pragma once

#include "plugin/descriptor.h"

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string_view>

namespace portolan::relay {

struct BreakerSettings {
  std::uint32_t failures = 0;  // that open it; 0: there is no breaker
  Duration window{};           // in which they have to happen; 0: in a row, however long it takes
  Duration reset_after = std::chrono::seconds(10);
  Duration max_reset_after = std::chrono::minutes(5);
  std::uint32_t trials = 1;     // sessions at once while half-open
  std::uint32_t successes = 2;  // that close it again
  friend bool operator==(const BreakerSettings&, const BreakerSettings&) = default;
};

enum class BreakerState : std::uint8_t { closed, open, half_open };
std::string_view to_string(BreakerState state) noexcept;

class Breaker {
 public:
  static constexpr std::uint32_t kMaxFailures = 64;  // the most that a setting may say

  // Whether a session may be tried, as far as can be told without trying it.
  bool allows(const BreakerSettings& settings, Duration now) const noexcept;

  // A session begins. `half_opened` tells that this call has changed the state.
  struct Entry {
    bool allowed = false;
    bool trial = false;  // leave_trial has to be called for it, once
    bool half_opened = false;
  };
  Entry enter(const BreakerSettings& settings, Duration now) noexcept;
  void leave_trial() noexcept { trials_.fetch_sub(1, std::memory_order_relaxed); }

  // How a session went. While half-open only trials count: others began before. The answer is the state that this has
  // led to, if it is another.
  std::optional<BreakerState> on_success(const BreakerSettings& settings, bool trial, Duration now) noexcept;
  std::optional<BreakerState> on_failure(const BreakerSettings& settings, bool trial, Duration now) noexcept;

  struct View {
    BreakerState state = BreakerState::closed;
    Duration since{};            // monotonic, of the last transition; 0: there was none
    Duration open_until{};       // when open
    std::uint32_t failures = 0;  // that count towards opening
    std::uint64_t opened = 0;    // how often
    std::uint64_t transitions = 0;
  };
  View view() const noexcept;

 private:
  // All under the lock.
  void change(BreakerState to, Duration now) noexcept;
  void open(Duration now, Duration reset_after) noexcept;

  std::atomic<BreakerState> state_{BreakerState::closed};
  std::atomic<std::int64_t> open_until_{0};  // nanoseconds of the monotonic clock
  std::atomic<std::uint32_t> trials_{0};     // under way
  std::atomic<std::uint32_t> failures_{0};   // since it was closed, or since the last success without a window

  mutable std::mutex mutex_;
  std::array<Duration, kMaxFailures> failed_at_{};  // a ring, of which failures_ tells the end
  std::uint32_t successes_ = 0;
  Duration reset_after_{};
  Duration since_{};
  std::uint64_t opened_ = 0;
  std::uint64_t transitions_ = 0;
};

}  // namespace portolan::relay
