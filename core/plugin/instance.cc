#include "instance.h"

#include "base/callback.h"
#include "base/clock.h"
#include "base/log.h"
#include "limits/ban_list.h"
#include "net/connection_pool.h"
#include "net/dial_attempt.h"
#include "net/session_status.h"
#include "net/stream_connection.h"
#include "net/udp_link.h"
#include "script/script_service.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

namespace portolan {

namespace {

// A session that we closed waits this long for its peer's goodbye.
constexpr Duration kLinger = std::chrono::seconds(5);

struct FirstProblem final : Problems {
  std::string text;
  void add(std::string_view key, std::string_view message) noexcept override {
    if (!text.empty()) return;
    text = key.empty() ? std::string(message) : fmt::format("{}: {}", key, message);
  }
};

// The first answer counts.
struct KeptAnswer final : CommandAnswer {
  std::optional<CommandReply> reply;
  void json(std::string_view text) noexcept override { keep(CommandReply::Outcome::done, text); }
  void refuse(std::string_view sentence) noexcept override { keep(CommandReply::Outcome::refused, sentence); }

 private:
  void keep(CommandReply::Outcome outcome, std::string_view text) noexcept {
    contain("the answer to a command", [&] {
      if (!reply) reply = CommandReply{outcome, std::string(text)};
    });
  }
};

}  // namespace

class Instance::InstanceTimer final : public Timer {
 public:
  InstanceTimer(Instance& instance, TimerHandler& handler)
      : instance_(instance), handler_(handler), timer_(instance.io.loop(), [this] { fire(); }) {}
  void start(Duration delay, bool repeat) noexcept override { timer_.start(delay, repeat); }
  void stop() noexcept override { timer_.stop(); }
  void strike() noexcept override {
    if (struck_.exchange(true)) return;
    // Released, and so destroyed, on the thread on which the task runs.
    instance_.io.post([this, alive = std::weak_ptr(alive_)] {
      if (!alive.lock()) return;
      struck_.store(false);
      fire();
    });
  }
  void release() noexcept override {
    timer_.stop();
    alive_.reset();
    std::erase(instance_.timers_, this);
    // It may be this timer's own callback that runs.
    instance_.io.retire_later([this] { delete this; });
  }

 private:
  void fire() noexcept {
    // Kept apart from `this`: the handler may release the timer.
    WorkerIo& worker_io = instance_.io;
    worker_io.tick();
    handler_.on_timer();
    worker_io.settle();
  }

  Instance& instance_;
  TimerHandler& handler_;
  LoopTimer timer_;
  std::atomic<bool> struck_{false};
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

std::expected<std::unique_ptr<Instance>, std::string> Instance::make(WorkerIo& io, Parts parts) {
  std::unique_ptr<Instance> instance(new Instance(io, std::move(parts)));
  FirstProblem problem;
  const ServiceConfiguration& configuration = instance->configuration;
  io.tick();
  instance->service.reset(configuration.plugin->make(*instance, *configuration.options, problem));
  if (!instance->service)
    return std::unexpected(problem.text.empty() ? "the plugin did not say why it cannot start" : problem.text);
  instance->input_limit = std::max<std::size_t>(instance->service->input_limit(), 1);
  return instance;
}

Instance::Instance(WorkerIo& worker_io, Parts parts)
    : io(worker_io),
      configuration(parts.configuration),
      limits(parts.configuration.limits),
      statistics(parts.statistics),
      shared(std::move(parts.shared)),
      tls(std::move(parts.tls)),
      limit_set(std::move(parts.limit_set)),
      bans(parts.bans),
      stats(shared->stats->worker(worker_io.worker())),
      recorder(parts.recorder),
      store(worker_io.store()),
      message_rate(limits.message_rate),
      byte_rate(limits.byte_rate),
      accept_rate(limits.accept_rate),
      script_(parts.script),
      counts_clients_(limits.max_sessions_per_client || message_rate.limited() || byte_rate.limited() || limit_set),
      timeout_timer_(worker_io.loop(), [this] { run_timeouts(); }) {
  if (configuration.proxy_protocol) proxied.set_timeout(configuration.proxy_protocol->timeout);
  awaiting.set_timeout(limits.first_message_timeout);
  active.set_timeout(limits.idle_timeout);
  // A datagram peer never says goodbye, and its address may be forged: it is forgotten sooner than a stream.
  peers.set_timeout(limits.datagram_timeout);
  half_open.set_timeout(limits.half_open_timeout);
  lingering.set_timeout(kLinger);
  if (script_)
    script_service_ =
        std::make_shared<ScriptService>(script_->runtime(), ScriptService::Host{.context = *this,
                                                                                .io = io,
                                                                                .configuration = configuration,
                                                                                .stats = stats,
                                                                                .input_limit = input_limit,
                                                                                .report = std::move(parts.report)});
}

Instance::~Instance() {
  when_idle_ = nullptr;  // whoever waited has let go of it
  // Not served yet, when a reload has failed: what runs by itself has to stop before its connections do.
  if (service) tell_drain();
  if (script_service_) script_service_->stop();
  abort_all();
  alive_.reset();
  service.reset();
  pools_.clear();
  while (TimeoutNode* node = attempts.first()) static_cast<DialAttempt*>(node)->cancel();
  while (!links.empty()) (*links.begin())->release();
  for (InstanceTimer* timer : timers_) delete timer;
}

// ---- Context -------------------------------------------------------------------------------------------------

void Instance::count(std::size_t counter, std::uint64_t by) noexcept {
  if (counter < stats.plugin.size()) stats.plugin[counter].add(by);
}

void Instance::log(LogLevel level, std::string_view message) noexcept {
  if (log::enabled(level)) log::write(level, {configuration.name}, message);
}

Hook* Instance::hook(std::string_view name) noexcept {
  return script_ ? script_->hook(configuration, name, stats, script_service_.get()) : nullptr;
}

TimerHandle Instance::timer(TimerHandler& handler) noexcept {
  timers_.push_back(new InstanceTimer(*this, handler));
  return TimerHandle(timers_.back());
}

const Target* Instance::target(const TargetOptions& options, std::string_view key, Problems& problems) noexcept {
  const Target* made = nullptr;
  const bool done = contain("a target", [&] {
    auto target = OutboundTarget::make(options, configuration.folder);
    if (!target) return problems.add(key, target.error());
    targets_.push_back(std::move(*target));
    made = targets_.back().get();
    // A datagram does not wait for its name: it is looked up before the first one comes.
    const Endpoint& endpoint = targets_.back()->endpoint();
    if (endpoint.transport == Transport::udp && !endpoint.name.empty())
      names_asked_[endpoint.name] = io.names().lookup(endpoint.name, AddressFamily::any, [](const auto&) {});
  });
  if (!done) problems.add(key, "cannot be prepared: out of memory");
  return made;
}

DialHandle Instance::dial(const Target& target, Duration timeout, DialHandler& handler,
                          std::span<const std::byte> preamble) noexcept {
  return DialHandle(DialAttempt::begin(*this, static_cast<const OutboundTarget&>(target), timeout, handler, preamble));
}

Pool* Instance::pool(const Target& target, const PoolOptions& options) noexcept {
  for (const auto& pool : pools_)
    if (&pool->target() == &target) return pool.get();
  Pool* made = nullptr;
  contain("a pool of connections", [&] {
    pools_.push_back(std::make_unique<ConnectionPool>(*this, target, options));
    made = pools_.back().get();
  });
  return made;
}

DatagramLink* Instance::link(const Target& target, DatagramLinkHandler& handler) noexcept {
  const auto& to = static_cast<const OutboundTarget&>(target);
  DatagramLink* made = nullptr;
  contain("a datagram link", [&] {
    Address address = to.endpoint().address;
    if (const std::string& name = to.endpoint().name; !name.empty()) {
      const CachedName* known = io.names().find(name, AddressFamily::any);
      if (!known) {
        // For the next one that asks.
        names_asked_[name] = io.names().lookup(name, AddressFamily::any, [](const auto&) {});
        return log(LogLevel::info, fmt::format("cannot send to {} yet: the name is being looked up", target.text()));
      }
      address = known->addresses.front();
      address.set_port(to.endpoint().address.port());
    }
    auto link = UdpLink::open(*this, address, to.source(), handler);
    if (link)
      made = *link;
    else
      log(LogLevel::warning, fmt::format("cannot send to {}: {}", target.text(), link.error()));
  });
  return made;
}

DatagramLink* Instance::join(const DatagramGroup& group, DatagramLinkHandler& handler, std::string_view key,
                             Problems& problems) noexcept {
  DatagramLink* made = nullptr;
  const bool done = contain("a group of datagrams", [&] {
    if (auto link = UdpLink::join(*this, group, handler))
      made = *link;
    else
      problems.add(key, link.error());
  });
  if (!done) problems.add(key, "cannot be joined: out of memory");
  return made;
}

SharedState* Instance::shared_state(SharedState* (*make_state)() noexcept) noexcept {
  const std::lock_guard lock(shared->state_mutex);
  if (!shared->state) shared->state.reset(make_state());
  return shared->state.get();
}

void Instance::event(std::string_view kind, std::string_view detail) noexcept {
  log(LogLevel::info, detail);
  if (recorder) recorder->event(std::string(kind), configuration.name, std::string(detail));
}

void Instance::keep_message(const KeptMessage& message) noexcept { store.keep_message(configuration.name, message); }

void Instance::keep_transfer(const KeptTransfer& transfer) noexcept {
  store.keep_transfer(configuration.name, transfer);
}

void Instance::recent_messages(std::string_view room, std::uint32_t count, RecentMessagesHandler& handler) noexcept {
  contain("a question for recent messages", [&] {
    using Messages = std::expected<std::vector<StoredMessage>, std::string>;
    // On this worker's thread; by then the instance may have gone, and the handler with it.
    auto tell = [this, alive = std::weak_ptr(alive_), &handler, room = std::string(room)](const Messages& found) {
      if (alive.expired()) return;
      std::vector<KeptMessage> views;
      if (found) {
        for (const StoredMessage& message : *found)
          views.push_back({message.time_ms, message.room, message.sender, message.kind, message.text});
      }
      WorkerIo& worker_io = io;
      worker_io.tick();
      handler.on_recent_messages(room, views, found ? std::string_view() : std::string_view(found.error()));
      worker_io.settle();
    };
    auto asked = store.recent_messages(
        configuration.name, std::string(room), count,
        [&worker_io = io, tell](Messages found) { worker_io.post([tell, found = std::move(found)] { tell(found); }); });
    if (!asked) io.retire_later([tell, error = asked.error()] { tell(std::unexpected(error)); });
  });
}

bool Instance::ban(const NetAddress& client, Duration time, std::string_view reason, Problems& problems) noexcept {
  bool banned = false;
  const bool done = contain("a ban", [&] {
    if (!bans) return problems.add("", "there is no list of bans");
    const std::int64_t now_ms = unix_ms();
    const auto added = bans->add({.client = Address::from(client).client(),
                                  .until_ms = now_ms + to_ms(time),
                                  .since_ms = now_ms,
                                  .reason = fmt::format("{}: {}", configuration.name, reason)},
                                 now_ms);
    banned = added.has_value();
    if (!banned) problems.add("", added.error());
  });
  if (!done) problems.add("", "out of memory");
  return banned;
}

// ---- Sessions ------------------------------------------------------------------------------------------------

bool Instance::banned(const Address& peer) const noexcept { return bans && bans->any() && bans->bans(peer, unix_ms()); }

bool Instance::take_place(const Address& peer) noexcept {
  if (draining || shared->drained.load(std::memory_order_relaxed)) {
    refuse(Refusal::draining, peer);
    return false;
  }
  // Counted first and looked at then: two workers that looked first would both find the last place.
  const std::uint32_t open_before = shared->open.fetch_add(1, std::memory_order_relaxed);
  if (limits.max_sessions && open_before >= limits.max_sessions) {
    shared->open.fetch_sub(1, std::memory_order_relaxed);
    refuse(Refusal::max_sessions, peer, Blame::nobody);
    return false;
  }
  stats.open.add();
  return true;
}

void Instance::give_back_place() noexcept {
  shared->open.fetch_sub(1, std::memory_order_relaxed);
  stats.open.subtract();
}

Instance::Admission Instance::admit_proxy(const Address& peer) noexcept {
  if (configuration.proxy_protocol->from.contains(peer)) return {.admitted = take_place(peer)};
  if (banned(peer)) {
    refuse(Refusal::banned, peer);
    return {.drop = true};
  }
  log::print(LogLevel::info, {configuration.name}, "a connection of {} is refused: it is not in proxy_protocol.from",
             peer.empty() ? "unix" : peer.host());
  refuse(Refusal::bad_message, peer);
  return {};
}

Instance::Admission Instance::admit_session(const Address& peer, Blame blame, Place place) noexcept {
  const Duration now = io.now();
  if (banned(peer)) {
    refuse(Refusal::banned, peer);
    return {.drop = true};
  }
  if (place == Place::wanted && !take_place(peer)) return {};
  const auto refused = [&](Refusal reason, Blame whose, bool drop = false) {
    if (place == Place::wanted) give_back_place();
    refuse(reason, peer, whose);
    return Admission{.drop = drop};
  };
  ClientEntry* client = nullptr;
  if (counts_clients_) {
    client = shared->clients.acquire(peer.client(), limits.max_sessions_per_client, now, limit_set);
    if (!client) return refused(Refusal::max_sessions_per_client, blame);
  }
  if (limit_set) {
    if (const LimitVerdict over = limit_set->session(client->states_of(*limit_set), now)) {
      shared->clients.release(client, now);
      return refused(over.rule->refusal(), blame_for(*over.rule, blame), over.rule->over == LimitRule::Over::drop);
    }
  }
  // Last: a client that has its share already does not use up what the others may open.
  if (accept_rate.limited() && accept_rate.take(shared->accepts, now, 1) > Duration::zero()) {
    if (client) shared->clients.release(client, now);
    return refused(Refusal::accept_rate, Blame::nobody);
  }
  stats[CoreCounter::sessions].add();
  return {.admitted = true, .client = client};
}

void Instance::session_ended(ClientEntry* client) noexcept {
  if (client) shared->clients.release(client, io.now());
  give_back_place();
  check_idle();
}

void Instance::refuse(Refusal reason, const Address& peer, Blame blame) noexcept {
  stats.refuse(reason);
  if (recorder) recorder->refusal(io.worker(), configuration.name, peer.client(), reason);
  if (bans && blame != Blame::nobody)
    bans->violation(peer, reason, configuration.name, blame == Blame::datagram, unix_ms());
}

LimitVerdict Instance::more_bytes(ClientEntry& client) const noexcept {
  const Duration wait = byte_rate.limited() ? byte_rate.wait(client.bytes, io.now()) : Duration::zero();
  if (wait > Duration::zero() || !limit_set) return {.wait = wait};
  return limit_set->more_bytes(client.states_of(*limit_set), io.now());
}

void Instance::charge_bytes(ClientEntry& client, std::size_t bytes) const noexcept {
  if (byte_rate.limited()) byte_rate.charge(client.bytes, io.now(), static_cast<double>(bytes));
  if (limit_set) limit_set->charge_bytes(client.states_of(*limit_set), io.now(), bytes);
}

void Instance::arm_timeouts() noexcept {
  Duration next = std::min({proxied.deadline(), awaiting.deadline(), active.deadline(), half_open.deadline(),
                            lingering.deadline(), peers.deadline()});
  if (drain_quiet_ > Duration::zero() &&
      (proxied.size() || awaiting.size() || active.size() || half_open.size() || peers.size()))
    next = std::min(next, io.now() + drain_quiet_ / 4);
  // A timer that fires early costs a look; setting it for every session would cost a heap operation each.
  if (next >= armed_for_) return;
  armed_for_ = next;
  timeout_timer_.start(next - io.now());
}

void Instance::run_timeouts() noexcept {
  const Duration now = io.tick();
  armed_for_ = Duration::max();
  for (TimeoutQueue* queue : session_queues()) {
    while (TimeoutNode* node = queue->expired(now)) {
      auto* stream = static_cast<StreamConnection*>(node);
      // Out of the way of this loop should the session need longer to end.
      queue->remove(*node);
      queue->add(*node, now);
      stream->time_out(queue == &awaiting || queue == &proxied ? Refusal::first_message_timeout
                                                               : Refusal::idle_timeout);
      io.settle();
    }
  }
  while (TimeoutNode* node = peers.expired(now)) datagram_sessions.end(static_cast<DatagramSession&>(*node));
  if (drain_quiet_ > Duration::zero()) {
    for (TimeoutQueue* queue : {&proxied, &awaiting, &active, &half_open}) {
      for (TimeoutNode* node = queue->first(); node; node = queue->after(*node))
        static_cast<StreamConnection*>(node)->drain_if_quiet(drain_quiet_);
    }
    for (TimeoutNode *node = peers.first(), *next = nullptr; node; node = next) {
      next = peers.after(*node);
      auto& peer = static_cast<DatagramSession&>(*node);
      if (now - peer.last_activity >= drain_quiet_) datagram_sessions.end(peer);
    }
    io.settle();
  }
  arm_timeouts();
}

void Instance::drain(Duration quiet) noexcept {
  if (draining) return;
  io.tick();
  draining = true;
  drain_quiet_ = std::max<Duration>(quiet, std::chrono::milliseconds(4));
  lingering.set_timeout(drain_quiet_);
  armed_for_ = Duration::max();
  tell_drain();
  io.settle();
  datagram_sessions.end_all();
  arm_timeouts();
}

void Instance::retire() noexcept {
  io.tick();
  tell_drain();
  io.settle();
  datagram_sessions.end_unattached();
}

void Instance::end_quiet(Duration quiet) noexcept {
  if (draining) return;
  io.tick();
  drain_quiet_ = quiet;
  armed_for_ = Duration::max();
  arm_timeouts();
}

CommandReply Instance::command(const OperatorCommand& order) {
  std::vector<CommandArgument> arguments;
  for (const auto& [name, value] : order.arguments) arguments.push_back({.name = name, .value = value});
  KeptAnswer answer;
  io.tick();
  service->on_command({.name = order.name, .arguments = arguments}, answer);
  io.settle();
  if (!answer.reply) {
    return {CommandReply::Outcome::unknown,
            fmt::format("service \"{}\": plugin \"{}\" declares the command \"{}\" and does not know it", order.service,
                        configuration.plugin->name, order.name)};
  }
  return std::move(*answer.reply);
}

// Once: a generation that a reload retired is drained again at a stop.
void Instance::tell_drain() noexcept {
  if (std::exchange(told_drain_, true)) return;
  if (script_service_) script_service_->drain();
  service->drain();
  for (const auto& pool : pools_) pool->drain();
}

void Instance::abort_all() noexcept {
  for (TimeoutQueue* queue : session_queues())
    while (TimeoutNode* node = queue->first()) static_cast<StreamConnection*>(node)->abort(NetError::closed);
  // Those that are still being connected belong to whoever dialed, and he has just been told.
  for (TimeoutNode* node = outbound.first(); node;) {
    auto* stream = static_cast<StreamConnection*>(node);
    node = stream->connecting() ? outbound.after(*node) : (stream->abort(NetError::closed), outbound.first());
  }
  datagram_sessions.end_all();
}

void Instance::end_sessions_of(const Address& client) noexcept {
  io.tick();
  // None of them ends before all are told: a handler may end others with its own.
  for (TimeoutQueue* queue : session_queues())
    for (TimeoutNode* node = queue->first(); node; node = queue->after(*node))
      static_cast<StreamConnection*>(node)->cut_if_of(client);
  io.settle();
  datagram_sessions.end_of(client);
}

void Instance::when_idle(std::function<void()> task) {
  when_idle_ = std::move(task);
  check_idle();
}

void Instance::check_idle() {
  // What scripts have dialed for no session in particular does not keep their generation.
  if (when_idle_ && script_service_ && sessions() == outbound.size()) script_service_->close_dialed();
  if (when_idle_ && sessions() == 0) io.retire_later(std::exchange(when_idle_, nullptr));
}

void Instance::list_sessions(std::size_t limit, std::vector<SessionStatus>& out) {
  for (const TimeoutQueue* queue : session_queues()) {
    for (TimeoutNode* node = queue->first(); node && out.size() < limit; node = queue->after(*node))
      if (const auto& stream = static_cast<const StreamConnection&>(*node); !stream.outbound())
        out.push_back(stream.status());
  }
  datagram_sessions.list(limit, out);
}

}  // namespace portolan
