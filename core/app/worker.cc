#include "worker.h"

#include "base/log.h"
#include "net/rudp_dialer.h"
#include "net/session_status.h"

#include <fcntl.h>
#include <pthread.h>

#include <csignal>
#include <cstdint>
#include <exception>
#include <ranges>

namespace portolan {

Worker::Worker(unsigned index, Recorder* recorder, BanList& bans, std::atomic<std::uint64_t>& accept_pauses,
               std::shared_ptr<ScriptBus> bus, StoreAccess& store)
    : index_(index),
      recorder_(recorder),
      bans_(bans),
      accept_pauses_(accept_pauses),
      mailbox_(loop_),
      io_(loop_, index, &mailbox_) {
  io_.set_bus(std::move(bus));
  io_.set_store(store);
}

Worker::~Worker() {
  stop_and_join(std::chrono::hours(1));
  // The loop turns no more: what it had put off is done while all that it refers to is still there.
  io_.run_retired();
  ends_.clear();
  rudp_let_go_.clear();
  prepared_.reset();
  current_.reset();
  retired_.clear();
}

void Worker::start() {
  thread_ = std::thread([this] {
    // Signals are the main thread's business.
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);
    const std::string name = "worker " + std::to_string(index_);
    pthread_setname_np(pthread_self(), name.c_str());
    loop_.run();
    ended_.set_value();
  });
}

bool Worker::stop_and_join(Duration patience) {
  if (!thread_.joinable()) return true;
  mailbox_.post([this] { loop_.stop(); });
  if (ended_.get_future().wait_for(patience) != std::future_status::ready) return false;
  thread_.join();
  return true;
}

bool Worker::runs_here(const ServiceConfiguration& service) const noexcept {
  return index_ == 0 || service.plugin->placement == Placement::every_worker;
}

void Worker::prepare(std::shared_ptr<const Generation> generation,
                     std::function<void(std::vector<ServiceFailure>)> done) {
  mailbox_.post([this, generation = std::move(generation), done = std::move(done)] {
    std::vector<ServiceFailure> failures;
    try {
      failures = build(generation);
    } catch (const std::exception& problem) {  // a reload that nobody answers would never end
      failures.push_back({SIZE_MAX, problem.what()});
    }
    done(std::move(failures));
  });
}

std::vector<ServiceFailure> Worker::build(std::shared_ptr<const Generation> generation) {
  std::vector<ServiceFailure> failures;
  auto made = std::make_unique<WorkerGeneration>();
  made->generation = generation;
  const Configuration& configuration = generation->configuration;
  made->instances.resize(configuration.services.size());
  auto script = Script::load(configuration);
  if (!script) {
    failures.push_back({SIZE_MAX, script.error()});
    return failures;
  }
  made->script = std::move(*script);
  made->console = std::make_unique<WorkerConsole>(io_, *generation, *made->script, bans_);
  for (std::size_t i = 0; i < configuration.services.size(); ++i) {
    if (!runs_here(configuration.services[i])) continue;
    auto instance = Instance::make(io_, {.configuration = configuration.services[i],
                                         .statistics = configuration.stats,
                                         .shared = generation->shared[i],
                                         .tls = generation->tls[i],
                                         .script = made->script.get(),
                                         .recorder = recorder_,
                                         .limit_set = generation->limits[i],
                                         .bans = &bans_});
    if (instance)
      made->instances[i] = std::move(*instance);
    else
      failures.push_back({i, instance.error()});
  }
  prepared_ = std::move(made);
  return failures;
}

void Worker::discard(std::function<void()> done) {
  mailbox_.post([this, done = std::move(done)] {
    prepared_.reset();
    done();
  });
}

void Worker::commit(std::function<void()> done) {
  // Half of it done is nothing to go on from: then the process ends.
  mailbox_.post([this, done = std::move(done)]() noexcept {
    switch_over();
    done();
  });
}

void Worker::switch_over() {
  auto old = std::move(current_);
  current_ = std::move(prepared_);
  live_.fetch_add(1, std::memory_order_relaxed);
  const Generation& generation = *current_->generation;
  std::map<BoundListener*, Ends> before = std::move(ends_);
  ends_.clear();
  for (const auto& binding : generation.bindings) {
    Instance* instance = current_->instances[binding.service].get();
    if (!instance) continue;
    Ends ends;
    if (auto node = before.extract(binding.listener.get()))
      ends = std::move(node.mapped());
    else
      ends = make_ends(binding, *instance);
    if (ends.acceptor) ends.acceptor->serve(instance, binding.transport);
    if (ends.port) ends.port->serve(instance);
    if (ends.rudp) ends.rudp->serve(instance);
    ends_.emplace(binding.listener.get(), std::move(ends));
  }
  // What the new configuration no longer listens on: its waiting connections are served before it closes.
  for (auto& [listener, ends] : before) {
    if (ends.acceptor) ends.acceptor->empty_queue();
    let_go(std::move(ends));
  }
  before.clear();
  if (old) retire(std::move(old));
}

namespace {

bool protects(const Instance& instance) noexcept {
  return instance.configuration.rudp && instance.configuration.rudp->key;
}

}  // namespace

Worker::Ends Worker::make_ends(const Generation::Binding& binding, Instance& instance) {
  Ends ends;
  ends.listener = binding.listener;
  const int descriptor = binding.listener->descriptor(index_);
  const Address& address = binding.listener->actual().address;
  const bool datagrams = binding.transport == Transport::udp || binding.transport == Transport::rudp;
  const auto sockets = static_cast<unsigned>(binding.listener->sockets());
  // A peer's datagrams have to come to one worker: a socket that all share is the first's alone.
  if (datagrams && index_ >= sockets) return ends;
  if (binding.transport == Transport::udp) {
    ends.port = std::make_unique<DatagramPort>(loop_, descriptor, address.scope() == AddressScope::unspecified);
  } else if (binding.transport == Transport::rudp) {
    // One of its own: its connections may outlive the listener.
    auto port = RudpPort::make(loop_, fcntl(descriptor, F_DUPFD_CLOEXEC, 0), sockets, instance);
    if (index_ == 0 && !protects(instance) && address.scope() != AddressScope::loopback)
      log::print(LogLevel::warning, {instance.configuration.name},
                 "{} has no key: what comes over it is not protected; give the service rudp = {{ key = \"…\" }}",
                 binding.listener->actual().to_string());
    if (!port)
      log::print(LogLevel::error, {instance.configuration.name}, "cannot serve {}: {}",
                 binding.listener->actual().to_string(), port.error());
    else
      ends.rudp = std::move(*port);
  } else {
    ends.acceptor = std::make_unique<Acceptor>(loop_, descriptor, binding.transport, accept_pauses_);
  }
  return ends;
}

void Worker::Ends::serve_nobody() noexcept {
  if (acceptor) acceptor->serve(nullptr, Transport::tcp);
  if (port) port->serve(nullptr);
  if (rudp) rudp->serve(nullptr);
}

void Worker::Ends::forget(const Instance& instance) noexcept {
  if (port) port->forget(instance);
  if (rudp) rudp->forget(instance);
}

void Worker::let_go(Ends ends) {
  ends.serve_nobody();
  if (!ends.rudp) return;
  RudpPort* port = ends.rudp.get();
  // With the listener, until the last worker's: as long as it is open the kernel numbers its sockets as it did.
  rudp_let_go_.push_back(std::move(ends));
  port->when_quiet([this, port] {
    port->shut_down([this, port] {
      io_.retire_later(
          [this, port] { std::erase_if(rudp_let_go_, [port](const Ends& one) { return one.rudp.get() == port; }); });
    });
  });
}

void Worker::retire(std::unique_ptr<WorkerGeneration> old) {
  WorkerGeneration* raw = old.get();
  retired_.push_back(std::move(old));
  raw->busy = 1;
  io_.tick();
  raw->console->end(draining_ ? "the daemon is stopping" : "stopped: a newer configuration serves now");
  io_.settle();
  for (auto& instance : raw->instances) {
    if (!instance) continue;
    ++raw->busy;
    if (!draining_) instance->retire();
    instance->when_idle([this, raw] { instance_idle(raw); });
  }
  instance_idle(raw);
}

void Worker::instance_idle(WorkerGeneration* generation) {
  if (--generation->busy != 0) return;
  io_.retire_later([this, generation] {
    for (auto& [listener, ends] : ends_)
      for (auto& instance : generation->instances)
        if (instance) ends.forget(*instance);
    for (auto& ends : rudp_let_go_)
      for (auto& instance : generation->instances)
        if (instance) ends.forget(*instance);
    std::erase_if(retired_, [generation](const auto& one) { return one.get() == generation; });
    live_.fetch_sub(1, std::memory_order_relaxed);
    check_drained();
  });
}

// The last session has ended; what it has written to a connection of rudp may still be under way.
void Worker::check_drained() {
  if (!draining_ || !retired_.empty() || current_ || !drained_) return;
  auto left = std::make_shared<std::size_t>(rudp_let_go_.size() + 1);
  const auto one_done = [left, done = std::exchange(drained_, nullptr)] {
    if (--*left == 0) done();
  };
  for (const Ends& ends : rudp_let_go_) ends.rudp->shut_down(one_done);
  io_.rudp().shut_down(one_done);
}

void Worker::drain(Duration quiet, std::function<void()> done) {
  mailbox_.post([this, quiet, done = std::move(done)]() mutable {
    draining_ = true;
    drained_ = std::move(done);
    for (auto& [listener, ends] : ends_) {
      if (ends.acceptor) ends.acceptor->empty_queue();
      ends.serve_nobody();
      if (ends.rudp) rudp_let_go_.push_back(std::move(ends));
    }
    ends_.clear();
    for (auto& old : retired_)
      for (auto& instance : old->instances)
        if (instance) instance->drain(quiet);
    if (current_) {
      for (auto& instance : current_->instances)
        if (instance) instance->drain(quiet);
      retire(std::move(current_));
    } else {
      check_drained();
    }
  });
}

void Worker::abort_sessions() {
  mailbox_.post([this] {
    io_.tick();
    for (auto& old : retired_)
      for (auto& instance : old->instances)
        if (instance) instance->abort_all();
    if (current_)
      for (auto& instance : current_->instances)
        if (instance) instance->abort_all();
  });
}

void Worker::end_sessions_of(const Address& client) {
  mailbox_.post([this, client] {
    for (auto& old : retired_)
      for (auto& instance : old->instances)
        if (instance) instance->end_sessions_of(client);
    if (current_)
      for (auto& instance : current_->instances)
        if (instance) instance->end_sessions_of(client);
  });
}

void Worker::list_sessions(std::string service, std::size_t limit,
                           std::function<void(std::vector<SessionStatus>)> done) {
  mailbox_.post([this, service = std::move(service), limit, done = std::move(done)] {
    std::vector<SessionStatus> list;
    const auto collect = [&](WorkerGeneration& generation) {
      for (auto& instance : generation.instances)
        if (instance && (service.empty() || instance->configuration.name == service))
          instance->list_sessions(limit, list);
    };
    if (current_) collect(*current_);
    for (auto& old : retired_) collect(*old);
    done(std::move(list));
  });
}

std::vector<Instance*> Worker::instances_of(const ServiceShared& service) const {
  std::vector<Instance*> found;
  const auto collect = [&](const WorkerGeneration& generation) {
    for (const auto& instance : generation.instances)
      if (instance && instance->shared.get() == &service) found.push_back(instance.get());
  };
  if (current_) collect(*current_);
  for (const auto& old : retired_ | std::views::reverse) collect(*old);
  if (prepared_) collect(*prepared_);
  return found;
}

void Worker::command(std::shared_ptr<const ServiceShared> service, OperatorCommand command,
                     std::function<void(std::optional<CommandReply>)> done) {
  mailbox_.post([this, service = std::move(service), command = std::move(command), done = std::move(done)] {
    std::optional<CommandReply> first;
    for (Instance* instance : instances_of(*service)) {
      CommandReply reply = instance->command(command);
      if (!first) first = std::move(reply);
    }
    done(std::move(first));
  });
}

void Worker::at_console(std::function<void(WorkerConsole& console)> task, std::function<void()> none) {
  mailbox_.post([this, task = std::move(task), none = std::move(none)] {
    if (!current_) return none ? none() : void();
    io_.tick();
    task(*current_->console);
    io_.settle();
  });
}

void Worker::end_quiet(std::shared_ptr<const ServiceShared> service, Duration quiet, std::function<void()> done) {
  mailbox_.post([this, service = std::move(service), quiet, done = std::move(done)] {
    for (Instance* instance : instances_of(*service)) instance->end_quiet(quiet);
    done();
  });
}

}  // namespace portolan
