// The addresses that no service serves for a while, and the violations that lead there. One list for all services.
//
// Owned by the daemon; any thread. Looking an address up costs one atomic load while nobody is banned, and a shared lock
// otherwise. A violation takes a short lock: those are refusals, never a message that is handled. Times come in with each
// call (Unix time, which a ban keeps over a restart).
// Unix peers and the networks of `never` are not banned. When the list is full, an automatic ban that ends first gives
// way; those by hand stay.
#pragma once

#include "limits/ban.h"
#include "net/network.h"
#include "plugin/service.h"

#include <atomic>
#include <cstddef>
#include <functional>
#include <mutex>
#include <shared_mutex>
#include <unordered_map>
#include <vector>

namespace portolan {

struct BanOptions {
  bool automatic = false;  // whether violations lead to bans
  std::uint32_t violations = 10;
  Duration within = std::chrono::minutes(1);  // from the first of them
  Duration time = std::chrono::minutes(10);   // that a ban lasts
  NetworkList never;
  std::uint32_t max = 10000;  // bans; and addresses whose violations are remembered
  bool datagrams = false;     // whether what a datagram does is a violation: its address may be forged
};

class BanList {
 public:
  enum class Change : std::uint8_t { banned, lifted };  // the end of its time is none
  using Listener = std::function<void(const Ban& ban, Change change)>;

  // The listener is called on the thread that made the change, after it and in the order of the changes; looking up goes
  // on meanwhile. It must not make changes itself.
  explicit BanList(Listener listener = {}) : listener_(std::move(listener)) {}

  // Lifts what `never` now names.
  void configure(BanOptions options);
  // Bans of an earlier run: those that still last are taken in, the listener is not told.
  void restore(std::vector<Ban> bans, std::int64_t now_ms);

  bool any() const noexcept { return count_.load(std::memory_order_relaxed) != 0; }
  bool bans(const Address& peer, std::int64_t now_ms) const noexcept { return any() && find(peer, now_ms); }

  // A refusal that the peer is to blame for. Counts those that is_violation names, and bans at the last that is allowed.
  void violation(const Address& peer, Refusal reason, std::string_view service, bool datagram,
                 std::int64_t now_ms) noexcept;
  static bool is_violation(Refusal reason) noexcept;

  // By hand, or in the place of one that is there. The error is a sentence: never to be banned, or the list is full.
  std::expected<void, std::string> add(Ban ban, std::int64_t now_ms);
  bool lift(const Address& client);
  std::size_t lift_all();

  // In the order of their ends, without those that are over.
  std::vector<Ban> list(std::int64_t now_ms) const;
  // Forgets those that are over; answers how many last. Call it now and then.
  std::size_t expire(std::int64_t now_ms);
  // Bans since the daemon started, whatever became of them.
  std::uint64_t total() const noexcept { return total_.load(std::memory_order_relaxed); }

 private:
  struct Hash {
    std::size_t operator()(const Address& address) const noexcept { return static_cast<std::size_t>(address.hash()); }
  };
  using Bans = std::unordered_map<Address, Ban, Hash>;
  struct Suspect {
    std::int64_t first_ms;
    std::uint32_t violations;
  };

  bool find(const Address& peer, std::int64_t now_ms) const noexcept;
  // Counts one more: how many the client has when that is as many as ban it, else 0.
  std::uint32_t count(const Address& client, std::int64_t now_ms);
  // These want the lock on bans_.
  bool make_room(std::int64_t now_ms);
  void note_count() noexcept { count_.store(bans_.size(), std::memory_order_relaxed); }
  std::expected<void, std::string> insert(Ban ban, std::int64_t now_ms);
  void tell(const Ban& ban, Change change) const;
  template <typename Chosen>
  std::size_t lift_if(Chosen chosen);

  const Listener listener_;
  std::atomic<std::size_t> count_{0};
  std::atomic<std::uint64_t> total_{0};
  std::atomic<bool> automatic_{false};

  std::mutex changes_mutex_;  // from a change to the end of its telling; before the others
  mutable std::shared_mutex bans_mutex_;
  Bans bans_;
  BanOptions options_;

  std::mutex suspects_mutex_;  // never held together with another
  std::unordered_map<Address, Suspect, Hash> suspects_;
  std::uint32_t violations_ = 0;  // options_, for who holds this lock
  std::int64_t within_ms_ = 0;
  std::size_t most_suspects_ = 0;
  std::int64_t swept_ms_ = 0;
};

}  // namespace portolan
