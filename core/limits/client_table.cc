#include "client_table.h"

namespace portolan {

namespace {

void add_states(ClientEntry& entry, const std::shared_ptr<const LimitSet>& set) {
  ClientLimits* const newest = entry.limits.load(std::memory_order_relaxed);
  for (const ClientLimits* known = newest; known; known = known->before.get())
    if (known->set == set) return;
  auto made = std::make_unique<ClientLimits>(set, set->make_states(), nullptr);
  made->before.reset(newest);
  entry.limits.store(made.release(), std::memory_order_release);
}

}  // namespace

bool ClientTable::idle(const ClientEntry& entry, Duration now) noexcept {
  if (entry.sessions || entry.messages.load(std::memory_order_relaxed) > now.count() ||
      entry.bytes.load(std::memory_order_relaxed) > now.count())
    return false;
  const ClientLimits* limits = entry.limits.load(std::memory_order_relaxed);
  while (limits && limits->set->forgotten(limits->states.get(), now)) limits = limits->before.get();
  return !limits;
}

ClientEntry* ClientTable::acquire(const Address& client, std::uint32_t max_sessions, Duration now,
                                  const std::shared_ptr<const LimitSet>& limits) {
  Shard& home = shard(client);
  const std::lock_guard lock(home.mutex);
  auto found = home.clients.find(client);
  if (found == home.clients.end()) {
    if (home.clients.size() >= home.sweep_at) {
      std::erase_if(home.clients, [now](const auto& item) { return idle(item.second, now); });
      // Sweeping again at once would find little: wait until as many again have come.
      home.sweep_at = std::max(kSweepAt, home.clients.size() * 2);
    }
    found = home.clients.try_emplace(client).first;
    found->second.client = client;
  }
  ClientEntry& entry = found->second;
  if (max_sessions && entry.sessions >= max_sessions) return nullptr;
  if (limits) add_states(entry, limits);
  ++entry.sessions;
  return &entry;
}

void ClientTable::release(ClientEntry* entry, Duration now) noexcept {
  Shard& home = shard(entry->client);
  const std::lock_guard lock(home.mutex);
  --entry->sessions;
  if (idle(*entry, now)) home.clients.erase(Address(entry->client));
}

std::size_t ClientTable::size() const {
  std::size_t total = 0;
  for (const auto& one : shards_) {
    const std::lock_guard lock(one.mutex);
    total += one.clients.size();
  }
  return total;
}

}  // namespace portolan
