#include "name_cache.h"

#include "base/callback.h"

#include <algorithm>
#include <array>
#include <list>
#include <new>
#include <optional>
#include <unordered_map>
#include <utility>

namespace portolan {

namespace {

using Result = std::expected<CachedName, ResolveFailure>;

// A family and a name without regard to case, as one text; empty when DNS has no names that long. "nas" and "nas." are
// two: the search list of resolv.conf belongs to the first only.
class Key {
 public:
  Key(std::string_view name, AddressFamily family) noexcept {
    if (name.size() >= text_.size()) return;
    text_[0] = static_cast<char>('0' + static_cast<int>(family));
    std::ranges::transform(name, text_.begin() + 1,
                           [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
    size_ = name.size() + 1;
  }
  std::string_view text() const noexcept { return {text_.data(), size_}; }
  bool empty() const noexcept { return size_ == 0; }

 private:
  std::array<char, 255> text_;  // 253 for a name (RFC 1035 section 2.3.4), a last dot, the family
  std::size_t size_ = 0;
};

ResolveFailure out_of_memory() { return {NetError::system, "out of memory"}; }

}  // namespace

// ---- Who waits -----------------------------------------------------------------------------------------------

struct NameHandle::Waiter {
  CachedNameCallback callback;  // empty: called, or not wanted any more
  std::optional<Result> result;

  void call() noexcept {
    const CachedNameCallback wanted = std::exchange(callback, {});
    if (wanted) contain("what waits for a name", [&] { wanted(std::move(*result)); });
  }
  // What the callback holds is destroyed when it is out of its place: it may come back here.
  void drop() noexcept { const CachedNameCallback unwanted = std::exchange(callback, {}); }
};

NameHandle& NameHandle::operator=(NameHandle&& other) noexcept {
  if (this != &other) {
    cancel();
    waiter_ = std::move(other.waiter_);
  }
  return *this;
}

void NameHandle::cancel() noexcept {
  if (const auto waiter = std::move(waiter_)) waiter->drop();
}

bool NameHandle::pending() const noexcept { return waiter_ && waiter_->callback; }

// ---- The cache -----------------------------------------------------------------------------------------------

struct NameCache::State : std::enable_shared_from_this<State> {
  using Waiter = std::shared_ptr<NameHandle::Waiter>;

  enum class Known : unsigned char { nothing, fresh, stale, failure };

  struct Entry {
    Entry(State& state, std::string_view text) : key(text), timer(state.loop, [&state, this] { state.due(*this); }) {}
    std::string_view name() const noexcept { return std::string_view(key).substr(1); }
    AddressFamily family() const noexcept { return static_cast<AddressFamily>(key[0] - '0'); }
    bool waited_for() const noexcept {
      return std::ranges::any_of(waiters, [](const Waiter& waiter) { return bool(waiter->callback); });
    }

    const std::string key;
    CachedName answer;                      // of the last lookup that found any
    Duration ttl{}, expires{};              // of the answer
    std::optional<ResolveFailure> failure;  // of the last lookup, when it found none
    Duration retry_at{};                    // after the failure
    Duration used_at{};
    Duration asked_at{};
    ResolveHandle lookup;  // pending: under way
    std::list<Waiter> waiters;
    std::size_t look_through_at = 16;  // so many waiters: those who gave up are taken out
    LoopTimer timer;  // while a lookup is under way: when a stale answer has to do; else: when to refresh
  };

  State(Loop& event_loop, Resolver& asked, const NameCacheOptions& wanted)
      : loop(event_loop), resolver(asked), options(wanted), delivery(loop, [this] { deliver(); }) {}

  // ---- What is known

  Known known(const Entry& entry, Duration now) const noexcept {
    if (!entry.answer.addresses.empty()) {
      if (now < entry.expires) return Known::fresh;
      const bool slow = entry.lookup.pending() && now >= entry.asked_at + options.stale_after;
      if (now < entry.expires + options.max_stale && (entry.failure || slow)) return Known::stale;
    }
    return entry.failure && now < entry.retry_at ? Known::failure : Known::nothing;
  }

  static Result result_of(const Entry& entry, Known what) {
    if (what == Known::failure) return std::unexpected(*entry.failure);
    return CachedName{entry.answer.addresses, what == Known::stale};
  }

  Entry* find(const Key& key) noexcept {
    const auto found = by_key.find(key.text());
    if (found == by_key.end()) return nullptr;
    entries.splice(entries.begin(), entries, found->second);
    return &entries.front();
  }

  Entry& find_or_make(const Key& key) {
    if (Entry* known = find(key)) return *known;
    for (auto at = entries.end(); entries.size() >= options.max_names && at != entries.begin();) {
      --at;
      if (!at->waited_for()) at = forget(at);
    }
    entries.emplace_front(*this, key.text());
    try {
      by_key.emplace(entries.front().key, entries.begin());
    } catch (...) {
      entries.pop_front();
      throw;
    }
    return entries.front();
  }

  std::list<Entry>::iterator forget(std::list<Entry>::iterator entry) noexcept {
    by_key.erase(entry->key);
    return entries.erase(entry);
  }

  // ---- Asking

  void ask_when_due(Entry& entry, Duration now) {
    if (entry.lookup.pending() || (entry.failure && now < entry.retry_at)) return;
    entry.asked_at = now;
    entry.lookup = resolver.resolve(entry.name(), entry.family(),
                                    [this, &entry](ResolveResult result) { take(entry, std::move(result)); });
    entry.timer.start(options.stale_after);
  }

  // From the resolver.
  void take(Entry& entry, ResolveResult result) noexcept {
    const Duration now = Loop::now();
    if (result) {
      try {
        keep(entry, *result, now);
      } catch (const std::bad_alloc&) {
        result = std::unexpected(out_of_memory());
      }
    }
    if (result) return answer(entry, Known::fresh);
    // A local failure (memory, too many lookups) is over when it is over.
    entry.retry_at = now + (result.error().error == NetError::system ? Duration::zero() : options.negative_ttl);
    entry.failure = std::move(result.error());
    if (entry.failure->error == NetError::name_not_found) entry.answer.addresses.clear();
    // What could not be refreshed is tried again; what is not known waits to be wanted.
    if (entry.answer.addresses.empty()) {
      entry.timer.stop();
    } else {
      entry.timer.start(std::max(options.negative_ttl, options.min_ttl));
    }
    const Known what = known(entry, now);
    answer(entry, what == Known::nothing ? Known::failure : what);
  }

  void keep(Entry& entry, const Resolution& found, Duration now) {
    Duration ttl = options.max_ttl;
    std::vector<Address> addresses;
    for (const ResolvedAddress& each : found.addresses) {
      addresses.push_back(each.address);
      ttl = std::min<Duration>(ttl, each.ttl);
    }
    entry.answer.addresses = std::move(addresses);
    entry.ttl = std::max(ttl, options.min_ttl);
    entry.expires = now + entry.ttl;
    entry.failure.reset();
    entry.timer.start(entry.ttl - entry.ttl / 10);
  }

  // The entry's timer.
  void due(Entry& entry) {
    const Duration now = Loop::now();
    if (!entry.lookup.pending()) {
      if (now - entry.used_at < entry.ttl) ask_when_due(entry, now);
    } else if (now < entry.asked_at + options.stale_after) {
      // Early: a timer counts from when the turn of the loop began that set it.
      entry.timer.start(entry.asked_at + options.stale_after - now);
    } else if (known(entry, now) == Known::stale) {
      answer(entry, Known::stale);
    }
  }

  // ---- Answering: all callbacks come from deliver(), where nothing else is under way that they could disturb

  void answer(Entry& entry, Known what) noexcept {
    for (const Waiter& waiter : entry.waiters) {
      try {
        if (waiter->callback) waiter->result = result_of(entry, what);
      } catch (const std::bad_alloc&) {
        waiter->result = std::unexpected(out_of_memory());
      }
    }
    ready.splice(ready.end(), entry.waiters);
    if (!ready.empty()) delivery.start(Duration::zero());
  }

  void deliver() noexcept {
    const auto self = shared_from_this();  // a callback may destroy the cache
    // Those that a callback adds wait for the next turn.
    for (const Waiter& waiter : std::exchange(ready, {})) {
      closed ? waiter->drop() : waiter->call();
    }
  }

  Loop& loop;
  Resolver& resolver;
  const NameCacheOptions options;
  std::list<Entry> entries;                                                 // the most recently used first
  std::unordered_map<std::string_view, std::list<Entry>::iterator> by_key;  // the keys are the entries'
  std::list<Waiter> ready;
  LoopTimer delivery;
  bool closed = false;
};

NameCache::NameCache(Loop& loop, Resolver& resolver, NameCacheOptions options)
    : state_(std::make_shared<State>(loop, resolver, options)) {}

NameCache::~NameCache() {
  State& state = *state_;
  state.closed = true;
  state.delivery.stop();
  // What a callback holds may be handles of this very cache, which come back to their waiters: none is erased here.
  for (State::Entry& entry : state.entries) {
    entry.lookup.cancel();
    entry.timer.stop();
    for (const State::Waiter& waiter : entry.waiters) waiter->drop();
  }
  for (const State::Waiter& waiter : state.ready) waiter->drop();
}

const CachedName* NameCache::find(std::string_view name, AddressFamily family) noexcept {
  State::Entry* const entry = state_->find(Key(name, family));
  if (!entry) return nullptr;
  const Duration now = Loop::now();
  const State::Known known = state_->known(*entry, now);
  entry->used_at = now;
  if (known != State::Known::fresh && known != State::Known::stale) return nullptr;
  entry->answer.stale = known == State::Known::stale;
  if (entry->answer.stale) contain("a lookup", [&] { state_->ask_when_due(*entry, now); });
  return &entry->answer;
}

NameHandle NameCache::lookup(std::string_view name, AddressFamily family, CachedNameCallback callback) {
  State& state = *state_;
  const auto waiter = std::make_shared<NameHandle::Waiter>(std::move(callback), std::nullopt);
  const auto answer_at_once = [&](Result result) {
    waiter->result = std::move(result);
    state.ready.push_back(waiter);
    state.delivery.start(Duration::zero());
  };
  const Key key(name, family);
  if (key.empty()) {
    answer_at_once(std::unexpected(ResolveFailure{NetError::name_not_found, "not a host name"}));
    return NameHandle(waiter);
  }
  State::Entry& entry = state.find_or_make(key);
  const Duration now = Loop::now();
  const State::Known known = state.known(entry, now);
  entry.used_at = now;
  if (known == State::Known::nothing || known == State::Known::stale) state.ask_when_due(entry, now);
  if (known != State::Known::nothing) {
    answer_at_once(State::result_of(entry, known));
  } else {
    if (entry.waiters.size() >= entry.look_through_at) {
      std::erase_if(entry.waiters, [](const State::Waiter& each) { return !each->callback; });
      entry.look_through_at = 2 * entry.waiters.size() + 16;
    }
    entry.waiters.push_back(waiter);
  }
  return NameHandle(waiter);
}

std::vector<NameStatus> NameCache::list() const {
  const Duration now = Loop::now();
  std::vector<NameStatus> out;
  for (const State::Entry& entry : state_->entries) {
    out.push_back({.name = std::string(entry.name()),
                   .family = entry.family(),
                   .addresses = entry.answer.addresses,
                   .left = entry.answer.addresses.empty() ? Duration::zero() : entry.expires - now,
                   .failure = entry.failure ? entry.failure->message : std::string(),
                   .under_way = entry.lookup.pending()});
  }
  return out;
}

std::size_t NameCache::size() const noexcept { return state_->entries.size(); }

void NameCache::clear() noexcept {
  for (auto at = state_->entries.begin(); at != state_->entries.end();) {
    if (!at->waited_for()) {
      at = state_->forget(at);
      continue;
    }
    at->answer.addresses.clear();
    at->failure.reset();
    ++at;
  }
}

}  // namespace portolan
