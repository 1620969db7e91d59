#include "plugins/relay/balancer.h"

#include <algorithm>
#include <cmath>

namespace portolan::relay {
namespace {

bool contains(std::span<const Backend* const> tried, const Backend& backend) noexcept {
  return std::ranges::find(tried, &backend) != tried.end();
}

// The same in every run and on every machine, unlike Address::hash.
std::uint64_t key_of(const Address& client) noexcept {
  std::uint64_t hash = 0xcbf29ce484222325U;
  const Address network = client.client();
  for (const std::uint8_t byte : network.bytes()) hash = (hash ^ byte) * 0x100000001b3U;
  return mix(hash);
}

// Whether `sessions` for `weight` is less than the other's; products instead of quotients.
bool less_loaded(std::uint64_t sessions, std::uint64_t weight, std::uint64_t other_sessions,
                 std::uint64_t other_weight) noexcept {
  return (sessions + 1) * other_weight < (other_sessions + 1) * weight;
}

}  // namespace

std::string_view to_sentence(NoPlace why) noexcept {
  switch (why) {
    case NoPlace::full: return "all backends are full";
    case NoPlace::unavailable: return "no backend is available";
    case NoPlace::drained: return "all backends are drained";
    case NoPlace::unknown: return "there is no such backend";
  }
  return {};
}

Balancer::Balancer(std::shared_ptr<const BackendSet> set, const BalanceSettings& settings, unsigned worker,
                   std::uint64_t seed)
    : set_(std::move(set)),
      settings_(settings),
      random_(seed),
      turns_(set_->members().size()),
      next_(worker),
      refused_(set_->members().size()) {
  candidates_.reserve(set_->members().size());
  if (settings_.balance != Balance::round_robin) return;
  for (unsigned turn = 0; turn < worker; ++turn) {
    for (std::size_t index = 0; index < turns_.size(); ++index) {
      const std::uint32_t weight = set_->members()[index].settings.weight;
      if (weight != 0) candidates_.push_back({index, weight * 100, 0});
    }
    if (!candidates_.empty()) taken(pick_round_robin());
    candidates_.clear();
  }
}

std::expected<Place, NoPlace> Balancer::choose(const Address& client, std::span<const Backend* const> tried,
                                               Duration now, Events& events) noexcept {
  refused_.assign(refused_.size(), false);
  for (;;) {
    const NoPlace why = gather(tried, now);
    if (candidates_.empty()) return std::unexpected(why);
    const std::size_t picked = pick(client);
    const std::size_t index = candidates_[picked].index;
    Place place = Place::take(*set_, set_->members()[index], now, events);
    if (place) {
      taken(picked);
      if (!tried.empty()) place.member().backend->retried.fetch_add(1, std::memory_order_relaxed);
      return place;
    }
    // Over its rate, or another worker has taken the last place: each round rules one out, so that this ends.
    refused_[index] = true;
  }
}

std::expected<Place, NoPlace> Balancer::take(std::string_view backend, Duration now, Events& events) noexcept {
  const Member* member = set_->find(backend);
  if (!member) return std::unexpected(NoPlace::unknown);
  const Standing standing = set_->standing(*member, now);
  if (standing == Standing::drained) return std::unexpected(NoPlace::drained);
  if (standing == Standing::breaker) return std::unexpected(NoPlace::unavailable);
  Place place = Place::take(*set_, *member, now, events);
  if (!place) return std::unexpected(NoPlace::full);
  return place;
}

bool Balancer::elsewhere(std::span<const Backend* const> tried, Duration now) const noexcept {
  return std::ranges::any_of(set_->members(), [&](const Member& member) {
    const std::uint32_t limit = member.settings.max_sessions;
    return !contains(tried, *member.backend) && set_->standing(member, now) == Standing::available &&
           (limit == 0 || member.backend->sessions() < limit);
  });
}

// Collects those of the best rank. When there are none, the answer says why.
NoPlace Balancer::gather(std::span<const Backend* const> tried, Duration now) noexcept {
  candidates_.clear();
  Rank best = kNever;
  bool full = false;          // one that is available
  bool full_standby = false;  // one that is down or ejected
  bool shut = false;          // one that is down, ejected or kept by its breaker
  const std::vector<Member>& members = set_->members();
  for (std::size_t index = 0; index < members.size(); ++index) {
    const Member& member = members[index];
    const Standing standing = set_->standing(member, now);
    if (standing == Standing::drained) continue;
    const bool out = standing != Standing::available;
    if (out) shut = true;
    if (standing == Standing::breaker) continue;
    const std::uint32_t sessions = member.backend->sessions();
    const std::uint32_t limit = member.settings.max_sessions;
    if (refused_[index] || (limit != 0 && sessions >= limit)) {
      (out ? full_standby : full) = true;
      continue;
    }
    if (out && !set_->settings().fail_open) continue;
    const Rank rank =
        (member.settings.backup ? 1U : 0U) + (contains(tried, *member.backend) ? 2U : 0U) + (out ? 4U : 0U);
    if (rank > best) continue;
    if (rank < best) candidates_.clear();
    best = rank;
    candidates_.push_back({index, std::max(set_->effective_weight(member, now), 1U), sessions});
  }
  // Those that are down or ejected are for when nothing else lives, not for when the others are full.
  if (best >= 4 && full) candidates_.clear();
  if (full || (full_standby && set_->settings().fail_open)) return NoPlace::full;
  return shut ? NoPlace::unavailable : NoPlace::drained;
}

std::size_t Balancer::pick(const Address& client) noexcept {
  if (candidates_.size() == 1) return 0;
  switch (settings_.balance) {
    case Balance::round_robin: return pick_round_robin();
    case Balance::random_two: return pick_random_two();
    case Balance::least_sessions: return pick_least_sessions();
    case Balance::hash: return pick_hash(client);
    case Balance::first: return 0;
  }
  return 0;
}

// All get their weight, the one that has most gives the sum of all: the state changes in taken, when the place is.
std::size_t Balancer::pick_round_robin() const noexcept {
  const auto have = [this](const Candidate& one) { return turns_[one.index] + one.weight; };
  return static_cast<std::size_t>(std::ranges::max_element(candidates_, {}, have) - candidates_.begin());
}

void Balancer::taken(std::size_t picked) noexcept {
  next_ = candidates_[picked].index + 1;
  if (settings_.balance != Balance::round_robin) return;
  std::int64_t sum = 0;
  for (const Candidate& one : candidates_) {
    turns_[one.index] += one.weight;
    sum += one.weight;
  }
  turns_[candidates_[picked].index] -= sum;
}

std::size_t Balancer::pick_by_weight(std::size_t except) noexcept {
  std::uint64_t sum = 0;
  for (std::size_t at = 0; at < candidates_.size(); ++at)
    if (at != except) sum += candidates_[at].weight;
  std::uint64_t left = random_.below(sum);
  for (std::size_t at = 0; at < candidates_.size(); ++at) {
    if (at == except) continue;
    if (left < candidates_[at].weight) return at;
    left -= candidates_[at].weight;
  }
  return 0;
}

std::size_t Balancer::pick_random_two() noexcept {
  const std::size_t one = pick_by_weight(candidates_.size());
  const std::size_t two = pick_by_weight(one);
  const Candidate& a = candidates_[one];
  const Candidate& b = candidates_[two];
  return less_loaded(b.sessions, b.weight, a.sessions, a.weight) ? two : one;
}

std::size_t Balancer::pick_least_sessions() const noexcept {
  // Begins behind the last one chosen, and only fewer sessions win: equals take turns.
  std::size_t start = 0;
  while (start < candidates_.size() && candidates_[start].index < next_ % turns_.size()) ++start;
  std::size_t best = start % candidates_.size();
  for (std::size_t step = 1; step < candidates_.size(); ++step) {
    const std::size_t at = (start + step) % candidates_.size();
    const Candidate& a = candidates_[at];
    const Candidate& b = candidates_[best];
    if (less_loaded(a.sessions, a.weight, b.sessions, b.weight)) best = at;
  }
  return best;
}

std::size_t Balancer::pick_hash(const Address& client) const noexcept {
  double sessions = 1;
  double weights = 0;
  for (const Candidate& one : candidates_) {
    sessions += one.sessions;
    weights += one.weight;
  }
  const std::uint64_t key = key_of(client);
  // Rounding up leaves room for one more in at least one of them, as long as the bound is not below 1.
  const auto bound = [&](const Candidate& one) {
    return std::ceil(std::max(settings_.hash_load, 1.0) * sessions * one.weight / weights);
  };
  std::size_t best = candidates_.size();
  double best_score = 0;
  for (std::size_t at = 0; at < candidates_.size(); ++at) {
    const Candidate& one = candidates_[at];
    if (settings_.hash_load != 0 && one.sessions + 1 > bound(one)) continue;
    // log of a number in (0, 1): an exponential variate whose rate is the weight; the smallest wins.
    const double score = -std::log(unit(mix(key ^ set_->members()[one.index].key)) + 0x1p-54) / one.weight;
    if (best != candidates_.size() && score >= best_score) continue;
    best = at;
    best_score = score;
  }
  return best == candidates_.size() ? 0 : best;
}

}  // namespace portolan::relay
