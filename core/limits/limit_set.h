// The limits of a service as its configuration lists them (`limits`), and what those of the service as a whole have
// counted; what they have counted of a client is in its ClientEntry.
//
// Shared by all workers, and by the generations of a service between which the list did not change. Immutable but for
// the states, which are atomics: any thread, no lock.
#pragma once

#include "limiter.h"
#include "plugin/service.h"

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

namespace portolan {

struct LimitRule {
  enum class Count : std::uint8_t { sessions, messages, bytes };
  enum class Per : std::uint8_t { client, service };
  enum class Over : std::uint8_t {
    refuse,  // counted and told: the session ends in order
    delay,   // a stream is read later
    drop,    // counted and not told: the connection is reset; a datagram is dropped in any case
  };
  Count count;
  Per per;
  Over over;
  Limiter limiter;
  friend bool operator==(const LimitRule&, const LimitRule&) = default;

  // The word that it is counted by.
  Refusal refusal() const noexcept {
    return count == Count::sessions   ? Refusal::accept_rate
           : count == Count::messages ? Refusal::message_rate
                                      : Refusal::byte_rate;
  }
};

// The first rule that says no, and how long it would say so. Null: all say yes.
struct LimitVerdict {
  const LimitRule* rule = nullptr;
  Duration wait{};
  explicit operator bool() const noexcept { return rule != nullptr; }
};

class LimitSet {
 public:
  static constexpr std::size_t kMostRules = 8;
  explicit LimitSet(std::vector<LimitRule> rules)
      : rules_(std::move(rules)), states_(std::make_unique<LimitState[]>(rules_.size())) {}

  std::span<const LimitRule> rules() const noexcept { return rules_; }
  // What a client's limits count in: as many states as there are rules.
  std::unique_ptr<LimitState[]> make_states() const { return std::make_unique<LimitState[]>(rules_.size()); }
  bool forgotten(const LimitState* client, Duration now) const noexcept;

  // A new session, or a message of so many bytes: counted when no rule is in the way, and not at all otherwise.
  LimitVerdict session(LimitState* client, Duration now) const noexcept;
  LimitVerdict message(LimitState* client, Duration now, std::size_t bytes) const noexcept;

  // Where bytes pass without being messages: whether more may be received, and what has been.
  LimitVerdict more_bytes(LimitState* client, Duration now) const noexcept;
  void charge_bytes(LimitState* client, Duration now, std::size_t bytes) const noexcept;

 private:
  template <typename Ask>
  LimitVerdict ask_all(LimitState* client, Ask ask) const noexcept;

  std::vector<LimitRule> rules_;
  std::unique_ptr<LimitState[]> states_;  // of those of the whole service
};

}  // namespace portolan
