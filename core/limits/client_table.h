// What a service remembers of each client address: how many sessions it has, and the state of its rates.
//
// Shared by all workers and generations of a service. acquire and release take a short lock (of one of 16 shards) and
// are called when a session begins and ends, never for a message; the states in a ClientEntry are atomics.
// An entry outlives its last session until its buckets are full again and its windows over, so that reconnecting does not
// refill them.
#pragma once

#include "net/address.h"
#include "limit_set.h"
#include "rate_limit.h"

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>

namespace portolan {

// The states of one LimitSet for one client. A reload that changes the limits begins others: sessions of the generation
// before go on counting in theirs.
struct ClientLimits {
  std::shared_ptr<const LimitSet> set;
  std::unique_ptr<LimitState[]> states;
  std::unique_ptr<ClientLimits> before;
};

struct ClientEntry {
  ClientEntry() = default;
  ClientEntry(const ClientEntry&) = delete;
  ClientEntry& operator=(const ClientEntry&) = delete;
  ~ClientEntry() { delete limits.load(std::memory_order_relaxed); }

  // Of a set that the entry was acquired with.
  LimitState* states_of(const LimitSet& set) const noexcept {
    const ClientLimits* found = limits.load(std::memory_order_acquire);
    while (found->set.get() != &set) found = found->before.get();
    return found->states.get();
  }

  RateState messages{0};
  RateState bytes{0};
  std::atomic<ClientLimits*> limits{nullptr};  // the newest; added to under the shard's lock
  Address client;
  std::uint32_t sessions = 0;  // under the shard's lock
};

class ClientTable {
 public:
  // Counts one more session of this client. Null: it has `max_sessions` (0: no limit) already. The entry has states for
  // `limits`, which may be null.
  ClientEntry* acquire(const Address& client, std::uint32_t max_sessions, Duration now,
                       const std::shared_ptr<const LimitSet>& limits = nullptr);
  void release(ClientEntry* entry, Duration now) noexcept;
  std::size_t size() const;

 private:
  static constexpr std::size_t kShards = 16;
  // Entries without a session are swept when a shard holds this many.
  static constexpr std::size_t kSweepAt = 1024;
  struct Hash {
    std::size_t operator()(const Address& address) const noexcept { return static_cast<std::size_t>(address.hash()); }
  };
  struct Shard {
    mutable std::mutex mutex;
    std::unordered_map<Address, ClientEntry, Hash> clients;
    std::size_t sweep_at = kSweepAt;
  };
  static bool idle(const ClientEntry& entry, Duration now) noexcept;
  Shard& shard(const Address& client) noexcept { return shards_[(client.hash() >> 48U) % kShards]; }
  std::array<Shard, kShards> shards_;
};

}  // namespace portolan
