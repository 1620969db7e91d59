// The active checks of a relay's backends, on the first worker: connect, send and expect, HTTP, TLS, UDP, or a Lua hook.
//
// Owned by the RelayService, on its thread. Each backend has at most one check under way; a check that takes longer than
// its timeout has failed. When the next is due is told by Health: a backend that nothing is known of is checked at once,
// and where a reload finds checks overdue, they are spread over the interval. stop() ends all of it.
#pragma once

#include "plugin/service.h"
#include "plugins/relay/backend_set.h"

#include <memory>
#include <vector>

namespace portolan::relay {

class RelayService;

class Prober final : private TimerHandler {
 public:
  // `set` has checks, and lives as long. Throws std::bad_alloc, or std::runtime_error with what is wrong with a target.
  Prober(RelayService& service, const BackendSet& set);
  ~Prober();
  void stop() noexcept;

 private:
  class Probe;
  void on_timer() noexcept override;
  void arm() noexcept;

  RelayService& service_;
  const BackendSet& set_;
  std::vector<std::unique_ptr<Probe>> probes_;
  TimerHandle timer_;
  bool in_round_ = false;
  bool stopped_ = false;
};

}  // namespace portolan::relay
