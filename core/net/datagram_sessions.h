// The sessions of a service's datagram listeners: a peer by its address and port, until it has been quiet for
// datagram_timeout. Owned by the instance; one worker's thread.
#pragma once

#include "net/address.h"
#include "net/datagram_batch.h"
#include "net/timeout_queue.h"
#include "plugin/service.h"

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

namespace portolan {

class DatagramOrigin;
class Instance;
struct ClientEntry;
struct SessionStatus;

// As the plugin sees it: a peer.
class DatagramSession final : public TimeoutNode, public DatagramPeer, public DatagramSender {
 public:
  DatagramSession(Instance& instance, DatagramOrigin& origin, const Address& peer, ClientEntry* client) noexcept;
  ~DatagramSession();

  void reply(std::span<const std::byte> data) noexcept override;
  void refuse(Refusal reason) noexcept override;
  void attach(DatagramHandler& handler) noexcept override { handler_ = &handler; }
  DatagramHandler* handler() const noexcept override { return handler_; }
  void end() noexcept override;
  NetAddress peer_address() const noexcept override { return peer.plain(); }
  Transport transport() const noexcept override { return transport_; }
  SessionInfo info() const noexcept override;
  using DatagramPeer::reply;

  void sent(std::size_t bytes) noexcept override;
  void not_sent(int error_number) noexcept override;

  Instance& instance;
  DatagramOrigin* origin;  // that its last datagram came by; null: it has gone
  const Transport transport_;
  const Address peer;
  Address local;  // that its last datagram came to, on a wildcard listener
  ClientEntry* const client;
  const std::uint64_t id;
  const Duration started;
  Duration last_activity;
  std::uint64_t bytes_in = 0;
  std::uint64_t bytes_out = 0;
  std::uint64_t messages = 0;

 private:
  DatagramHandler* handler_ = nullptr;
  mutable std::unique_ptr<std::string> peer_text_;
};

class DatagramSessions {
 public:
  explicit DatagramSessions(Instance& instance) : instance_(instance) {}
  ~DatagramSessions() { end_all(); }
  DatagramSession* find(const Address& peer) noexcept;
  // Null when the limits refuse it (counted).
  DatagramSession* begin(const Address& peer, DatagramOrigin& origin) noexcept;
  void end(DatagramSession& session) noexcept;
  void end_all() noexcept;
  void end_of(const Address& client) noexcept;
  // Those that no plugin keeps.
  void end_unattached() noexcept;
  void leave(const DatagramOrigin& origin) noexcept;
  std::size_t size() const noexcept { return sessions_.size(); }
  void list(std::size_t limit, std::vector<SessionStatus>& out) const;

 private:
  struct Hash {
    std::size_t operator()(const Address& address) const noexcept { return static_cast<std::size_t>(address.hash()); }
  };
  Instance& instance_;
  std::unordered_map<Address, std::unique_ptr<DatagramSession>, Hash> sessions_;
  DatagramSession* latest_ = nullptr;  // datagrams come in runs from one peer
};

}  // namespace portolan
