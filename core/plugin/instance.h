// One service on one worker in one generation: the plugin's object, what core keeps around it, and its sessions.
//
// Owned by the worker's generation; made and used on the worker's thread only. It is the plugin's Context. What the
// service was granted (timers) is revoked when the instance goes, and it goes after its last session.
#pragma once

#include "config/configuration.h"
#include "limits/client_table.h"
#include "net/datagram_sessions.h"
#include "net/timeout_queue.h"
#include "net/tls.h"
#include "net/worker_io.h"
#include "plugin/commands.h"
#include "plugin/service.h"
#include "script/script.h"
#include "stats/service_stats.h"

#include <array>
#include <atomic>
#include <expected>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

namespace portolan {

class BanList;
class ConnectionPool;
class DialAttempt;
class OutboundTarget;
class ScriptService;
class UdpLink;
struct SessionStatus;

// What a service shares between its workers and keeps across reloads, found by its name.
struct ServiceShared {
  std::atomic<std::uint32_t> open{0};  // sessions, for max_sessions
  std::atomic<bool> drained{false};    // by the operator: no new sessions
  RateState accepts{0};
  ClientTable clients;
  std::shared_ptr<ServiceStats> stats;
  // The plugin's own, made by the first instance that asks.
  std::mutex state_mutex;
  std::unique_ptr<SharedState> state;
};

// Where instances report what the store should remember. Called on workers; must be cheap when it is not wanted.
class Recorder {
 public:
  virtual bool wants_session() noexcept = 0;
  virtual void session(SessionRecord record) noexcept = 0;
  virtual void refusal(unsigned worker, const std::string& service, const Address& client, Refusal reason) noexcept = 0;
  virtual void event(std::string kind, std::string service, std::string detail) noexcept = 0;

 protected:
  ~Recorder() = default;
};

class Instance final : public Context {
 public:
  struct Parts {
    const ServiceConfiguration& configuration;  // outlives the instance
    bool statistics = true;
    std::shared_ptr<ServiceShared> shared;
    std::shared_ptr<const TlsContext> tls;
    Script* script = nullptr;  // outlives the instance; null in tests without hooks
    Recorder* recorder = nullptr;
    std::shared_ptr<const LimitSet> limit_set = nullptr;  // null: the configuration lists no limits
    BanList* bans = nullptr;                              // outlives the instance
    // Who is told what its scripts have failed in; null: the log. Must not throw.
    std::function<void(std::string_view hook, std::string_view what)> report = nullptr;
  };
  // The error is what the plugin's make said.
  static std::expected<std::unique_ptr<Instance>, std::string> make(WorkerIo& io, Parts parts);
  ~Instance();

  // ---- Context: what the plugin sees ----
  std::string_view service_name() const noexcept override { return configuration.name; }
  unsigned worker() const noexcept override { return io.worker(); }
  Duration now() const noexcept override { return io.now(); }
  void count(std::size_t counter, std::uint64_t by) noexcept override;
  void log(LogLevel level, std::string_view message) noexcept override;
  Hook* hook(std::string_view name) noexcept override;
  TimerHandle timer(TimerHandler& handler) noexcept override;
  const Target* target(const TargetOptions& options, std::string_view key, Problems& problems) noexcept override;
  DialHandle dial(const Target& target, Duration timeout, DialHandler& handler,
                  std::span<const std::byte> preamble) noexcept override;
  Pool* pool(const Target& target, const PoolOptions& options) noexcept override;
  DatagramLink* link(const Target& target, DatagramLinkHandler& handler) noexcept override;
  DatagramLink* join(const DatagramGroup& group, DatagramLinkHandler& handler, std::string_view key,
                     Problems& problems) noexcept override;
  SharedState* shared_state(SharedState* (*make)() noexcept) noexcept override;
  void event(std::string_view kind, std::string_view detail) noexcept override;
  void keep_message(const KeptMessage& message) noexcept override;
  void keep_transfer(const KeptTransfer& transfer) noexcept override;
  void recent_messages(std::string_view room, std::uint32_t count, RecentMessagesHandler& handler) noexcept override;
  bool ban(const NetAddress& client, Duration time, std::string_view reason, Problems& problems) noexcept override;

  // ---- For sessions and listeners ----
  struct Admission {
    bool admitted = false;
    bool drop = false;              // refused, and not to be told
    ClientEntry* client = nullptr;  // null when nothing is counted by client
  };
  // Who is to blame for a refusal, as the list of bans wants to know it. A stream's peer has shown that its address is
  // its own, a datagram's has not; and that the service is busy is nobody's fault.
  enum class Blame : std::uint8_t { stream, datagram, nobody };
  bool banned(const Address& peer) const noexcept;
  // Whether a new session may begin; counts it, or the reason why not. One that comes through a proxy has a place
  // already, which stays its own.
  enum class Place : std::uint8_t { wanted, taken };
  Admission admit_session(const Address& peer, Blame blame = Blame::stream, Place place = Place::wanted) noexcept;
  // With proxy_protocol: whether a connection may stay until its header says whose session it is.
  Admission admit_proxy(const Address& peer) noexcept;
  // What admit_session counted is given back.
  void session_ended(ClientEntry* client) noexcept;
  // An outbound one is gone.
  void connection_ended() noexcept { check_idle(); }
  void refuse(Refusal reason, const Address& peer, Blame blame = Blame::stream) noexcept;
  static Blame blame_for(const LimitRule& rule, Blame peer) noexcept {
    return rule.per == LimitRule::Per::client ? peer : Blame::nobody;
  }
  // Where a client's bytes are passed on without being messages: whether more may be received (a wait without a rule is
  // byte_rate's: later), and what has been.
  LimitVerdict more_bytes(ClientEntry& client) const noexcept;
  void charge_bytes(ClientEntry& client, std::size_t bytes) const noexcept;
  void refuse_message(Refusal reason) noexcept { stats.refuse(reason); }
  ScriptService* script_service() const noexcept { return script_service_.get(); }  // null without a script
  // Nanoseconds spent in hooks so far on this worker.
  Duration hook_time() const noexcept { return script_ ? script_->time_spent() : Duration::zero(); }

  void arm_timeouts() noexcept;

  // ---- For the worker ----
  // Ends streams that have been quiet for this long, now and from now on; the plugin is told.
  void drain(Duration quiet) noexcept;
  // A newer generation serves: streams go on until they end, and so do datagram peers that the plugin keeps; the others
  // go over to it.
  void retire() noexcept;
  // Ends sessions that have been quiet for this long, now and from now on, while the service goes on; zero: no more.
  void end_quiet(Duration quiet) noexcept;
  CommandReply command(const OperatorCommand& command);
  // Ends every stream at once.
  void abort_all() noexcept;
  // Ends the sessions of a client that was banned.
  void end_sessions_of(const Address& client) noexcept;
  std::size_t sessions() const noexcept {
    return proxied.size() + awaiting.size() + active.size() + half_open.size() + lingering.size() + outbound.size() +
           peers.size();
  }
  // Calls `task` once there is no session left (soon, never from inside this call).
  void when_idle(std::function<void()> task);
  void list_sessions(std::size_t limit, std::vector<SessionStatus>& out);

  WorkerIo& io;
  const ServiceConfiguration& configuration;
  const LimitOptions& limits;
  const bool statistics;
  std::shared_ptr<ServiceShared> shared;
  std::shared_ptr<const TlsContext> tls;
  const std::shared_ptr<const LimitSet> limit_set;
  BanList* const bans;
  WorkerStats& stats;
  Recorder* recorder;
  StoreAccess& store;  // the worker's
  std::unique_ptr<Service> service;
  const RateLimit message_rate, byte_rate, accept_rate;
  std::size_t input_limit = 0;

  // Every stream is in exactly one of these, datagram peers are in `peers` and datagram_sessions.
  TimeoutQueue proxied;    // no PROXY header yet: its timeout, absolute
  TimeoutQueue awaiting;   // no message yet: first_message_timeout, absolute
  TimeoutQueue active;     // idle_timeout
  TimeoutQueue half_open;  // joined, and one way has ended: half_open_timeout after the last byte
  TimeoutQueue lingering;  // closing: the peer has this long to take what is left
  TimeoutQueue outbound;   // dialed: no timeout of their own
  TimeoutQueue peers;
  TimeoutQueue attempts;  // to dial; each has a timer of its own
  std::set<UdpLink*> links;
  DatagramSessions datagram_sessions{*this};
  bool draining = false;

 private:
  class InstanceTimer;
  Instance(WorkerIo& io, Parts parts);
  bool take_place(const Address& peer) noexcept;
  void give_back_place() noexcept;
  void run_timeouts() noexcept;
  void tell_drain() noexcept;
  void check_idle();
  // The queues of streams that are sessions.
  auto session_queues() noexcept { return std::array{&proxied, &awaiting, &active, &half_open, &lingering}; }

  Script* script_;
  std::shared_ptr<ScriptService> script_service_;  // null without a script
  const bool counts_clients_;
  std::vector<InstanceTimer*> timers_;
  std::vector<std::unique_ptr<OutboundTarget>> targets_;
  std::vector<std::unique_ptr<ConnectionPool>> pools_;
  std::map<std::string, NameHandle> names_asked_;
  LoopTimer timeout_timer_;
  Duration armed_for_ = Duration::max();
  Duration drain_quiet_{};  // zero: quiet sessions stay
  bool told_drain_ = false;
  std::function<void()> when_idle_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // for answers that are under way
};

}  // namespace portolan
