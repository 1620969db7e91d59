// What the workers and generations of one relay service share: its backends as they are known, who waits, and the rules
// that look at several backends at once.
//
// One for a service, owned by core (Context::shared_state). Any thread may call anything here; nothing of it is called
// for a message, and a session takes no lock but where something goes wrong or somebody waits.
#pragma once

#include "plugin/service.h"
#include "plugins/relay/backend_set.h"
#include "plugins/relay/fault_set.h"
#include "plugins/relay/random.h"
#include "plugins/relay/retry.h"
#include "plugins/relay/status.h"
#include "plugins/relay/wait_queue.h"

#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <string_view>
#include <vector>

namespace portolan::relay {

class RelayState final : public SharedState {
 public:
  // For Context::shared_state.
  static SharedState* make() noexcept { return new (std::nothrow) RelayState; }
  RelayState() = default;
  RelayState(const RelayState&) = delete;
  RelayState& operator=(const RelayState&) = delete;

  // The set of a configuration. A backend whose address is known already is the same Backend; equal settings give the
  // same set, so that the workers of a generation share it. Changes nothing for other sets. No two addresses are equal.
  // Throws std::bad_alloc.
  std::shared_ptr<const BackendSet> set_for(const SetSettings& settings);

  // A check of the backend is done; see Health::on_result.
  void checked(const BackendSet& set, const Member& member, bool passed, std::string_view reason, Duration now,
               Random& random, Events& events) noexcept;
  // For Place: leaves the backend out for a while, unless too many are, or no other would be available.
  void eject(const BackendSet& set, const Member& member, std::string_view reason, Duration now,
             Events& events) noexcept;
  // Now and then while a backend is ejected: tells of ejections that are over, and wakes who waits for that. True: one is
  // ejected still.
  bool tick(const BackendSet& set, Duration now, Events& events) noexcept;

  // Orders of an operator. An order that changes nothing makes no event.
  void drain(const Member& member, Duration now, Events& events) noexcept;
  void undrain(const Member& member, Duration now, Events& events) noexcept;
  // 0..kMaxWeight.
  void set_weight(const Member& member, std::uint32_t weight) noexcept;

  // The backends of the set in its order, then those that older sets still have sessions at. Throws std::bad_alloc.
  Status status(const BackendSet& set, Duration now) const;

  // The faults of a configuration: as it has them, or as they were changed since. All workers get the same set. Throws
  // std::bad_alloc.
  FaultSet::Shared faults_for(const std::vector<Fault>& configured);
  // Changes them, and tells all workers (Waiters::wake_each).
  void set_faults(const std::vector<Fault>& configured, FaultSet::Shared faults);

  Waiters& waiters() noexcept { return waiters_; }
  RetryBudget& retry_budget() noexcept { return retry_budget_; }

 private:
  mutable std::mutex mutex_;
  std::map<std::string, std::weak_ptr<Backend>, std::less<>> backends_;  // by address
  std::weak_ptr<const BackendSet> latest_;
  // Of the last configurations, the newest at the end: one that is refused leaves those that serve.
  static constexpr std::size_t kMostFaultSets = 4;
  struct ConfiguredFaults {
    std::vector<Fault> configured;
    FaultSet::Shared faults;
  };
  std::vector<ConfiguredFaults> faults_;
  std::mutex ejection_mutex_;
  Waiters waiters_;
  RetryBudget retry_budget_;
};

}  // namespace portolan::relay
