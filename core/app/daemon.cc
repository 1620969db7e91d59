#include "daemon.h"

#include "admin/admin.h"
#include "app/ban_keeper.h"
#include "app/command_desk.h"
#include "app/console_desk.h"
#include "app/daemonize.h"
#include "app/generation.h"
#include "app/privileges.h"
#include "app/recorder.h"
#include "app/resident.h"
#include "app/sd_notify.h"
#include "app/build.h"
#include "base/clock.h"
#include "config/configuration.h"
#include "plugin/registry.h"
#include "script/bus.h"
#include "store/store.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace portolan {

namespace {

// After the sessions were cut at the drain's deadline.
constexpr Duration kLastMoment = std::chrono::seconds(1);

// A worker that has not ended by then is stuck in somebody's code.
constexpr Duration kWorkerPatience = std::chrono::seconds(5);

using Sentences = std::vector<std::string>;

std::string raise_descriptor_limit(std::uint32_t wanted) {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = wanted ? std::min<rlim_t>(wanted, limit.rlim_max) : limit.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
    return fmt::format("cannot set the descriptor limit: {}", std::strerror(errno));
  if (wanted > limit.rlim_cur)
    return fmt::format("max_descriptors is {} but the system allows {}: that is what is used (see `ulimit -Hn`)",
                       wanted, limit.rlim_cur);
  return {};
}

// What a reload cannot change, because it was fixed when the process started.
Sentences fixed_at_start(const Configuration& before, const Configuration& after) {
  Sentences changed;
  const auto check = [&](bool same, std::string_view key) {
    if (!same) changed.push_back(fmt::format("{} cannot change while the daemon runs: restart it", key));
  };
  check(before.workers == after.workers, "workers");
  check(before.state_dir == after.state_dir, "state_dir");
  check(before.user == after.user && before.group == after.group, "user and group");
  check(before.store.enabled == after.store.enabled && before.store.path == after.store.path, "store.path");
  check(before.admin_socket == after.admin_socket && before.admin_http == after.admin_http &&
            before.admin_console == after.admin_console,
        "admin");
  return changed;
}

class Daemon final : public AdminHost {
 public:
  Daemon(const RunOptions& options, Daemonizer& daemonizer) : options_(options), daemonizer_(daemonizer) {}
  int run();

  DaemonStatus status() override;
  NotReady not_ready() override;
  const StatsRegistry& statistics() override { return *registry_; }
  void sessions(const std::string& service, std::size_t limit,
                std::function<void(std::vector<SessionStatus>)> done) override;
  void reload(std::function<void(std::string error)> done) override;
  void stop() override;
  void flush(std::function<void(std::string error)> done) override;
  std::vector<Ban> bans() override { return bans_.list().list(unix_ms()); }
  void ban(const Address& client, Duration time, std::string reason,
           std::function<void(std::string error)> done) override;
  void unban(std::optional<Address> client, std::function<void(std::size_t lifted, std::string error)> done) override;
  void command(OperatorCommand command, std::function<void(CommandReply)> done) override;
  ConsoleHost& console() override { return console_; }

 private:
  Sentences start();
  [[noreturn]] void end_without_workers();
  Sentences bind_admin_listeners();
  void adopt_inherited_sockets();
  void prepare_workers(std::shared_ptr<Generation> next, std::function<void(std::vector<ServiceFailure>)> done);
  void commit_workers(std::shared_ptr<Generation> next, std::function<void()> done);
  void discard_workers(std::function<void()> done);
  void finish_reload(std::string error);
  void do_what_waited();
  void announce();
  void cut_sessions();
  void finish();
  // Calls `each` for every worker and `done` on the main thread when all have answered.
  template <typename Each>
  void ask_workers(Each each, std::function<void()> done);

  const RunOptions options_;
  Loop loop_;
  std::shared_ptr<Mailbox> mailbox_ = std::make_shared<Mailbox>(loop_);
  Registry plugins_;
  std::shared_ptr<StatsRegistry> registry_ = std::make_shared<StatsRegistry>();
  Assembler assembler_{registry_};
  std::shared_ptr<Generation> current_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<StoreRecorder> recorder_;
  BanKeeper bans_{[this](const Address& client) {
    for (auto& worker : workers_) worker->end_sessions_of(client);
  }};
  const std::shared_ptr<ScriptBus> bus_ = std::make_shared<ScriptBus>();
  Workers workers_;
  CommandDesk commands_{workers_, mailbox_};
  ConsoleDesk console_{workers_, mailbox_, [this] { return ready_ && !stopping_ ? current_.get() : nullptr; }};
  std::unique_ptr<BoundListener> admin_socket_;
  std::unique_ptr<BoundListener> admin_http_;
  std::unique_ptr<AdminServer> admin_;
  std::unique_ptr<LoopTimer> housekeeping_;
  std::unique_ptr<LoopTimer> watchdog_;
  std::unique_ptr<LoopTimer> deadline_;
  std::vector<std::unique_ptr<LoopSignal>> signals_;
  std::vector<std::function<void(std::string)>> reload_waiters_;
  std::vector<std::function<void(std::string)>> next_reload_waiters_;
  std::string start_error_;
  Daemonizer& daemonizer_;
  std::atomic<std::uint64_t> accept_pauses_{0};
  std::int64_t started_ms_ = 0;
  std::int64_t loaded_ms_ = 0;
  bool ready_ = false;
  bool reloading_ = false;
  bool stopping_ = false;
  bool stop_asked_ = false;
  bool cut_ = false;
};

template <typename Each>
void Daemon::ask_workers(Each each, std::function<void()> done) {
  portolan::ask_workers(workers_, mailbox_, std::move(each), std::move(done));
}

// ---- Start ---------------------------------------------------------------------------------------------------

int Daemon::run() {
  const Sentences problems = start();
  if (!problems.empty()) {
    for (const auto& problem : problems) fmt::print(stderr, "portolan: {}\n", problem);
    return 1;
  }
  loop_.run();
  for (auto& worker : workers_)
    if (!worker->stop_and_join(kWorkerPatience)) end_without_workers();
  if (store_) store_->stop_answering();  // its answers go to the workers' mailboxes
  workers_.clear();
  current_.reset();
  admin_.reset();
  if (store_) {
    recorder_->event("stopped", "", "");
    store_->stop();
  }
  if (!start_error_.empty()) {
    log::flush_repeats();
    fmt::print(stderr, "portolan: {}\n", start_error_);
    return 1;
  }
  log::info("stopped");
  log::flush_repeats();
  return 0;
}

void Daemon::end_without_workers() {
  log::error("a worker does not end: what was counted is stored, then the process ends without it");
  if (store_) store_->stop();
  log::flush_repeats();
  std::_Exit(1);
}

Sentences Daemon::start() {
  started_ms_ = unix_ms();
  signal(SIGPIPE, SIG_IGN);
  auto loaded = load_configuration(options_.config_file, plugins_, options_.state_dir);
  if (!loaded) {
    std::string text = format_problems(options_.config_file, loaded.error());
    while (text.ends_with('\n')) text.pop_back();
    return {"the configuration is not right, nothing was started:\n" + text};
  }
  Configuration configuration = std::move(*loaded);
  log::set_level(options_.log_level.value_or(configuration.log_level));
  if (std::string remark = raise_descriptor_limit(configuration.max_descriptors); !remark.empty())
    log::warning("{}", remark);

  adopt_inherited_sockets();
  auto assembled = assembler_.assemble(std::move(configuration), nullptr);
  Sentences errors;
  if (assembled)
    current_ = std::move(*assembled);
  else
    errors = assembled.error();
  if (!errors.empty()) return errors;
  const Configuration& settings = current_->configuration;
  if (errors = bind_admin_listeners(); !errors.empty()) return errors;
  if (std::string error = drop_privileges(settings.user, settings.group); !error.empty()) return {error};
  if (settings.store.enabled) {
    auto store = Store::open(settings.store);
    if (!store) return {store.error()};
    store_ = std::move(*store);
  }
  recorder_ = std::make_unique<StoreRecorder>(store_.get(), settings.workers);
  if (const auto begun = bans_.begin(settings.bans, store_.get(), recorder_.get()); !begun) return {begun.error()};
  commands_.record_with(*recorder_);
  console_.use(*recorder_, store_ ? static_cast<StoreAccess&>(*store_) : no_store());
  if (store_) store_->start(registry_);

  for (int number : {SIGTERM, SIGINT})
    signals_.push_back(std::make_unique<LoopSignal>(loop_, number, [this] { stop(); }));
  signals_.push_back(std::make_unique<LoopSignal>(loop_, SIGHUP, [this] { reload([](const std::string&) {}); }));
  admin_ = std::make_unique<AdminServer>(loop_, *this, admin_socket_->descriptor(0),
                                         admin_http_ ? admin_http_->descriptor(0) : -1);
  housekeeping_ = std::make_unique<LoopTimer>(loop_, [this] {
    log::flush_repeats();
    bans_.list().expire(unix_ms());
  });
  housekeeping_->start(std::chrono::seconds(10), true);
  if (const Duration interval = watchdog_interval(); interval > Duration::zero()) {
    watchdog_ = std::make_unique<LoopTimer>(loop_, [] { sd_notify("WATCHDOG=1"); });
    watchdog_->start(interval / 2, true);
  }

  StoreAccess& store = store_ ? static_cast<StoreAccess&>(*store_) : no_store();
  for (unsigned i = 0; i < settings.workers; ++i) {
    workers_.push_back(std::make_unique<Worker>(i, recorder_.get(), bans_.list(), accept_pauses_, bus_, store));
    workers_.back()->start();
  }
  prepare_workers(current_, [this](std::vector<ServiceFailure> failures) {
    for (const auto& failure : failures) {
      if (failure.service == SIZE_MAX) {
        // The file ran through once to be checked and failed when a worker read it: there is nothing to serve with.
        start_error_ = failure.error;
        return finish();
      }
      const std::string& name = current_->configuration.services[failure.service].name;
      log::print(LogLevel::error, {name}, "does not serve: {}; the others do", failure.error);
      recorder_->event("service_failed", name, failure.error);
      current_->give_up(failure.service, failure.error);
    }
    commit_workers(current_, [this] { announce(); });
  });
  return {};
}

void Daemon::adopt_inherited_sockets() {
  std::vector<AdoptableSocket> sockets;
  for (const InheritedSocket& inherited : inherited_sockets()) {
    UniqueFd descriptor(inherited.descriptor);
    auto endpoint = endpoint_of(descriptor.get());
    if (endpoint)
      sockets.push_back({std::move(descriptor), std::move(*endpoint)});
    else
      log::warning("a socket from systemd is not used: {}", endpoint.error());
  }
  assembler_.offer(std::move(sockets));
}

Sentences Daemon::bind_admin_listeners() {
  const Configuration& settings = current_->configuration;
  Sentences errors;
  const Endpoint local{.transport = Transport::unix_stream, .address = {}, .path = settings.admin_socket};
  if (auto bound = bind_admin(local, settings.admin_mode)) {
    admin_socket_ = std::move(*bound);
  } else {
    errors.push_back("admin: " + bound.error());
  }
  // Who we become must be able to connect, and to remove the files at the end.
  Sentences paths = {settings.admin_socket};
  for (const auto& binding : current_->bindings) paths.push_back(binding.listener->actual().path);
  for (const std::string& path : paths) {
    if (path.empty() || path.starts_with('@')) continue;
    if (std::string error = give_to_user(path, settings.user, settings.group); !error.empty()) errors.push_back(error);
  }
  if (settings.admin_http) {
    if (auto bound = bind_admin(*settings.admin_http, 0))
      admin_http_ = std::move(*bound);
    else
      errors.push_back("admin: " + bound.error());
  }
  return errors;
}

void Daemon::announce() {
  if (ready_) return;
  ready_ = true;
  loaded_ms_ = unix_ms();
  Assembler::apply_socket_options(*current_);
  for (const auto& binding : current_->bindings) {
    Endpoint shown = binding.listener->actual();
    shown.transport = binding.transport;
    fmt::print("listening {} {}\n", current_->configuration.services[binding.service].name, shown.to_string());
  }
  if (admin_http_) fmt::print("listening admin http://{}\n", admin_http_->actual().address.to_string());
  fmt::print("ready\n");
  std::fflush(stdout);
  recorder_->event("started", "", fmt::format("version {}", kPortolanVersion));
  const auto counted = [](std::size_t count, std::string_view what) {
    return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
  };
  log::info("ready: {}, {}, {}", counted(current_->configuration.services.size(), "service"),
            counted(current_->bindings.size(), "listener"), counted(workers_.size(), "worker"));
  sd_notify("READY=1");
  daemonizer_.ready();
  release_startup_memory();
  do_what_waited();
}

void Daemon::prepare_workers(std::shared_ptr<Generation> next, std::function<void(std::vector<ServiceFailure>)> done) {
  auto failures = std::make_shared<std::vector<ServiceFailure>>();
  ask_workers(
      [&](Worker& worker, std::function<void()> answered) {
        worker.prepare(next, [mailbox = mailbox_, failures, answered](std::vector<ServiceFailure> some) {
          mailbox->post([failures, some] { failures->insert(failures->end(), some.begin(), some.end()); });
          answered();
        });
      },
      [failures, done = std::move(done)] {
        // Every worker says the same of a service: once is enough.
        std::vector<ServiceFailure> unique;
        for (auto& failure : *failures)
          if (std::ranges::none_of(unique, [&](const auto& seen) { return seen.service == failure.service; }))
            unique.push_back(failure);
        done(unique);
      });
}

void Daemon::commit_workers(std::shared_ptr<Generation> next, std::function<void()> done) {
  const std::shared_ptr<Generation> previous = std::exchange(current_, std::move(next));
  ask_workers([](Worker& worker, std::function<void()> answered) { worker.commit(std::move(answered)); },
              [this, previous, done = std::move(done)] {
                // The last hold on listeners that are no longer wanted: they close now, not when the last session of
                // the old generation ends. Until then the kernel would go on queueing clients that nobody accepts.
                if (previous && previous != current_) previous->bindings.clear();
                done();
              });
}

void Daemon::discard_workers(std::function<void()> done) {
  ask_workers([](Worker& worker, std::function<void()> answered) { worker.discard(std::move(answered)); },
              std::move(done));
}

// ---- Reload --------------------------------------------------------------------------------------------------

void Daemon::reload(std::function<void(std::string error)> done) {
  if (stopping_ || stop_asked_) return done("the daemon is stopping");
  if (reloading_ || !ready_) {
    // The file may have changed since the reload under way read it: one more follows, for all who ask until then.
    next_reload_waiters_.push_back(std::move(done));
    return;
  }
  reloading_ = true;
  reload_waiters_.push_back(std::move(done));
  sd_notify_reloading();
  auto loaded = load_configuration(options_.config_file, plugins_, options_.state_dir);
  if (!loaded) return finish_reload(format_problems(options_.config_file, loaded.error()));
  if (const Sentences fixed = fixed_at_start(current_->configuration, *loaded); !fixed.empty())
    return finish_reload(fmt::format("{}", fmt::join(fixed, "\n")));
  auto assembled = assembler_.assemble(std::move(*loaded), current_.get());
  if (!assembled) return finish_reload(fmt::format("{}", fmt::join(assembled.error(), "\n")));
  std::shared_ptr<Generation> next = std::move(*assembled);
  prepare_workers(next, [this, next](const std::vector<ServiceFailure>& failures) {
    if (failures.empty()) {
      Assembler::apply_socket_options(*next);
      commit_workers(next, [this] {
        const Configuration& settings = current_->configuration;
        log::set_level(options_.log_level.value_or(settings.log_level));
        if (store_) store_->reconfigure(settings.store);
        bans_.configure(settings.bans);
        loaded_ms_ = unix_ms();
        finish_reload("");
      });
      return;
    }
    Sentences errors;
    for (const auto& failure : failures)
      errors.push_back(failure.service == SIZE_MAX
                           ? failure.error
                           : fmt::format("service \"{}\" does not start: {}",
                                         next->configuration.services[failure.service].name, failure.error));
    discard_workers([this, errors] { finish_reload(fmt::format("{}", fmt::join(errors, "\n"))); });
  });
}

void Daemon::finish_reload(std::string error) {
  reloading_ = false;
  while (error.ends_with('\n')) error.pop_back();
  if (error.empty()) {
    log::info("reloaded {}: generation {} serves", options_.config_file, current_->number);
    recorder_->event("reload", "", options_.config_file);
  } else {
    log::error("the reload changed nothing, generation {} serves on: {}", current_->number, error);
    recorder_->event("reload_failed", "", error);
  }
  sd_notify("READY=1");
  for (auto& waiter : std::exchange(reload_waiters_, {})) waiter(error);
  do_what_waited();
}

// What was asked for while the start or a reload was under way.
void Daemon::do_what_waited() {
  if (stop_asked_) return stop();
  if (next_reload_waiters_.empty()) return;
  reload([waiters = std::exchange(next_reload_waiters_, {})](const std::string& error) {
    for (const auto& waiter : waiters) waiter(error);
  });
}

// ---- Stop ----------------------------------------------------------------------------------------------------

void Daemon::stop() {
  if (stopping_) return cut_sessions();
  if (reloading_ || !ready_) {
    // Two generations at once: first this one is whole, then it drains.
    stop_asked_ = true;
    return;
  }
  stopping_ = true;
  for (auto& waiter : std::exchange(next_reload_waiters_, {})) waiter("the daemon is stopping");
  console_.end("the daemon is stopping");
  const Duration deadline = current_->configuration.drain_timeout;
  log::info("stopping: sessions have {} s to end", to_ms(deadline) / 1000);
  sd_notify("STOPPING=1");
  // With the workers' own hold, which they let go of as they begin to drain, the listeners close: a new client is
  // refused at once instead of waiting in a queue that nobody empties.
  current_->bindings.clear();
  ask_workers([](Worker& worker, std::function<void()> answered) { worker.drain(kQuiet, std::move(answered)); },
              [this] { finish(); });
  deadline_ = std::make_unique<LoopTimer>(loop_, [this] { cut_sessions(); });
  deadline_->start(deadline);
}

void Daemon::cut_sessions() {
  if (cut_) return finish();
  cut_ = true;
  log::warning("sessions that are still open are closed now");
  for (auto& worker : workers_) worker->abort_sessions();
  deadline_->start(kLastMoment);
}

void Daemon::finish() { loop_.stop(); }

// ---- What the admin API asks ---------------------------------------------------------------------------------

DaemonStatus Daemon::status() {
  DaemonStatus status;
  status.version = kPortolanVersion;
  status.config_file = options_.config_file;
  status.pid = getpid();
  status.workers = static_cast<unsigned>(workers_.size());
  status.generation = current_->number;
  status.started_ms = started_ms_;
  status.loaded_ms = loaded_ms_;
  status.draining = stopping_;
  for (const auto& worker : workers_)
    status.live_generations = std::max<std::uint64_t>(status.live_generations, worker->live_generations());
  status.accept_pauses = accept_pauses_.load(std::memory_order_relaxed);
  status.bans = bans_.list().expire(unix_ms());
  status.bans_total = bans_.list().total();
  if (store_) {
    status.store_path = store_->path();
    status.store = store_->health();
  }
  const auto& services = current_->configuration.services;
  for (std::size_t i = 0; i < services.size(); ++i) {
    ServiceStatus service{.name = services[i].name,
                          .plugin = std::string(services[i].plugin->name),
                          .listeners = {},
                          .error = current_->errors[i],
                          .open = current_->shared[i]->open.load(std::memory_order_relaxed),
                          .drained = current_->shared[i]->drained.load(std::memory_order_relaxed)};
    for (const std::string_view name : command_names(*services[i].plugin)) service.commands.emplace_back(name);
    for (const auto& binding : current_->bindings) {
      if (binding.service != i) continue;
      Endpoint shown = binding.listener->actual();
      shown.transport = binding.transport;
      service.listeners.push_back(shown.to_string());
    }
    status.services.push_back(std::move(service));
  }
  return status;
}

NotReady Daemon::not_ready() {
  NotReady reasons;
  if (!ready_) reasons.emplace_back("starting");
  if (stopping_) reasons.emplace_back("draining: the daemon is stopping");
  for (std::size_t i = 0; i < current_->errors.size(); ++i)
    if (!current_->errors[i].empty())
      reasons.push_back(fmt::format("service \"{}\" does not serve: {}", current_->configuration.services[i].name,
                                    current_->errors[i]));
  if (store_) {
    const auto health = store_->health();
    if (!health.ok) reasons.push_back("the store cannot be written: " + health.error);
  }
  return reasons;
}

void Daemon::sessions(const std::string& service, std::size_t limit,
                      std::function<void(std::vector<SessionStatus>)> done) {
  auto all = std::make_shared<std::vector<SessionStatus>>();
  ask_workers(
      [&](Worker& worker, std::function<void()> answered) {
        worker.list_sessions(service, limit, [mailbox = mailbox_, all, answered](std::vector<SessionStatus> some) {
          mailbox->post([all, some = std::move(some)] { all->insert(all->end(), some.begin(), some.end()); });
          answered();
        });
      },
      [all, limit, done = std::move(done)] {
        if (all->size() > limit) all->resize(limit);
        done(std::move(*all));
      });
}

void Daemon::flush(std::function<void(std::string error)> done) {
  if (!store_) return done("the configuration has no store");
  // The store answers on its own thread.
  store_->flush([mailbox = mailbox_, done = std::move(done)](const std::string& error) {
    mailbox->post([done, error] { done(error); });
  });
}

void Daemon::ban(const Address& client, Duration time, std::string reason,
                 std::function<void(std::string error)> done) {
  if (const auto banned = bans_.ban(client, time, std::move(reason)); !banned) return done(banned.error());
  if (!store_) return done("");
  flush([done = std::move(done)](const std::string& error) {
    done(error.empty() ? "" : "banned until the daemon ends, since it could not be stored: " + error);
  });
}

void Daemon::unban(std::optional<Address> client, std::function<void(std::size_t lifted, std::string error)> done) {
  const std::size_t lifted = client ? bans_.list().lift(*client) : bans_.list().lift_all();
  if (!store_ || lifted == 0) return done(lifted, "");
  flush([lifted, done = std::move(done)](const std::string& error) {
    done(lifted, error.empty() ? "" : "lifted until the daemon ends, since it could not be stored: " + error);
  });
}

void Daemon::command(OperatorCommand command, std::function<void(CommandReply)> done) {
  if (!ready_) return done({CommandReply::Outcome::refused, "the daemon is starting: ask again when it is ready"});
  commands_.give(*current_, std::move(command), std::move(done));
}

}  // namespace

int run_daemon(const RunOptions& options) {
  log::set_format(options.log_format);
  // Before the daemon, whose loop would not survive the fork.
  Daemonizer daemonizer;
  if (const std::string error = daemonizer.begin(options.daemonize, options.pid_file); !error.empty()) {
    fmt::print(stderr, "portolan: {}\n", error);
    return 1;
  }
  Daemon daemon(options, daemonizer);
  return daemon.run();
}

}  // namespace portolan
