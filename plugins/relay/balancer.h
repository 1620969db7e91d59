// Chooses a backend for a session.
//
// One for each worker and generation, on that worker's thread: it takes no lock and allocates nothing. What it looks at
// of other workers' sessions is as of a moment ago, but a backend never gets more than max_sessions.
//
// - round_robin: smooth weighted round robin as in nginx (ngx_http_upstream_round_robin.c): heavy ones get no bursts.
// - random_two: the less loaded of two taken at random by weight (Mitzenmacher, "The power of two choices in randomized
//   load balancing", 2001).
// - least_sessions: fewest sessions for its weight; those that are equal take turns.
// - hash: by the client's address, an IPv6 client by its /64: weighted rendezvous hashing (Thaler and Ravishankar 1998;
//   the logarithmic weights are Schindelhauer and Schomaker's, 2005). It needs no table, and whatever changes (one goes,
//   is down, has another weight) moves only the clients that it must.
//   With hash_load, none gets more than that multiple of its share of the sessions (Mirrokni, Thorup and Zadimoghaddam,
//   "Consistent hashing with bounded loads", 2018).
// - first: the first in the configuration that can take it.
#pragma once

#include "net/address.h"
#include "plugins/relay/backend_set.h"
#include "plugins/relay/random.h"

#include <cstddef>
#include <cstdint>
#include <expected>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

namespace portolan::relay {

enum class Balance : std::uint8_t { round_robin, random_two, least_sessions, hash, first };

struct BalanceSettings {
  Balance balance = Balance::round_robin;
  double hash_load = 0;  // 1.25: a quarter above its share; 0: no bound
};

// Why there is no place.
enum class NoPlace : std::uint8_t {
  full,         // max_sessions or the rate: worth waiting for
  unavailable,  // all are down or ejected (and fail_open is off), or a breaker is open
  drained,      // all are
  unknown,      // take: there is no backend of that name
};
std::string_view to_sentence(NoPlace why) noexcept;  // "all backends are full"

class Balancer {
 public:
  // `worker` lets the turns of different workers begin with different backends. Throws std::bad_alloc.
  Balancer(std::shared_ptr<const BackendSet> set, const BalanceSettings& settings, unsigned worker, std::uint64_t seed);

  // A place for a session of `client`. Backends in `tried` have failed for it already: they come last. Backups come
  // after all others. When nothing else lives, fail_open tries those that are down or ejected; never one that its
  // breaker keeps.
  std::expected<Place, NoPlace> choose(const Address& client, std::span<const Backend* const> tried, Duration now,
                                       Events& events) noexcept;
  // A place at the backend that a script has named, which may be a backup, down or ejected, but not drained or full.
  std::expected<Place, NoPlace> take(std::string_view backend, Duration now, Events& events) noexcept;
  // Whether a backend is there that could take the session and is not in `tried` (next_attempt asks).
  bool elsewhere(std::span<const Backend* const> tried, Duration now) const noexcept;

  const BackendSet& set() const noexcept { return *set_; }

 private:
  struct Candidate {
    std::size_t index;     // in the set
    std::uint32_t weight;  // in hundredths, at least 1
    std::uint32_t sessions;
  };
  // Lower is better: 1 for a backup, 2 for one that was tried, 4 for one that is down or ejected.
  using Rank = unsigned;
  static constexpr Rank kNever = 8;

  NoPlace gather(std::span<const Backend* const> tried, Duration now) noexcept;
  std::size_t pick(const Address& client) noexcept;  // of candidates_
  std::size_t pick_round_robin() const noexcept;
  std::size_t pick_random_two() noexcept;
  std::size_t pick_by_weight(std::size_t except) noexcept;
  std::size_t pick_least_sessions() const noexcept;
  std::size_t pick_hash(const Address& client) const noexcept;
  void taken(std::size_t picked) noexcept;

  const std::shared_ptr<const BackendSet> set_;
  const BalanceSettings settings_;
  Random random_;
  std::vector<std::int64_t> turns_;    // of round_robin, for each member
  std::size_t next_ = 0;               // of least_sessions: where to begin among equals
  std::vector<bool> refused_;          // in this call: full after all
  std::vector<Candidate> candidates_;  // in this call
};

}  // namespace portolan::relay
