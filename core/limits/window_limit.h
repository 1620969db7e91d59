// A count in windows of one length, without a lock: fixed (what was counted in the window before does not matter) or
// sliding (it matters by the share of it that is still in view: the estimate of two counters; J. Desgats, "How we built
// rate limiting capable of scaling to millions of domains", blog.cloudflare.com/counting-things-a-lot-of-different-things).
// At the turn of a fixed window twice the limit may pass within a moment; of a sliding one it may not.
//
// A WindowLimit is a value; the state is two atomics that callers keep, shared between workers: the windows with even and
// with odd numbers have one each, which is the window's number above its count. So a new window begins by one
// compare-and-swap, and the one before stays readable beside it.
// A message may cost more than what is left: it passes when there is room for one, and what was too much fills the windows
// that follow.
#pragma once

#include "rate_limit.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>

namespace portolan {

using LimitState = std::array<RateState, 2>;  // zeros: nothing counted

class WindowLimit {
 public:
  static constexpr double kMost = std::numeric_limits<std::uint32_t>::max();  // that one window can count

  WindowLimit() = default;
  WindowLimit(double per_second, Duration length, bool sliding) noexcept
      : limit_(std::clamp(per_second * std::chrono::duration<double>(length).count(), 1.0, kMost)),
        length_(std::max(length, Duration(1))),
        sliding_(sliding) {}

  // How long until there is room for one. Zero: there is.
  Duration wait(const LimitState& state, Duration now) const noexcept { return wait(use(load(state), now)); }

  Duration take(LimitState& state, Duration now, double cost) const noexcept {
    return count(state, now, cost, [this](const Use& use) { return wait(use); });
  }

  // Counts what has happened already, whether there is room or not.
  void charge(LimitState& state, Duration now, double cost) const noexcept {
    count(state, now, cost, [](const Use&) { return Duration::zero(); });
  }

  // Whether the state is as good as a fresh one.
  bool forgotten(const LimitState& state, Duration now) const noexcept {
    const Use found = use(load(state), now);
    return found.current == 0 && found.previous == 0;
  }

  friend bool operator==(const WindowLimit&, const WindowLimit&) = default;

 private:
  using Words = std::array<std::int64_t, 2>;
  struct Use {
    std::uint32_t window;
    double gone;      // share of the window that is over
    double current;   // counted in it
    double previous;  // and in the one before, where that matters
  };

  static Words load(const LimitState& state) noexcept {
    return {state[0].load(std::memory_order_relaxed), state[1].load(std::memory_order_relaxed)};
  }
  static std::uint32_t window_of(std::int64_t word) noexcept {
    return static_cast<std::uint32_t>(static_cast<std::uint64_t>(word) >> 32U);
  }
  static std::int64_t pack(std::uint32_t window, double count) noexcept {
    return static_cast<std::int64_t>(std::uint64_t{window} << 32U |
                                     static_cast<std::uint32_t>(std::min(std::ceil(count), kMost)));
  }

  // What is left in `window` of what a word counted: each window since has taken its limit off.
  double left(std::int64_t word, std::uint32_t window) const noexcept {
    const std::uint32_t counted_in = window_of(word);
    if (counted_in > window) return 0;
    return std::max(0.0, static_cast<std::uint32_t>(word) - limit_ * (window - counted_in));
  }
  double left(const Words& words, std::uint32_t window) const noexcept {
    return std::max(left(words[0], window), left(words[1], window));
  }

  Use use(const Words& words, Duration now) const noexcept {
    // Numbers from 1: the state of a window that never was is 0. A worker whose clock lags counts with the others.
    const auto by_clock = static_cast<std::uint32_t>(now / length_ + 1);
    const std::uint32_t window = std::max({by_clock, window_of(words[0]), window_of(words[1])});
    const double gone = static_cast<double>((now % length_).count()) / static_cast<double>(length_.count());
    return {.window = window,
            .gone = window == by_clock ? gone : 0,
            .current = left(words, window),
            .previous = sliding_ ? std::min(limit_, left(words, window - 1)) : 0};
  }

  Duration wait(const Use& use) const noexcept {
    double current = use.current;
    double previous = use.previous;
    // The first window that is not full when it begins ...
    const double windows = std::max(0.0, std::ceil((current + 1 - limit_) / limit_));
    if (windows > 0) {
      previous = sliding_ ? std::min(limit_, current - (windows - 1) * limit_) : 0;
      current = std::max(0.0, current - windows * limit_);
    }
    // ... and how much of it goes by until enough of the one before is out of view.
    const double room = limit_ - 1 - current;
    const double share = previous > room ? 1 - room / previous : 0;
    if (windows == 0 && share <= use.gone) return Duration::zero();
    const double nanoseconds = (windows + share - use.gone) * static_cast<double>(length_.count());
    return Duration(static_cast<std::int64_t>(std::min(std::ceil(nanoseconds), 9e18)) + 1);
  }

  template <typename Refuses>
  Duration count(LimitState& state, Duration now, double cost, Refuses refuses) const noexcept {
    for (;;) {
      Words words = load(state);
      const Use found = use(words, now);
      if (const Duration wait = refuses(found); wait > Duration::zero()) return wait;
      const std::size_t slot = found.window % 2;
      if (state[slot].compare_exchange_weak(words[slot], pack(found.window, found.current + cost),
                                            std::memory_order_relaxed))
        return Duration::zero();
    }
  }

  double limit_ = 1;
  Duration length_{1};
  bool sliding_ = false;
};

}  // namespace portolan
