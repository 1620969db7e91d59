// A worker: a thread with its own loop, its listeners' ends, and the instances of the generation that serves now,
// beside those of earlier generations that still have sessions.
//
// Made, started, asked and joined by the main thread; everything else happens on the worker's thread. Requests go
// through the mailbox and answer by callback on the worker's thread (the caller posts on to its own).
#pragma once

#include "app/generation.h"
#include "app/worker_console.h"
#include "event/loop.h"
#include "net/acceptor.h"
#include "net/datagram_port.h"
#include "net/listener.h"
#include "net/rudp_port.h"
#include "net/worker_io.h"
#include "plugin/instance.h"

#include <atomic>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace portolan {

class ScriptBus;
struct SessionStatus;

// A stream that has been quiet for this long is between two messages, and a drain may end it.
inline constexpr Duration kQuiet = std::chrono::seconds(1);

// A worker's part of a generation.
struct WorkerGeneration {
  std::shared_ptr<const Generation> generation;
  std::unique_ptr<Script> script;                    // outlives what is below
  std::unique_ptr<WorkerConsole> console;            // of the script
  std::vector<std::unique_ptr<Instance>> instances;  // by service; null where it runs elsewhere or failed
  std::size_t busy = 0;                              // instances not yet idle, once retired
};

struct ServiceFailure {
  std::size_t service;  // index; SIZE_MAX: the script, so all of them
  std::string error;
};

class Worker {
 public:
  Worker(unsigned index, Recorder* recorder, BanList& bans, std::atomic<std::uint64_t>& accept_pauses,
         std::shared_ptr<ScriptBus> bus, StoreAccess& store);
  ~Worker();
  void start();
  // Ends the loop, whatever is open, and waits for the thread; false when it has not ended in time (something blocks
  // it), and then the Worker must not be destroyed.
  bool stop_and_join(Duration patience);

  // Builds this worker's part beside the one that serves. Nothing is visible outside until commit.
  void prepare(std::shared_ptr<const Generation> generation, std::function<void(std::vector<ServiceFailure>)> done);
  // The prepared part serves, the former one keeps its sessions until they end.
  void commit(std::function<void()> done);
  void discard(std::function<void()> done);
  // Stops accepting; `done` when the last session has ended.
  void drain(Duration quiet, std::function<void()> done);
  void abort_sessions();
  // Any thread: ends the sessions of a client that was banned.
  void end_sessions_of(const Address& client);
  void list_sessions(std::string service, std::size_t limit, std::function<void(std::vector<SessionStatus>)> done);
  // An operator's command to the plugin, for every instance of the service that lives: the serving one, that of a reload
  // under way and those of earlier generations. `done` gets the answer of the serving one, else of the newest; none: no
  // instance lives here.
  void command(std::shared_ptr<const ServiceShared> service, OperatorCommand command,
               std::function<void(std::optional<CommandReply>)> done);
  // For the consoles of the generation that serves; `none` when there is none any more.
  void at_console(std::function<void(WorkerConsole& console)> task, std::function<void()> none);
  // Instance::end_quiet for the same ones.
  void end_quiet(std::shared_ptr<const ServiceShared> service, Duration quiet, std::function<void()> done);
  // Generations that still have sessions, the serving one included. Any thread.
  std::size_t live_generations() const noexcept { return live_.load(std::memory_order_relaxed); }

 private:
  struct Ends {
    std::shared_ptr<BoundListener> listener;
    std::unique_ptr<Acceptor> acceptor;
    std::unique_ptr<DatagramPort> port;
    std::unique_ptr<RudpPort> rudp;
    void serve_nobody() noexcept;
    void forget(const Instance& instance) noexcept;
  };
  Ends make_ends(const Generation::Binding& binding, Instance& instance);
  // No longer listened on: connections go on until their last stream has ended.
  void let_go(Ends ends);
  void check_drained();
  std::vector<ServiceFailure> build(std::shared_ptr<const Generation> generation);
  void switch_over();
  void retire(std::unique_ptr<WorkerGeneration> old);
  void instance_idle(WorkerGeneration* generation);
  // Of the service's plugin, the newest first; that of a reload under way is the last.
  std::vector<Instance*> instances_of(const ServiceShared& service) const;
  bool runs_here(const ServiceConfiguration& service) const noexcept;

  const unsigned index_;
  Recorder* const recorder_;
  BanList& bans_;
  std::atomic<std::uint64_t>& accept_pauses_;
  std::atomic<std::size_t> live_{0};
  Loop loop_;
  Mailbox mailbox_;
  WorkerIo io_;
  std::unique_ptr<WorkerGeneration> current_;
  std::unique_ptr<WorkerGeneration> prepared_;
  std::vector<std::unique_ptr<WorkerGeneration>> retired_;
  std::map<BoundListener*, Ends> ends_;
  std::vector<Ends> rudp_let_go_;
  std::function<void()> drained_;
  bool draining_ = false;
  std::promise<void> ended_;
  std::thread thread_;
};

}  // namespace portolan
