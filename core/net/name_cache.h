// What names resolved to, kept in front of a Resolver so that no session waits for DNS that has asked before.
//
// One for each worker; it, its handles and its callbacks belong to the thread of the loop. It goes before the resolver
// and the loop. A handle may outlive the cache: it then does nothing.
//
// - An answer is kept for its TTL, within bounds. Numbers and names of /etc/hosts have none: they are kept for the least
//   time, since that file may change. That there is no such name, or that DNS failed, is kept for `negative_ttl` (RFC
//   9520 section 3.2 asks for the latter).
// - A name that was used within its last TTL is asked about again when a tenth of it is left.
// - An answer that has expired is given as stale when a lookup has failed, or has taken longer than `stale_after`, for up
//   to `max_stale` (RFC 8767 section 5). That a name does not exist any more is an answer, and no failure.
// - One lookup of a name is under way at a time, however many wait for it.
// - The least recently used of more than `max_names` are forgotten, but for those that somebody waits for.
#pragma once

#include "event/loop.h"
#include "net/address.h"
#include "net/resolver.h"

#include <chrono>
#include <cstddef>
#include <expected>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace portolan {

struct NameCacheOptions {
  Duration min_ttl = std::chrono::seconds(1);
  Duration max_ttl = std::chrono::hours(1);
  Duration negative_ttl = std::chrono::seconds(5);  // also: how long after a failed lookup the next one begins
  Duration stale_after = std::chrono::milliseconds(1800);
  Duration max_stale = std::chrono::hours(24);  // zero: nothing stale is given
  std::size_t max_names = 1000;
};

struct CachedName {
  std::vector<Address> addresses;  // port 0, in the resolver's order; never empty
  bool stale = false;
};

using CachedNameCallback = std::function<void(std::expected<CachedName, ResolveFailure>)>;

// Holds a lookup; letting go of it cancels the callback. The answer is kept for the next one nevertheless.
class [[nodiscard]] NameHandle {
 public:
  struct Waiter;
  NameHandle() = default;
  explicit NameHandle(std::shared_ptr<Waiter> waiter) noexcept : waiter_(std::move(waiter)) {}
  ~NameHandle() { cancel(); }
  NameHandle(NameHandle&&) noexcept = default;
  NameHandle& operator=(NameHandle&& other) noexcept;
  void cancel() noexcept;
  bool pending() const noexcept;  // the callback may still come

 private:
  std::shared_ptr<Waiter> waiter_;
};

// For a status view.
struct NameStatus {
  std::string name;
  AddressFamily family = AddressFamily::any;
  std::vector<Address> addresses;  // empty: none known
  Duration left{};                 // of their TTL; negative: expired so long ago
  std::string failure;             // what the last lookup failed by; empty when it did not
  bool under_way = false;
};

class NameCache {
 public:
  NameCache(Loop& loop, Resolver& resolver, NameCacheOptions options = {});
  ~NameCache();
  NameCache(const NameCache&) = delete;
  NameCache& operator=(const NameCache&) = delete;

  // What is known at once, or null: then lookup() it. Valid until the cache is next called or the callback that asks ends.
  const CachedName* find(std::string_view name, AddressFamily family) noexcept;

  // Calls back exactly once, from the loop and never from inside; not at all after the handle was cancelled or destroyed,
  // or after the cache was. The callback may do anything, also destroy the cache. It does not throw.
  [[nodiscard]] NameHandle lookup(std::string_view name, AddressFamily family, CachedNameCallback callback);

  std::vector<NameStatus> list() const;  // the most recently used first
  std::size_t size() const noexcept;
  // Forgets all answers. Lookups that somebody waits for go on.
  void clear() noexcept;

  struct State;

 private:
  std::shared_ptr<State> state_;
};

}  // namespace portolan
