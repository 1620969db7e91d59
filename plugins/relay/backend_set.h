// The backends of one configuration, immutable, with the rules that go for them; and a session's place at one of them.
//
// A set is made by RelayState and shared by the workers of a generation. It lives until the last session that it has
// given a place has left, and RelayState longer: a Place keeps neither alive.
#pragma once

#include "plugins/relay/backend.h"
#include "plugins/relay/events.h"

#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

namespace portolan::relay {

class RelayState;

struct SetSettings {
  std::vector<BackendSettings> backends;
  HealthSettings health;
  PassiveSettings passive;
  BreakerSettings breaker;
  Duration slow_start{};  // 0: off
  bool fail_open = true;
  friend bool operator==(const SetSettings&, const SetSettings&) = default;
};

struct Member {
  BackendSettings settings;
  std::shared_ptr<Backend> backend;
  std::uint64_t key;  // of its name, for hashing
  RateLimit rate;

  std::string_view name() const noexcept { return settings.name; }
  std::uint32_t weight() const noexcept { return backend->weight(settings.weight); }
};

// Whether a member may get sessions, without regard to how many it has. The first that holds.
enum class Standing : std::uint8_t { available, drained, breaker, down, ejected };

class BackendSet {
 public:
  // By RelayState.
  BackendSet(RelayState& state, SetSettings settings, std::vector<Member> members)
      : state_(state), settings_(std::move(settings)), members_(std::move(members)) {}

  const std::vector<Member>& members() const noexcept { return members_; }
  const SetSettings& settings() const noexcept { return settings_; }
  RelayState& state() const noexcept { return state_; }
  // By name or by address; null when there is none.
  const Member* find(std::string_view backend) const noexcept;

  Standing standing(const Member& member, Duration now) const noexcept;
  // In hundredths. It grows from a tenth to all of the weight over `slow_start` when a backend has come back from being
  // down, ejected or drained.
  std::uint32_t effective_weight(const Member& member, Duration now) const noexcept;

 private:
  RelayState& state_;
  const SetSettings settings_;
  const std::vector<Member> members_;
};

// How an attempt at a backend went wrong.
enum class Failure : std::uint8_t {
  dial,          // no connection
  closed_early,  // connected, but ended by the backend before a byte came from it
};

// One session's place at a backend: counted until it is given back, which the destructor does when nobody has. Owned by
// the session, on its worker's thread.
class Place {
 public:
  Place() = default;
  Place(Place&& other) noexcept { *this = std::move(other); }
  Place& operator=(Place&& other) noexcept {
    if (this == &other) return *this;
    leave();
    set_ = std::exchange(other.set_, nullptr);
    member_ = std::exchange(other.member_, nullptr);
    trial_ = std::exchange(other.trial_, false);
    return *this;
  }
  ~Place() { leave(); }

  // Takes one. Empty when the backend is full, over its rate, or its breaker does not let it.
  static Place take(const BackendSet& set, const Member& member, Duration now, Events& events) noexcept;

  explicit operator bool() const noexcept { return member_ != nullptr; }
  const Member& member() const noexcept { return *member_; }

  // What happens, in this order, each at most once; all may be left out.
  void connected(Duration took) noexcept;
  // The first byte came from the backend, or it ended in order after its client had: it works.
  void answered(Duration now, Events& events) noexcept;
  // It does not: `reason` in a few words. The place is given back.
  void failed(Failure what, std::string_view reason, Duration now, Events& events) noexcept;
  // Gives the place back without a word about the backend. A client that leaves before an answer proves nothing: for a
  // stopped process the kernel still makes connections.
  void leave() noexcept;

 private:
  void judge(bool good, Duration now, Events& events) noexcept;

  const BackendSet* set_ = nullptr;
  const Member* member_ = nullptr;
  bool trial_ = false;  // of the breaker
};

}  // namespace portolan::relay
