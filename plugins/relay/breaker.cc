#include "plugins/relay/breaker.h"

#include <algorithm>

namespace portolan::relay {

std::string_view to_string(BreakerState state) noexcept {
  switch (state) {
    case BreakerState::closed: return "closed";
    case BreakerState::open: return "open";
    case BreakerState::half_open: return "half_open";
  }
  return {};
}

bool Breaker::allows(const BreakerSettings& settings, Duration now) const noexcept {
  if (settings.failures == 0) return true;
  switch (state_.load(std::memory_order_acquire)) {
    case BreakerState::closed: return true;
    case BreakerState::open: return now.count() >= open_until_.load(std::memory_order_relaxed);
    case BreakerState::half_open: return trials_.load(std::memory_order_relaxed) < settings.trials;
  }
  return true;
}

Breaker::Entry Breaker::enter(const BreakerSettings& settings, Duration now) noexcept {
  if (settings.failures == 0 || state_.load(std::memory_order_acquire) == BreakerState::closed) {
    return {.allowed = true};
  }
  if (!allows(settings, now)) return {};
  bool half_opened = false;
  if (state_.load(std::memory_order_acquire) == BreakerState::open) {
    const std::lock_guard lock(mutex_);
    // Another thread may have been first.
    if (state_.load(std::memory_order_relaxed) == BreakerState::open) {
      successes_ = 0;
      change(BreakerState::half_open, now);
      half_opened = true;
    }
  }
  if (trials_.fetch_add(1, std::memory_order_relaxed) < settings.trials) {
    return {.allowed = true, .trial = true, .half_opened = half_opened};
  }
  leave_trial();
  return {.half_opened = half_opened};
}

std::optional<BreakerState> Breaker::on_success(const BreakerSettings& settings, bool trial, Duration now) noexcept {
  const bool forgives = settings.window == Duration::zero();
  if (!trial && (!forgives || failures_.load(std::memory_order_relaxed) == 0)) return std::nullopt;
  const std::lock_guard lock(mutex_);
  switch (state_.load(std::memory_order_relaxed)) {
    case BreakerState::closed:
      if (forgives) failures_.store(0, std::memory_order_relaxed);
      return std::nullopt;
    case BreakerState::open: return std::nullopt;
    case BreakerState::half_open: break;
  }
  if (!trial || ++successes_ < settings.successes) return std::nullopt;
  failures_.store(0, std::memory_order_relaxed);
  change(BreakerState::closed, now);
  return BreakerState::closed;
}

std::optional<BreakerState> Breaker::on_failure(const BreakerSettings& settings, bool trial, Duration now) noexcept {
  if (settings.failures == 0) return std::nullopt;
  const std::lock_guard lock(mutex_);
  switch (state_.load(std::memory_order_relaxed)) {
    case BreakerState::open: return std::nullopt;
    case BreakerState::half_open:
      if (!trial) return std::nullopt;
      open(now, std::min(reset_after_ * 2, settings.max_reset_after));
      return BreakerState::open;
    case BreakerState::closed: break;
  }
  const std::uint32_t needed = std::min(settings.failures, kMaxFailures);
  const std::uint32_t count = failures_.load(std::memory_order_relaxed);
  failed_at_[count % kMaxFailures] = now;
  failures_.store(count + 1, std::memory_order_relaxed);
  if (count + 1 < needed) return std::nullopt;
  const Duration first = failed_at_[(count + 1 - needed) % kMaxFailures];
  if (settings.window != Duration::zero() && now - first > settings.window) return std::nullopt;
  open(now, std::min(settings.reset_after, settings.max_reset_after));
  return BreakerState::open;
}

void Breaker::open(Duration now, Duration reset_after) noexcept {
  reset_after_ = reset_after;
  open_until_.store((now + reset_after).count(), std::memory_order_relaxed);
  ++opened_;
  change(BreakerState::open, now);
}

void Breaker::change(BreakerState to, Duration now) noexcept {
  since_ = now;
  ++transitions_;
  state_.store(to, std::memory_order_release);
}

Breaker::View Breaker::view() const noexcept {
  const std::lock_guard lock(mutex_);
  return {.state = state_.load(std::memory_order_relaxed),
          .since = since_,
          .open_until = Duration(open_until_.load(std::memory_order_relaxed)),
          .failures = failures_.load(std::memory_order_relaxed),
          .opened = opened_,
          .transitions = transitions_};
}

}  // namespace portolan::relay
