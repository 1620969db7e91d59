// The values that scripts keep: in memory, where all threads see a change at once, and what of them the file lacks.
//
// get, put and increment from any thread: a short lock on one of kShards parts, never held while the disk is written.
// load before any of them; take, written and put_back from the store's thread. Memory is bounded: see put.
#pragma once

#include "store_access.h"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace portolan {

// A row of the table, as it is to be: nil is no row.
struct ValueChange {
  std::string name;  // of the service and the key: value_name
  StoreValue value;
  std::int64_t changed_ms = 0;
  std::int64_t expires_ms = 0;  // 0: never

  // A service's name has no zero byte; a key may.
  std::string_view service() const noexcept { return std::string_view(name).substr(0, name.find('\0')); }
  std::string_view key() const noexcept { return std::string_view(name).substr(name.find('\0') + 1); }
};
std::string value_name(std::string_view service, std::string_view key);

class ScriptValues {
 public:
  ScriptValues(std::size_t most_keys, std::size_t most_bytes) : most_keys_(most_keys), most_bytes_(most_bytes) {}
  void set_bounds(std::size_t keys, std::size_t bytes) noexcept;

  // What the file has; it is let in whatever the bounds say.
  void load(std::vector<ValueChange> rows);

  std::expected<void, std::string> put(std::string_view service, std::string_view key, StoreValue value,
                                       std::int64_t expires_ms) noexcept;
  std::expected<StoreValue, std::string> get(std::string_view service, std::string_view key) noexcept;
  std::expected<std::int64_t, std::string> increment(std::string_view service, std::string_view key, std::int64_t by,
                                                     std::int64_t expires_ms) noexcept;

  // What has changed since the last call, the latest of each key; what has expired is deleted with it.
  std::vector<ValueChange> take(std::int64_t now_ms);
  void written(const std::vector<ValueChange>& changes) noexcept;
  // Could not be written: they are to be taken again, in what state they are by then.
  void put_back(const std::vector<ValueChange>& changes) noexcept;

 private:
  static constexpr std::size_t kShards = 16;

  struct Entry {
    StoreValue value;  // nil: deleted, and kept until the file knows
    std::int64_t changed_ms = 0;
    std::int64_t expires_ms = 0;
    bool changed = false;  // since it was last taken
    bool in_file = false;  // or may be
    bool is_live(std::int64_t now_ms) const noexcept {
      return value.index() != 0 && (expires_ms == 0 || now_ms < expires_ms);
    }
  };
  struct alignas(64) Shard {
    std::mutex mutex;
    std::unordered_map<std::string, Entry> entries;  // by value_name
    std::size_t changed = 0;
    std::int64_t next_expiry_ms = INT64_MAX;  // not after the first of them
  };

  using Entries = std::unordered_map<std::string, Entry>;
  Shard& shard_of(const std::string& name) noexcept { return shards_[std::hash<std::string>{}(name) % kShards]; }
  std::expected<void, std::string> set_locked(Shard& shard, const std::string& name, StoreValue& value,
                                              std::int64_t now_ms, std::int64_t expires_ms);
  bool reserve(bool new_key, std::size_t old_bytes, std::size_t new_bytes) noexcept;
  Entries::iterator remove_locked(Shard& shard, Entries::iterator entry, std::int64_t now_ms) noexcept;
  static void mark_changed(Shard& shard, Entry& entry) noexcept;
  void expire(std::int64_t now_ms) noexcept;
  void expire_locked(Shard& shard, std::int64_t now_ms) noexcept;

  std::atomic<std::size_t> most_keys_;
  std::atomic<std::size_t> most_bytes_;
  // Of all shards: entries with a value and their bytes, and those that are deleted and wait for the file to know.
  std::atomic<std::size_t> live_{0};
  std::atomic<std::size_t> bytes_{0};
  std::atomic<std::size_t> deleted_{0};
  std::array<Shard, kShards> shards_;
};

}  // namespace portolan
