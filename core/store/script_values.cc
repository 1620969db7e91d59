#include "script_values.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <exception>
#include <utility>

namespace portolan {
namespace {

// Of an entry beside its name and text.
constexpr std::size_t kEntryBytes = 64;

std::size_t bytes_of(const std::string& name, const StoreValue& value) noexcept {
  const std::string* const text = std::get_if<std::string>(&value);
  return kEntryBytes + name.size() + (text ? text->size() : 0);
}

std::string shown(std::string_view key) {
  std::string text(key.substr(0, 60));
  for (char& c : text)
    if (static_cast<unsigned char>(c) < ' ') c = '?';
  return fmt::format("\"{}\"{}", text, key.size() > 60 ? "…" : "");
}

std::string_view type_of(const StoreValue& value) noexcept {
  constexpr std::string_view kNames[] = {"nil", "an integer", "a number", "text"};
  return kNames[value.index()];
}

std::expected<void, std::string> check_key(std::string_view key) {
  if (!key.empty() && key.size() <= StoreAccess::kMostKeyBytes) return {};
  return std::unexpected(fmt::format("a key of the store has 1 to {} bytes, and {} has {}", StoreAccess::kMostKeyBytes,
                                     shown(key), key.size()));
}

std::unexpected<std::string> no_memory() { return std::unexpected<std::string>("out of memory"); }

}  // namespace

std::string value_name(std::string_view service, std::string_view key) {
  std::string name;
  name.reserve(service.size() + 1 + key.size());
  name.append(service).push_back('\0');
  return name.append(key);
}

void ScriptValues::set_bounds(std::size_t keys, std::size_t bytes) noexcept {
  most_keys_.store(keys, std::memory_order_relaxed);
  most_bytes_.store(bytes, std::memory_order_relaxed);
}

void ScriptValues::load(std::vector<ValueChange> rows) {
  for (ValueChange& row : rows) {
    const std::string& name = row.name;
    Shard& shard = shard_of(name);
    const std::lock_guard lock(shard.mutex);
    bytes_ += bytes_of(name, row.value);
    ++live_;
    if (row.expires_ms != 0) shard.next_expiry_ms = std::min(shard.next_expiry_ms, row.expires_ms);
    shard.entries[name] = {
        .value = std::move(row.value), .changed_ms = row.changed_ms, .expires_ms = row.expires_ms, .in_file = true};
  }
}

std::expected<void, std::string> ScriptValues::put(std::string_view service, std::string_view key, StoreValue value,
                                                   std::int64_t expires_ms) noexcept {
  try {
    if (auto checked = check_key(key); !checked) return checked;
    if (const auto* text = std::get_if<std::string>(&value); text && text->size() > StoreAccess::kMostTextBytes) {
      return std::unexpected(fmt::format("the text for the key {} has {} bytes, more than {}: keep it in parts",
                                         shown(key), text->size(), StoreAccess::kMostTextBytes));
    }
    if (const auto* number = std::get_if<double>(&value); number && std::isnan(*number))
      return std::unexpected(fmt::format("the number for the key {} is not a number (NaN)", shown(key)));
    const std::string name = value_name(service, key);
    const std::int64_t now_ms = unix_ms();
    Shard& shard = shard_of(name);
    {
      const std::lock_guard lock(shard.mutex);
      if (auto done = set_locked(shard, name, value, now_ms, expires_ms)) return done;
    }
    expire(now_ms);  // perhaps that makes room
    const std::lock_guard lock(shard.mutex);
    return set_locked(shard, name, value, now_ms, expires_ms);
  } catch (const std::exception&) {
    return no_memory();
  }
}

std::expected<StoreValue, std::string> ScriptValues::get(std::string_view service, std::string_view key) noexcept {
  try {
    if (auto checked = check_key(key); !checked) return std::unexpected(checked.error());
    const std::string name = value_name(service, key);
    const std::int64_t now_ms = unix_ms();
    Shard& shard = shard_of(name);
    const std::lock_guard lock(shard.mutex);
    const auto found = shard.entries.find(name);
    if (found == shard.entries.end() || !found->second.is_live(now_ms)) return StoreValue();
    return found->second.value;
  } catch (const std::exception&) {
    return no_memory();
  }
}

std::expected<std::int64_t, std::string> ScriptValues::increment(std::string_view service, std::string_view key,
                                                                 std::int64_t by, std::int64_t expires_ms) noexcept {
  try {
    if (auto checked = check_key(key); !checked) return std::unexpected(checked.error());
    const std::string name = value_name(service, key);
    const std::int64_t now_ms = unix_ms();
    Shard& shard = shard_of(name);
    for (bool again = true;; again = false) {
      {
        const std::lock_guard lock(shard.mutex);
        const auto found = shard.entries.find(name);
        std::int64_t sum = by;
        std::int64_t until = expires_ms;
        if (found != shard.entries.end() && found->second.is_live(now_ms)) {
          const auto* const before = std::get_if<std::int64_t>(&found->second.value);
          if (!before) {
            return std::unexpected(fmt::format("the key {} has {} and no integer that could be added to", shown(key),
                                               type_of(found->second.value)));
          }
          if (__builtin_add_overflow(*before, by, &sum))
            return std::unexpected(fmt::format("the integer of the key {} would leave its 64 bits", shown(key)));
          until = found->second.expires_ms;
        }
        StoreValue value = sum;
        auto done = set_locked(shard, name, value, now_ms, until);
        if (done) return sum;
        if (!again) return std::unexpected(std::move(done.error()));
      }
      expire(now_ms);
    }
  } catch (const std::exception&) {
    return no_memory();
  }
}

std::expected<void, std::string> ScriptValues::set_locked(Shard& shard, const std::string& name, StoreValue& value,
                                                          std::int64_t now_ms, std::int64_t expires_ms) {
  if (value.index() == 0 || (expires_ms != 0 && expires_ms <= now_ms)) {
    const auto found = shard.entries.find(name);
    if (found != shard.entries.end() && found->second.value.index() != 0) remove_locked(shard, found, now_ms);
    return {};
  }
  const auto [place, fresh] = shard.entries.try_emplace(name);
  Entry& entry = place->second;
  const bool was_live = entry.value.index() != 0;
  if (!reserve(!was_live, was_live ? bytes_of(name, entry.value) : 0, bytes_of(name, value))) {
    if (fresh) shard.entries.erase(place);
    return std::unexpected(fmt::format(
        "the scripts' values are at their bound ({} keys, {} bytes): delete some, or raise store.script_keys"
        " or store.script_bytes",
        most_keys_.load(), most_bytes_.load()));
  }
  if (!fresh && !was_live) --deleted_;
  entry.value = std::move(value);
  entry.changed_ms = now_ms;
  entry.expires_ms = expires_ms;
  if (expires_ms != 0) shard.next_expiry_ms = std::min(shard.next_expiry_ms, expires_ms);
  mark_changed(shard, entry);
  return {};
}

// Counted first and looked at then: two threads that looked first would both find the last place.
bool ScriptValues::reserve(bool new_key, std::size_t old_bytes, std::size_t new_bytes) noexcept {
  if (new_key) {
    const std::size_t most = most_keys_.load(std::memory_order_relaxed);
    // While the disk fails, what is deleted stays here until the file can be told.
    if (live_.fetch_add(1) >= most || deleted_.load() > most) {
      --live_;
      return false;
    }
  }
  if (new_bytes <= old_bytes) {
    bytes_ -= old_bytes - new_bytes;
    return true;
  }
  const std::size_t more = new_bytes - old_bytes;
  if (bytes_.fetch_add(more) + more > most_bytes_.load(std::memory_order_relaxed)) {
    bytes_ -= more;
    if (new_key) --live_;
    return false;
  }
  return true;
}

ScriptValues::Entries::iterator ScriptValues::remove_locked(Shard& shard, Entries::iterator place,
                                                            std::int64_t now_ms) noexcept {
  Entry& entry = place->second;
  bytes_ -= bytes_of(place->first, entry.value);
  --live_;
  if (!entry.in_file) {
    if (entry.changed) --shard.changed;
    return shard.entries.erase(place);
  }
  entry.value = StoreValue();
  entry.changed_ms = now_ms;
  entry.expires_ms = 0;
  ++deleted_;
  mark_changed(shard, entry);
  return std::next(place);
}

void ScriptValues::mark_changed(Shard& shard, Entry& entry) noexcept {
  if (!std::exchange(entry.changed, true)) ++shard.changed;
}

void ScriptValues::expire(std::int64_t now_ms) noexcept {
  for (Shard& shard : shards_) {
    const std::lock_guard lock(shard.mutex);
    expire_locked(shard, now_ms);
  }
}

void ScriptValues::expire_locked(Shard& shard, std::int64_t now_ms) noexcept {
  if (now_ms < shard.next_expiry_ms) return;
  shard.next_expiry_ms = INT64_MAX;
  for (auto entry = shard.entries.begin(); entry != shard.entries.end();) {
    const std::int64_t expires_ms = entry->second.expires_ms;
    if (expires_ms != 0 && expires_ms <= now_ms) {
      entry = remove_locked(shard, entry, now_ms);
    } else {
      if (expires_ms != 0) shard.next_expiry_ms = std::min(shard.next_expiry_ms, expires_ms);
      ++entry;
    }
  }
}

std::vector<ValueChange> ScriptValues::take(std::int64_t now_ms) {
  std::vector<ValueChange> changes;
  try {
    for (Shard& shard : shards_) {
      const std::lock_guard lock(shard.mutex);
      expire_locked(shard, now_ms);
      if (shard.changed == 0) continue;
      for (auto& [name, entry] : shard.entries) {
        if (!entry.changed) continue;
        changes.push_back(
            {.name = name, .value = entry.value, .changed_ms = entry.changed_ms, .expires_ms = entry.expires_ms});
        entry.changed = false;
        entry.in_file = true;
        --shard.changed;
      }
    }
  } catch (...) {
    put_back(changes);
    throw;
  }
  return changes;
}

void ScriptValues::written(const std::vector<ValueChange>& changes) noexcept {
  for (const ValueChange& change : changes) {
    if (change.value.index() != 0) continue;
    Shard& shard = shard_of(change.name);
    const std::lock_guard lock(shard.mutex);
    const auto found = shard.entries.find(change.name);
    if (found == shard.entries.end()) continue;
    Entry& entry = found->second;
    if (entry.value.index() == 0 && !entry.changed) {
      shard.entries.erase(found);
      --deleted_;
    }
  }
}

void ScriptValues::put_back(const std::vector<ValueChange>& changes) noexcept {
  for (const ValueChange& change : changes) {
    Shard& shard = shard_of(change.name);
    const std::lock_guard lock(shard.mutex);
    if (const auto found = shard.entries.find(change.name); found != shard.entries.end())
      mark_changed(shard, found->second);
  }
}

}  // namespace portolan
