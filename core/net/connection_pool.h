// Connections to one target that are used again (Pool in plugin/service.h).
//
// Belongs to its instance and goes after the service and its streams. In front of each stream stands a PooledConnection: it
// passes on what comes to whoever has the stream, and while nobody has, whatever comes ends it. Everything that is to be
// done happens in run(), at the end of the loop's turn or when something is due: never from inside a call of the plugin.
// One worker's thread.
#pragma once

#include "event/loop.h"
#include "plugin/service.h"

#include <cstdint>
#include <list>
#include <memory>
#include <unordered_map>
#include <vector>

namespace portolan {

class Instance;
class StreamConnection;

class ConnectionPool final : public Pool {
 public:
  ConnectionPool(Instance& instance, const Target& target, const PoolOptions& options);
  ~ConnectionPool();
  ConnectionPool(const ConnectionPool&) = delete;
  ConnectionPool& operator=(const ConnectionPool&) = delete;

  DialHandle acquire(Duration timeout, DialHandler& handler) noexcept override;
  void give_back(Stream& stream) noexcept override;
  PoolStatistics statistics() const noexcept override;

  const Target& target() const noexcept { return target_; }
  // Keeps no idle connection from now on. Who waits goes on waiting.
  void drain() noexcept;

 private:
  struct Waiter;
  class Attempt;
  class PooledConnection;

  void run() noexcept;
  void fail_late_waiters() noexcept;
  void serve_waiters() noexcept;
  void begin_attempts() noexcept;
  void drop_idle() noexcept;
  void arm() noexcept;
  void wake_at(Duration time) noexcept;
  PooledConnection* take_idle() noexcept;
  bool worn(const PooledConnection& connection) const noexcept;
  // What ends an acquire: the waiter is gone when the handler is called.
  DialHandler& hand_out(Waiter& waiter) noexcept;
  void remove(Waiter& waiter) noexcept;
  std::size_t connections() const noexcept { return connections_.size() - leaving_ + attempts_.size(); }

  Instance& instance_;
  const Target& target_;
  const PoolOptions options_;
  const std::vector<std::byte> preamble_;
  std::list<Waiter> waiters_;                       // who came first is first
  std::vector<std::unique_ptr<Attempt>> attempts_;  // each for one of them
  std::unordered_map<const Stream*, std::unique_ptr<PooledConnection>> connections_;
  std::vector<PooledConnection*> idle_;  // used last is last, and taken first
  std::size_t leaving_ = 0;              // of connections_: being closed
  PoolStatistics counts_;
  bool draining_ = false;
  LoopTask soon_;
  LoopTimer timer_;
  Duration armed_for_ = Duration::max();
};

}  // namespace portolan
