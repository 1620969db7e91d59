#include "plugins/relay/relay_state.h"

#include "base/clock.h"
#include "base/units.h"

#include <algorithm>

namespace portolan::relay {
namespace {

// FNV-1a: the same on every machine and in every run, so that a client keeps its backend over a restart.
std::uint64_t key_of(std::string_view name) noexcept {
  std::uint64_t hash = 0xcbf29ce484222325U;
  for (const char byte : name) hash = (hash ^ static_cast<unsigned char>(byte)) * 0x100000001b3U;
  return mix(hash);
}

std::string_view word_for(Standing standing, const BackendSet& set, const Backend& backend) noexcept {
  const bool breaks = set.settings().breaker.failures != 0;
  const BreakerState breaker = backend.breaker.view().state;
  switch (standing) {
    case Standing::drained: return "drained";
    case Standing::breaker: return breaker == BreakerState::open ? "breaker_open" : "breaker_half_open";
    case Standing::down: return backend.health.state() == HealthState::unknown ? "unknown" : "down";
    case Standing::ejected: return "ejected";
    case Standing::available: break;
  }
  if (breaks && breaker != BreakerState::closed) return "breaker_half_open";
  return set.settings().health.active ? to_string(backend.health.state()) : "up";
}

std::int64_t ms_since(Duration then, Duration now) noexcept { return then == Duration::zero() ? 0 : to_ms(now - then); }
std::int64_t ms_until(Duration then, Duration now) noexcept { return std::max<std::int64_t>(to_ms(then - now), 0); }

// What belongs to the backend itself, whatever a set says of it.
BackendStatus status_of(const Backend& backend, Duration now) {
  const Health::View health = backend.health.view();
  const Breaker::View breaker = backend.breaker.view();
  BackendStatus status;
  status.name = backend_name(backend.address());
  status.address = backend.address();
  status.reason = health.reason;
  status.since_ms = ms_since(std::max(health.since, breaker.since), now);
  status.drained = backend.drained();
  status.sessions = backend.sessions();
  status.chosen = backend.chosen.load(std::memory_order_relaxed);
  status.connected = backend.connected.load(std::memory_order_relaxed);
  status.failed = backend.failed.load(std::memory_order_relaxed);
  status.closed_early = backend.closed_early.load(std::memory_order_relaxed);
  status.retried = backend.retried.load(std::memory_order_relaxed);
  status.checks = health.checks;
  status.checks_failed = health.failed;
  status.connect_us = std::chrono::duration_cast<std::chrono::microseconds>(backend.connect_time()).count();
  status.ejected_for_ms = ms_until(backend.ejection.until(), now);
  status.ejections = backend.ejection.count();
  status.breaker = breaker.state;
  status.breaker_since_ms = ms_since(breaker.since, now);
  status.breaker_open_for_ms = breaker.state == BreakerState::open ? ms_until(breaker.open_until, now) : 0;
  status.breaker_opened = breaker.opened;
  status.breaker_transitions = breaker.transitions;
  return status;
}

}  // namespace

std::shared_ptr<const BackendSet> RelayState::set_for(const SetSettings& settings) {
  const std::lock_guard lock(mutex_);
  SetSettings named = settings;
  for (BackendSettings& backend : named.backends)
    if (backend.name.empty()) backend.name = backend_name(backend.address);
  if (auto latest = latest_.lock(); latest && latest->settings() == named) return latest;
  std::erase_if(backends_, [](const auto& entry) { return entry.second.expired(); });
  std::vector<Member> members;
  members.reserve(named.backends.size());
  for (const BackendSettings& one : named.backends) {
    std::weak_ptr<Backend>& known = backends_[one.address];
    std::shared_ptr<Backend> backend = known.lock();
    if (!backend) known = backend = std::make_shared<Backend>(one.address);
    members.push_back({one, std::move(backend), key_of(one.name), RateLimit(one.rate)});
  }
  auto set = std::make_shared<const BackendSet>(*this, std::move(named), std::move(members));
  latest_ = set;
  return set;
}

void RelayState::checked(const BackendSet& set, const Member& member, bool passed, std::string_view reason,
                         Duration now, Random& random, Events& events) noexcept {
  const HealthSettings& settings = set.settings().health;
  const HealthState before = member.backend->health.state();
  const auto changed = member.backend->health.on_result(settings, passed, reason, now, random);
  if (!changed) return;
  // The first result decides alone.
  const auto checks = [before](std::uint32_t needed) { return before == HealthState::unknown ? 1 : needed; };
  if (*changed == HealthState::down) {
    const std::uint32_t count = checks(settings.fall);
    events.add(EventKind::backend_down, member.name(), "{} is down: {} ({} {} failed)", member.name(), reason, count,
               count == 1 ? "check" : "checks");
    return;
  }
  const std::uint32_t count = checks(settings.rise);
  events.add(EventKind::backend_up, member.name(), "{} is up ({} {} passed)", member.name(), count,
             count == 1 ? "check" : "checks");
  waiters_.wake_all();
}

void RelayState::eject(const BackendSet& set, const Member& member, std::string_view reason, Duration now,
                       Events& events) noexcept {
  Duration time{};
  {
    const std::lock_guard lock(ejection_mutex_);
    if (member.backend->ejection.ejected(now)) return;
    const PassiveSettings& settings = set.settings().passive;
    std::size_t ejected = 0;
    bool other_available = false;
    for (const Member& other : set.members()) {
      if (&other == &member) continue;
      if (other.backend->ejection.ejected(now)) ++ejected;
      if (set.standing(other, now) == Standing::available) other_available = true;
    }
    const std::size_t most = std::max<std::size_t>(set.members().size() * settings.max_share / 100, 1);
    if (!other_available || settings.max_share == 0 || ejected >= most) return;
    time = member.backend->ejection.eject(settings, now);
  }
  events.add(EventKind::backend_ejected, member.name(), "{} is ejected for {}: {} ({} sessions failed in a row)",
             member.name(), format_duration(time), reason, set.settings().passive.failures);
}

bool RelayState::tick(const BackendSet& set, Duration now, Events& events) noexcept {
  bool ejected = false;
  for (const Member& member : set.members()) {
    ejected |= member.backend->ejection.ejected(now);
    if (!member.backend->ejection.returned(now)) continue;
    events.add(EventKind::backend_returned, member.name(), "{} is chosen again: its ejection is over", member.name());
    waiters_.wake_all();
  }
  return ejected;
}

void RelayState::drain(const Member& member, Duration now, Events& events) noexcept {
  if (!member.backend->order_drain(true, now)) return;
  const std::uint32_t sessions = member.backend->sessions();
  events.add(EventKind::backend_drained, member.name(), "{} is drained: it gets no new sessions, and has {}",
             member.name(), sessions);
}

void RelayState::undrain(const Member& member, Duration now, Events& events) noexcept {
  if (!member.backend->order_drain(false, now)) return;
  events.add(EventKind::backend_undrained, member.name(), "{} gets sessions again", member.name());
  waiters_.wake_all();
}

void RelayState::set_weight(const Member& member, std::uint32_t weight) noexcept {
  member.backend->order_weight(std::min(weight, kMaxWeight), member.settings.weight);
  waiters_.wake_all();
}

FaultSet::Shared RelayState::faults_for(const std::vector<Fault>& configured) {
  const std::lock_guard lock(mutex_);
  const auto known = std::ranges::find(faults_, configured, &ConfiguredFaults::configured);
  if (known != faults_.end()) return known->faults;
  FaultSet::Shared made;
  if (!configured.empty()) {
    if (auto set = FaultSet::make(configured)) made = std::move(*set);
  }
  if (faults_.size() == kMostFaultSets) faults_.erase(faults_.begin());
  faults_.push_back({configured, made});
  return made;
}

void RelayState::set_faults(const std::vector<Fault>& configured, FaultSet::Shared faults) {
  {
    const std::lock_guard lock(mutex_);
    const auto known = std::ranges::find(faults_, configured, &ConfiguredFaults::configured);
    if (known == faults_.end()) return;
    known->faults = std::move(faults);
  }
  waiters_.wake_each();
}

Status RelayState::status(const BackendSet& set, Duration now) const {
  Status result;
  result.waiting = waiters_.count();
  for (const Member& member : set.members()) {
    BackendStatus status = status_of(*member.backend, now);
    status.name = member.name();
    status.state = word_for(set.standing(member, now), set, *member.backend);
    status.weight = member.weight();
    status.weight_now = set.effective_weight(member, now);
    status.backup = member.settings.backup;
    status.max_sessions = member.settings.max_sessions;
    result.backends.push_back(std::move(status));
  }
  const std::lock_guard lock(mutex_);
  for (const auto& [address, known] : backends_) {
    const std::shared_ptr<const Backend> backend = known.lock();
    if (!backend || backend->sessions() == 0) continue;
    if (std::ranges::any_of(set.members(), [&](const Member& member) { return member.backend == backend; })) continue;
    BackendStatus status = status_of(*backend, now);
    status.state = "removed";
    result.backends.push_back(std::move(status));
  }
  return result;
}

}  // namespace portolan::relay
