#include "client_table.h"

namespace portolan {

bool ClientTable::idle(const ClientEntry& entry, Duration now) noexcept {
  return entry.sessions == 0 && entry.messages.load(std::memory_order_relaxed) <= now.count() &&
         entry.bytes.load(std::memory_order_relaxed) <= now.count();
}

ClientEntry* ClientTable::acquire(const Address& client, std::uint32_t max_sessions, Duration now) {
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
