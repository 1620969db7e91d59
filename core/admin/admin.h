// The admin API: HTTP with JSON answers over a local unix socket, and the read-only part of it over TCP by option.
//
//   GET  /healthz /readyz /metrics          on both listeners
//   GET  /status /sessions?service=&limit= /bans                     on the unix socket only
//   POST /reload /stop /flush                                        on the unix socket only
//   POST /ban?address=&time=&reason= /unban?address=ADDRESS or all   on the unix socket only
//   POST /command?service=&command=&...                              on the unix socket only: the rest is its arguments
//   POST /console...                                                 on the unix socket only: admin/console.h
//
// Runs on the main thread's loop. What it tells and does comes from AdminHost, which the daemon implements.
#pragma once

#include "admin/console.h"
#include "event/loop.h"
#include "limits/ban.h"
#include "net/session_status.h"
#include "plugin/commands.h"
#include "stats/service_stats.h"
#include "store/store.h"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace portolan {

struct ServiceStatus {
  std::string name;
  std::string plugin;
  std::vector<std::string> listeners;  // addresses with the real ports
  std::string error;                   // why it does not serve; empty when it does
  std::uint64_t open = 0;              // sessions
  bool drained = false;                // by the operator: it takes no new sessions
  std::vector<std::string> commands = {};
};
struct DaemonStatus {
  std::string version;
  std::string config_file;
  std::string store_path;  // empty: no store
  int pid = 0;
  unsigned workers = 0;
  std::uint64_t generation = 0;
  std::uint64_t live_generations = 0;  // this one, and earlier ones that still have sessions
  std::int64_t started_ms = 0;         // Unix time
  std::int64_t loaded_ms = 0;          // when this generation began
  bool draining = false;
  std::uint64_t accept_pauses = 0;  // times that listeners paused for want of descriptors
  std::uint64_t bans = 0;           // addresses that are banned now
  std::uint64_t bans_total = 0;     // bans since the start
  std::vector<ServiceStatus> services;
  Store::Health store;
};
// What is not ready, as sentences; empty: ready.
using NotReady = std::vector<std::string>;

// Answers that need workers come later, through the callback, on the main thread.
class AdminHost {
 public:
  virtual DaemonStatus status() = 0;
  virtual NotReady not_ready() = 0;
  virtual const StatsRegistry& statistics() = 0;
  virtual void sessions(const std::string& service, std::size_t limit,
                        std::function<void(std::vector<SessionStatus>)> done) = 0;
  // `error` is empty when the new generation serves; otherwise what was wrong, the old one serving on.
  virtual void reload(std::function<void(std::string error)> done) = 0;
  virtual void stop() = 0;  // drain, then end
  virtual void flush(std::function<void(std::string error)> done) = 0;
  virtual std::vector<Ban> bans() = 0;
  // `time` of zero: as configured. What is banned (lifted) is stored when `done` is called.
  virtual void ban(const Address& client, Duration time, std::string reason,
                   std::function<void(std::string error)> done) = 0;
  // Without a client: all of them.
  virtual void unban(std::optional<Address> client,
                     std::function<void(std::size_t lifted, std::string error)> done) = 0;
  virtual void command(OperatorCommand command, std::function<void(CommandReply)> done) = 0;
  virtual ConsoleHost& console() = 0;

 protected:
  ~AdminHost() = default;
};

class AdminServer {
 public:
  // `unix_fd` listens for the local API, `http_fd` (or -1) for the read-only part. They stay the caller's.
  AdminServer(Loop& loop, AdminHost& host, int unix_fd, int http_fd);
  ~AdminServer();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

// Prometheus text format 0.0.4.
std::string prometheus_text(const DaemonStatus& status, const StatsRegistry& statistics);

}  // namespace portolan
