#include "plugins/relay/health.h"

namespace portolan::relay {

std::string_view to_string(HealthState state) noexcept {
  switch (state) {
    case HealthState::unknown: return "unknown";
    case HealthState::up: return "up";
    case HealthState::down: return "down";
  }
  return {};
}

std::optional<HealthState> Health::on_result(const HealthSettings& settings, bool passed, std::string_view reason,
                                             Duration now, Random& random) noexcept {
  const std::lock_guard lock(mutex_);
  ++checks_;
  if (!passed) ++failed_;
  checked_at_ = now;
  jitter_ = 0.9 + 0.2 * random.unit();
  try {
    reason_.assign(reason.substr(0, 200));
  } catch (...) {
    reason_.clear();
  }
  const HealthState before = state();
  const HealthState says = passed ? HealthState::up : HealthState::down;
  if (says == before) {
    streak_ = 0;
    return std::nullopt;
  }
  const std::uint32_t needed = before == HealthState::unknown ? 1 : passed ? settings.rise : settings.fall;
  if (++streak_ < needed) return std::nullopt;
  streak_ = 0;
  since_ = now;
  if (before == HealthState::down) recovered_at_.store(now.count(), std::memory_order_relaxed);
  state_.store(says, std::memory_order_relaxed);
  return says;
}

Duration Health::due(const HealthSettings& settings) const noexcept {
  const std::lock_guard lock(mutex_);
  if (checks_ == 0) return Duration::zero();
  const bool settled = state() == HealthState::up && streak_ == 0;
  const Duration interval = settled ? settings.every : settings.every_down;
  return checked_at_ + Duration(static_cast<std::int64_t>(static_cast<double>(interval.count()) * jitter_));
}

Health::View Health::view() const {
  const std::lock_guard lock(mutex_);
  return {
      .state = state(), .since = since_, .reason = reason_, .streak = streak_, .checks = checks_, .failed = failed_};
}

}  // namespace portolan::relay
