// The relay at run time: one for each worker. It owns what the sessions of its worker share (the balancer, who waits, the
// faults) and hears of the operator.
//
// Made by the descriptor's make, owned by core, on its worker's thread. What all workers share is in RelayState.
#pragma once

#include "plugin/service.h"
#include "plugins/relay/balancer.h"
#include "plugins/relay/events.h"
#include "plugins/relay/fault_set.h"
#include "plugins/relay/random.h"
#include "plugins/relay/relay_state.h"
#include "plugins/relay/settings.h"
#include "plugins/relay/wait_queue.h"

#include <memory>
#include <vector>

namespace portolan::relay {

class Prober;
class StreamSession;
class UdpSession;

// The indices of the plugin's counters, in the order of the descriptor.
enum Count : std::size_t {
  kDials,
  kDialsFailed,
  kRetries,
  kQueued,
  kQueueTimeouts,
  kNoBackend,
  kChecks,
  kChecksFailed
};

// A list of objects of others: O(1) to add and remove.
template <typename Node>
class SessionList {
 public:
  Node* first() const noexcept { return first_; }
  void add(Node& node) noexcept {
    node.next_session = first_;
    node.previous_session = nullptr;
    if (first_) first_->previous_session = &node;
    first_ = &node;
  }
  void remove(Node& node) noexcept {
    (node.previous_session ? node.previous_session->next_session : first_) = node.next_session;
    if (node.next_session) node.next_session->previous_session = node.previous_session;
  }

 private:
  Node* first_ = nullptr;
};

class RelayService final : public Service, private TimerHandler, private WakeHandler {
 public:
  // Throws std::bad_alloc, or std::runtime_error with what is wrong with a check. `targets` are those of the set's members, in its order.
  RelayService(Context& context, RelaySettings settings, RelayState& state, std::shared_ptr<const BackendSet> set,
               std::vector<const Target*> targets);
  ~RelayService() override;

  StreamHandler* open(Stream& stream) noexcept override;
  // Its streams have no messages that could be too long: what is not taken is held back by pausing.
  std::size_t input_limit() const noexcept override { return ~std::size_t{0}; }
  void on_datagram(DatagramPeer& peer, std::span<const std::byte> data) noexcept override;
  void on_command(const Command& command, CommandAnswer& answer) noexcept override;
  void drain() noexcept override;

  // ---- For sessions ----
  Context& context() noexcept { return context_; }
  const RelaySettings& settings() const noexcept { return settings_; }
  RelayState& state() noexcept { return state_; }
  Random& random() noexcept { return random_; }
  Duration now() const noexcept { return context_.now(); }
  const Target& target(const Member& member) const noexcept { return *targets_[index_of(member)]; }
  const SendProxySettings& send_proxy(const Member& member) const noexcept {
    return settings_.send_proxy[index_of(member)];
  }

  // A place for a session: of the backend that on_choose names, or by the balancer.
  template <typename Session>  // Stream or DatagramPeer
  std::expected<Place, NoPlace> choose(const Session& session, std::span<const Backend* const> tried) noexcept;
  bool elsewhere(std::span<const Backend* const> tried) const noexcept { return balancer_.elsewhere(tried, now()); }
  // What a rule has to tell is added here, and published when the callback that runs ends with settle().
  Events& events() noexcept { return events_; }
  void publish() noexcept;

  WaitQueue& queue() noexcept { return queue_; }
  // Somebody waits: the tick looks after him.
  void waiting() noexcept { start_tick(); }

  // Null or empty: there are none.
  const FaultSet::Shared& faults() const noexcept { return faults_; }

  SessionList<StreamSession> streams;
  SessionList<UdpSession> peers;

 private:
  std::size_t index_of(const Member& member) const noexcept {
    return static_cast<std::size_t>(&member - set_->members().data());
  }
  void on_timer() noexcept override;  // the tick, or a place that became free
  void on_place_free() noexcept override { tick_->strike(); }
  void start_tick() noexcept;
  void serve_queue() noexcept;
  void take_faults() noexcept;
  bool fault_command(const Command& command, CommandAnswer& answer);
  bool backend_command(const Command& command, CommandAnswer& answer);

  Context& context_;
  const RelaySettings settings_;
  RelayState& state_;
  const std::shared_ptr<const BackendSet> set_;
  const std::vector<const Target*> targets_;
  Hook* const on_choose_;
  Random random_;
  Balancer balancer_;
  Events events_;
  TimerHandle tick_;
  WaitQueue queue_;
  std::unique_ptr<Prober> prober_;  // on the first worker
  FaultSet::Shared faults_;
  bool draining_ = false;
  bool ticking_ = false;
};

}  // namespace portolan::relay
