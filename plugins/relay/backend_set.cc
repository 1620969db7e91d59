#include "plugins/relay/backend_set.h"

#include "base/units.h"
#include "plugins/relay/relay_state.h"

#include <algorithm>

namespace portolan::relay {

const Member* BackendSet::find(std::string_view backend) const noexcept {
  for (const Member& member : members_)
    if (member.name() == backend || member.settings.address == backend) return &member;
  return nullptr;
}

Standing BackendSet::standing(const Member& member, Duration now) const noexcept {
  const Backend& backend = *member.backend;
  if (member.weight() == 0 || backend.drained()) return Standing::drained;
  if (!backend.breaker.allows(settings_.breaker, now)) return Standing::breaker;
  if (settings_.health.active) {
    const HealthState health = backend.health.state();
    if (health == HealthState::down || (health == HealthState::unknown && !settings_.health.initially_up)) {
      return Standing::down;
    }
  }
  return backend.ejection.ejected(now) ? Standing::ejected : Standing::available;
}

std::uint32_t BackendSet::effective_weight(const Member& member, Duration now) const noexcept {
  const std::uint32_t weight = member.weight();
  const Backend& backend = *member.backend;
  const Duration came = std::max({backend.health.recovered_at(), backend.ejection.until(), backend.undrained_at()});
  const Duration age = now - came;
  if (came == Duration::zero() || age < Duration::zero() || age >= settings_.slow_start) return weight * 100;
  const double grown = static_cast<double>(age.count()) / static_cast<double>(settings_.slow_start.count());
  return weight * static_cast<std::uint32_t>(10 + 90 * grown);
}

Place Place::take(const BackendSet& set, const Member& member, Duration now, Events& events) noexcept {
  Backend& backend = *member.backend;
  const Breaker::Entry entry = backend.breaker.enter(set.settings().breaker, now);
  if (entry.half_opened) {
    events.add(EventKind::breaker_half_open, member.name(), "{} is tried again: its breaker is half-open",
               member.name());
  }
  if (!entry.allowed) return {};
  // The place comes last: one that is taken and given back would be missed by somebody who begins to wait meanwhile.
  if ((member.rate.limited() && member.rate.take(backend.rate, now, 1) != Duration::zero()) ||
      !backend.take_place(member.settings.max_sessions)) {
    if (entry.trial) backend.breaker.leave_trial();
    return {};
  }
  backend.chosen.fetch_add(1, std::memory_order_relaxed);
  Place place;
  place.set_ = &set;
  place.member_ = &member;
  place.trial_ = entry.trial;
  return place;
}

void Place::connected(Duration took) noexcept {
  member_->backend->connected.fetch_add(1, std::memory_order_relaxed);
  member_->backend->connect_took(took);
}

void Place::answered(Duration now, Events& events) noexcept { judge(true, now, events); }

void Place::failed(Failure what, std::string_view reason, Duration now, Events& events) noexcept {
  Backend& backend = *member_->backend;
  auto& counter = what == Failure::dial ? backend.failed : backend.closed_early;
  counter.fetch_add(1, std::memory_order_relaxed);
  if (what == Failure::closed_early && !set_->settings().passive.early_close) return leave();
  judge(false, now, events);
  if (backend.ejection.on_failure(set_->settings().passive)) {
    set_->state().eject(*set_, *member_, reason, now, events);
  }
  leave();
}

void Place::judge(bool good, Duration now, Events& events) noexcept {
  Backend& backend = *member_->backend;
  const BreakerSettings& settings = set_->settings().breaker;
  if (good) backend.ejection.on_success();
  const auto changed =
      good ? backend.breaker.on_success(settings, trial_, now) : backend.breaker.on_failure(settings, trial_, now);
  // What is known of the backend by now needs no place among the trials any more, however long the session stays.
  if (std::exchange(trial_, false)) backend.breaker.leave_trial();
  if (changed == BreakerState::closed) {
    events.add(EventKind::breaker_closed, member_->name(), "{} works again: its breaker is closed", member_->name());
    set_->state().waiters().wake();
  } else if (changed == BreakerState::open) {
    const Duration left = backend.breaker.view().open_until - now;
    events.add(EventKind::breaker_open, member_->name(), "{} gets no sessions for {}: its breaker is open",
               member_->name(), format_duration(left));
  }
}

void Place::leave() noexcept {
  if (!member_) return;
  if (std::exchange(trial_, false)) member_->backend->breaker.leave_trial();
  member_->backend->give_place_back();
  member_ = nullptr;
  set_->state().waiters().wake();
}

}  // namespace portolan::relay
