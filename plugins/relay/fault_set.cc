#include "plugins/relay/fault_set.h"

#include "base/clock.h"

#include <fmt/format.h>
#include <sys/random.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace portolan::relay {
namespace {

Duration from_ns(double ns) noexcept { return ns < 9e18 ? Duration(static_cast<std::int64_t>(ns)) : Duration::max(); }

// How far a latency may be from its mean. What is cut off is cut off on both sides, so that the mean stays.
constexpr int kDeviations = 4;
Duration widest_jitter(const Fault& fault) noexcept {
  if (fault.distribution == Distribution::uniform) return fault.jitter;
  return std::min(kDeviations * fault.jitter, fault.latency);
}

Duration draw_one_latency(ActiveFault& active) noexcept {
  const Fault& fault = *active.fault;
  if (fault.jitter == Duration::zero()) return fault.latency;
  const double widest = static_cast<double>(widest_jitter(fault).count());
  const double off =
      fault.distribution == Distribution::uniform
          ? (2 * active.random.unit() - 1) * widest
          : std::clamp(active.random.normal() * static_cast<double>(fault.jitter.count()), -widest, widest);
  return fault.latency + Duration(std::llround(off));
}

// Short enough to be typed again.
std::int64_t draw_seed() noexcept {
  std::uint32_t bits = 0;
  // Interrupted or forbidden, it leaves a seed that is as good as any, if not a surprise.
  if (::getrandom(&bits, sizeof bits, 0) != sizeof bits) bits = static_cast<std::uint32_t>(monotonic_now().count());
  return std::int64_t{bits} + 1;
}

// So that two faults with the same seed do not decide alike (FNV-1a).
std::uint64_t hash_of(std::string_view name) noexcept {
  std::uint64_t hash = 0xcbf29ce484222325U;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
  return hash;
}

}  // namespace

std::expected<FaultSet::Shared, std::string> FaultSet::make(std::vector<Fault> faults, std::uint64_t version) {
  if (faults.size() > kMaxFaults) {
    return std::unexpected(fmt::format("{} faults are too many: at most {} at a time", faults.size(), kMaxFaults));
  }
  for (std::size_t at = 0; at < faults.size(); ++at) {
    for (std::size_t other = 0; other < at; ++other) {
      if (faults[at].name != faults[other].name) continue;
      return std::unexpected(fmt::format(
          "there is a fault \"{}\" already: remove it first, or give this one another name", faults[at].name));
    }
    if (faults[at].seed == 0) faults[at].seed = draw_seed();
  }
  return Shared(new FaultSet(std::move(faults), version));
}

std::expected<FaultSet::Shared, std::string> FaultSet::with(Fault fault) const {
  std::vector<Fault> faults = faults_;
  faults.push_back(std::move(fault));
  return make(std::move(faults), version_ + 1);
}

std::expected<FaultSet::Shared, std::string> FaultSet::without(std::string_view name) const {
  std::vector<Fault> faults = faults_;
  if (std::erase_if(faults, [name](const Fault& fault) { return fault.name == name; }) == 0) {
    return std::unexpected(fmt::format("there is no fault \"{}\"", name));
  }
  return make(std::move(faults), version_ + 1);
}

bool FaultSet::applies(FaultDirection direction, Carrier carrier) const noexcept {
  return std::ranges::any_of(
      faults_, [=](const Fault& fault) { return overlap(fault.direction, direction) && fits(fault.kind, carrier); });
}

std::string FaultSet::to_json() const {
  std::string text = "[";
  for (const Fault& fault : faults_) {
    if (text.size() > 1) text += ',';
    text += relay::to_json(fault);
  }
  return text + "]";
}

ActiveFault::ActiveFault(const Fault& of, Random numbers, Duration now) noexcept
    : fault(&of),
      random(numbers),
      applies(drawn_each_time(of.kind) || random.chance(of.probability)),
      since(now),
      free_at(of.kind == FaultKind::bandwidth ? now - link_time(of.burst) : now) {
  struck = cuts() && fault->after_bytes == 0 && fault->after_time == Duration::zero();
  if (fault->kind == FaultKind::slicer) draw_slice();
}

bool ActiveFault::cuts() const noexcept {
  return fault->kind == FaultKind::reset || fault->kind == FaultKind::close_after ||
         fault->kind == FaultKind::black_hole;
}

std::int64_t ActiveFault::until_cut() const noexcept {
  return cuts() && fault->after_bytes > 0 ? fault->after_bytes - done : std::numeric_limits<std::int64_t>::max();
}

void ActiveFault::passed(std::int64_t size) noexcept {
  if (!cuts() || fault->after_bytes == 0) return;
  done += size;
  struck = struck || done >= fault->after_bytes;
}

void ActiveFault::strike(Duration now) noexcept { struck = struck || strikes_at() <= now; }

Duration ActiveFault::strikes_at() const noexcept {
  if (struck || !cuts() || fault->after_time == Duration::zero()) return Duration::max();
  return later(since, fault->after_time);
}

void ActiveFault::draw_slice() noexcept {
  left = fault->size - fault->variation +
         static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(2 * fault->variation + 1)));
}

Duration ActiveFault::link_start(Duration ready) const noexcept {
  return std::max(free_at, ready - link_time(fault->burst));
}
Duration ActiveFault::link_time(std::int64_t size) const noexcept {
  return from_ns(std::ceil(static_cast<double>(size) * 1e9 / static_cast<double>(fault->rate)));
}
std::int64_t ActiveFault::link_sends(Duration time) const noexcept {
  return static_cast<std::int64_t>(
      std::min(static_cast<double>(time.count()) * 1e-9 * static_cast<double>(fault->rate), 9e15));
}

ActiveFaults::ActiveFaults(FaultSet::Shared set, Carrier carrier, FaultDirection direction, std::uint64_t session,
                           Duration now)
    : carrier_(carrier), direction_(direction), session_(session) {
  change(std::move(set), now);
}

void ActiveFaults::change(FaultSet::Shared set, Duration now) {
  std::vector<ActiveFault> next;
  for (const Fault& fault : set ? set->faults() : std::span<const Fault>()) {
    if (!overlap(fault.direction, direction_) || !fits(fault.kind, carrier_)) continue;
    const auto known = std::ranges::find_if(active_, [&](const ActiveFault& active) { return *active.fault == fault; });
    if (known != active_.end()) {
      next.push_back(*known);
      next.back().fault = &fault;
    } else {
      const std::uint64_t stream = hash_of(fault.name) ^ (session_ * 4 + static_cast<std::uint64_t>(direction_));
      next.emplace_back(fault, Random::of(static_cast<std::uint64_t>(fault.seed), stream), now);
    }
  }
  active_ = std::move(next);
  set_ = std::move(set);  // the former one lived until nothing pointed into it
}

void ActiveFaults::strike(Duration now) noexcept {
  for (ActiveFault& active : all()) active.strike(now);
}

bool ActiveFaults::none() const noexcept { return std::ranges::none_of(active_, &ActiveFault::applies); }

bool ActiveFaults::struck(FaultKind kind) const noexcept { return std::ranges::any_of(of(kind), &ActiveFault::struck); }

Duration ActiveFaults::strikes_at() const noexcept {
  Duration first = Duration::max();
  for (const ActiveFault& active : active_) {
    if (active.applies) first = std::min(first, active.strikes_at());
  }
  return first;
}

Duration ActiveFaults::draw_latency() noexcept {
  Duration sum{};
  for (ActiveFault& active : of(FaultKind::latency)) sum += draw_one_latency(active);
  return sum;
}

Duration ActiveFaults::longest_latency() const noexcept {
  Duration sum{};
  for (const ActiveFault& active : of(FaultKind::latency)) sum += active.fault->latency + widest_jitter(*active.fault);
  return sum;
}

}  // namespace portolan::relay
