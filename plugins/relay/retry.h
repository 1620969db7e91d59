// When a session that a backend did not take may try again: how often, after how long, and not when all others do so
// as well.
//
// RetryPolicy is a value. RetryBudget is shared by all workers; any thread, no lock.
#pragma once

#include "plugin/descriptor.h"
#include "plugins/relay/random.h"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <string_view>

namespace portolan::relay {

// How many sessions and retries there were in the last ten seconds. Retries are allowed up to a share of the sessions
// beside a few for each second, so that a failing backend is not buried under them (Finagle's RetryBudget:
// percentCanRetry, minRetriesPerSec, ttl). Threads that ask at once may go over it by one each.
class RetryBudget {
 public:
  static constexpr std::uint32_t kSeconds = 10;

  void session(Duration now) noexcept { sessions_.add(now); }
  // Takes a retry out of the budget. `share`: 0.2 is one retry for five sessions.
  bool retry(double share, double min_per_second, Duration now) noexcept {
    const double allowed = share * sessions_.sum(now) + min_per_second * kSeconds;
    if (retries_.sum(now) + 1 > allowed) return false;
    retries_.add(now);
    return true;
  }

 private:
  // A number for each of the last seconds: its second above, the number below.
  class Recent {
   public:
    void add(Duration now) noexcept {
      const std::uint64_t second = second_of(now);
      std::atomic<std::uint64_t>& slot = slots_[second % slots_.size()];
      std::uint64_t old = slot.load(std::memory_order_relaxed);
      std::uint64_t fresh = 0;
      do {
        fresh = old >> 32U == second ? old + 1 : second << 32U | 1;
      } while (!slot.compare_exchange_weak(old, fresh, std::memory_order_relaxed));
    }
    double sum(Duration now) const noexcept {
      const std::uint64_t second = second_of(now);
      std::uint64_t total = 0;
      for (const auto& slot : slots_) {
        const std::uint64_t value = slot.load(std::memory_order_relaxed);
        if ((value >> 32U) + kSeconds > second) total += value & 0xffffffffU;
      }
      return static_cast<double>(total);
    }

   private:
    // From 1, so that an empty slot is never of the present second.
    static std::uint64_t second_of(Duration now) noexcept {
      return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::seconds>(now).count()) + 1;
    }
    std::array<std::atomic<std::uint64_t>, kSeconds> slots_{};
  };

  Recent sessions_;
  Recent retries_;
};

struct RetrySettings {
  std::uint32_t attempts = 3;  // in all, the first included
  Duration backoff = std::chrono::milliseconds(50);
  Duration max_backoff = std::chrono::seconds(1);
  Duration deadline = std::chrono::seconds(10);  // for all attempts together, waiting included; 0: none
  double budget = 0.2;                           // of the recent sessions; see RetryBudget
  double min_per_second = 10;
};

enum class NoRetry : std::uint8_t { attempts, deadline, budget };
std::string_view to_sentence(NoRetry why) noexcept;  // "tried 3 times", for the end of a sentence

// Whether and after how long another attempt is made. `made`: attempts so far, at least 1; `began`: when the session
// first wanted a backend. `elsewhere`: there is a backend that this session has not tried: the first of those is tried
// without delay. Otherwise exponential backoff with full jitter (M. Brooker, "Exponential Backoff And Jitter", AWS
// Architecture Blog, 2015).
std::expected<Duration, NoRetry> next_attempt(const RetrySettings& settings, std::uint32_t made, bool elsewhere,
                                              Duration began, Duration now, RetryBudget& budget,
                                              Random& random) noexcept;

}  // namespace portolan::relay
