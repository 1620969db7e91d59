// The relay plugin: forwards streams and datagrams to backends.
#include "plugin/descriptor.h"
#include "plugins/relay/options.h"
#include "plugins/relay/relay_service.h"

#include <fmt/format.h>

#include <exception>

namespace portolan {
namespace {

constexpr HookDeclaration kHooks[] = {
    {.name = "on_choose",
     .signature = "(session, tried) -> string | nil",
     .help = "names the backend of a new session; nil leaves it to balance. `tried`: how many have failed for it"},
    {.name = relay::kCheckHook,
     .signature = "(backend) -> boolean, reason",
     .help = "with health.check = \"hook\": whether this backend may be chosen"},
};

// The order of relay::Count.
constexpr CounterDeclaration kCounters[] = {
    {.name = "dials", .help = "attempts to connect to a backend"},
    {.name = "dials_failed", .help = "of them that failed"},
    {.name = "retries", .help = "attempts after one that failed"},
    {.name = "queued", .help = "sessions that had to wait for a place"},
    {.name = "queue_timeouts", .help = "of them that waited in vain"},
    {.name = "no_backend", .help = "sessions that no backend took"},
    {.name = "checks", .help = "health checks"},
    {.name = "checks_failed", .help = "of them that failed"},
};

constexpr CommandDeclaration kCommands[] = {
    {.name = "backends", .help = "all backends and how they are", .question = true},
    {.name = "drain", .arguments = "backend=NAME", .help = "gives a backend no new sessions"},
    {.name = "undrain", .arguments = "backend=NAME", .help = "gives it sessions again"},
    {.name = "weight", .arguments = "backend=NAME weight=N", .help = "changes its share until the configuration does"},
    {.name = "faults", .help = "the faults that are at work", .question = true},
    {.name = "fault_add", .arguments = "kind=KIND …", .help = "adds a fault: its parameters follow"},
    {.name = "fault_remove", .arguments = "id=NAME", .help = "removes one, or all"},
};

Service* make(Context& context, const Options& options, Problems& problems) noexcept {
  try {
    relay::RelaySettings settings = relay::read_settings(options);
    auto* state = static_cast<relay::RelayState*>(context.shared_state(relay::RelayState::make));
    if (!state) throw std::bad_alloc();
    auto set = state->set_for(settings.set);
    std::vector<const Target*> targets;
    for (std::size_t at = 0; at < set->members().size(); ++at) {
      const Target* target = context.target(
          {.address = set->members()[at].settings.address, .tls = settings.tls[at].target(), .rudp = settings.rudp[at]},
          fmt::format("backends[{}]", at + 1), problems);
      if (!target) return nullptr;
      targets.push_back(target);
    }
    return new relay::RelayService(context, std::move(settings), *state, std::move(set), std::move(targets));
  } catch (const std::exception& problem) {
    problems.add("", problem.what());
    return nullptr;
  }
}

}  // namespace

extern const Descriptor plugin_relay;
const Descriptor plugin_relay = {
    .name = "relay",
    .summary = "forwards streams and datagrams to backends: balances, checks, retries, limits, and breaks on purpose",
    .transports = kStreams | kUdp,
    .options = relay::kOptions,
    .hooks = kHooks,
    .counters = kCounters,
    .commands = kCommands,
    .replaces_peers = true,
    .validate = relay::validate_settings,
    .make = make,
};

}  // namespace portolan
