#include "app/worker_console.h"

#include "config/schema.h"
#include "plugin/instance.h"
#include "script/runtime.h"
#include "script/script.h"
#include "script/script_service.h"

#include <fmt/format.h>

#include <algorithm>
#include <new>

namespace portolan {

namespace {

// Of a console that is no service's: its values in the store, its lines in the log.
constexpr const char* kNoService = "console";

// Nobody connects to it.
class Nobody final : public Service {};

Service* make_nobody(Context&, const Options&, Problems& problems) noexcept {
  Service* service = new (std::nothrow) Nobody;
  if (!service) problems.add("", "the console cannot begin: out of memory");
  return service;
}

constexpr Descriptor kConsole = {
    .name = "console", .summary = "evaluates lines", .transports = 0, .listens_always = false, .make = make_nobody};

}  // namespace

// A stream in the hands of Lua refers to the service that dialed it for as long as the state lives: so a seat stays when its
// session ends, and the next one of the same service takes it.
struct WorkerConsole::Seat {
  std::uint64_t session = 0;  // 0: it is free
  std::string service;
  ServiceConfiguration configuration;
  std::shared_ptr<ServiceShared> shared = std::make_shared<ServiceShared>();
  std::unique_ptr<Instance> instance;
  std::unique_ptr<ConsoleSession> console;
};

WorkerConsole::WorkerConsole(WorkerIo& io, const Generation& generation, Script& script, BanList& bans)
    : io_(io), generation_(generation), script_(script), bans_(bans) {}

WorkerConsole::~WorkerConsole() = default;

WorkerConsole::Seat* WorkerConsole::find(std::uint64_t session) const noexcept {
  for (const auto& seat : seats_)
    if (seat->session == session) return seat.get();
  return nullptr;
}

std::expected<WorkerConsole::Seat*, std::string> WorkerConsole::seat_for(const Place& place) {
  if (ended_) return std::unexpected(ended_);
  Seat* seat = find(place.session);
  if (seat) return seat;
  for (const auto& free : seats_)
    if (free->session == 0 && free->service == place.service) seat = free.get();
  if (!seat) {
    auto made = std::make_unique<Seat>();
    made->service = place.service;
    const auto& services = generation_.configuration.services;
    const auto known = std::ranges::find(services, place.service, &ServiceConfiguration::name);
    if (known != services.end()) {
      made->configuration.name = known->name;
      made->configuration.limits = known->limits;
    } else {
      made->configuration.name = kNoService;
    }
    // The folder is that of the file, for all of them.
    if (!services.empty()) made->configuration.folder = services.front().folder;
    made->configuration.plugin = &kConsole;
    made->configuration.options = std::make_shared<OptionTree>(std::span<const Option>());
    made->shared->stats = std::make_shared<ServiceStats>(made->configuration.name, kConsole, io_.worker() + 1);
    auto instance = Instance::make(io_, {.configuration = made->configuration,
                                         .statistics = false,
                                         .shared = made->shared,
                                         .tls = nullptr,
                                         .script = &script_,
                                         .bans = &bans_,
                                         .report = [raw = made.get()](std::string_view, std::string_view what) {
                                           if (raw->console) raw->console->report(what);
                                         }});
    if (!instance) return std::unexpected(instance.error());
    made->instance = std::move(*instance);
    seat = seats_.emplace_back(std::move(made)).get();
  }
  seat->console = std::make_unique<ConsoleSession>(*seat->instance->script_service(), place.style, place.tell);
  seat->session = place.session;
  return seat;
}

void WorkerConsole::evaluate(const Place& place, std::string text, Duration time_limit) {
  const auto seat = seat_for(place);
  if (seat) return (*seat)->console->evaluate(std::move(text), time_limit);
  place.tell(ConsoleEvent::error, seat.error());
  place.tell(ConsoleEvent::done, {});
}

std::vector<std::string> WorkerConsole::complete(const Place& place, std::string_view path) {
  const auto seat = seat_for(place);
  return seat ? (*seat)->console->complete(path) : std::vector<std::string>();
}

void WorkerConsole::cancel(std::uint64_t session, const char* reason) noexcept {
  if (Seat* seat = find(session)) seat->console->cancel(reason);
}

void WorkerConsole::forget(std::uint64_t session) noexcept {
  if (Seat* seat = find(session)) leave(*seat);
}

void WorkerConsole::leave(Seat& seat) noexcept {
  seat.session = 0;
  seat.console.reset();
  seat.instance->abort_all();
  // What it held in variables, sockets among it, goes now and not when the state next collects.
  script_.runtime().sandbox().collect_garbage();
}

void WorkerConsole::end(const char* reason) noexcept {
  ended_ = reason;
  for (const auto& seat : seats_) {
    if (seat->session == 0) continue;
    seat->console->cancel(reason);
    leave(*seat);
  }
}

}  // namespace portolan
