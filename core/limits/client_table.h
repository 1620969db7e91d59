// What a service remembers of each client address: how many sessions it has and the state of its token buckets.
//
// Shared by all workers and generations of a service. acquire and release take a short lock (of one of 16 shards) and
// are called when a session begins and ends, never for a message; the buckets in a ClientEntry are atomics.
// An entry outlives its last session until its buckets are full again, so that reconnecting does not refill them.
#pragma once

#include "net/address.h"
#include "rate_limit.h"

#include <array>
#include <cstdint>
#include <mutex>
#include <unordered_map>

namespace portolan {

struct ClientEntry {
  RateState messages{0};
  RateState bytes{0};
  Address client;
  std::uint32_t sessions = 0;  // under the shard's lock
};

class ClientTable {
 public:
  // Counts one more session of this client. Null: it has `max_sessions` (0: no limit) already.
  ClientEntry* acquire(const Address& client, std::uint32_t max_sessions, Duration now);
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
