// The sessions of a service's datagram listeners: a peer by its address and port, until it has been quiet for
// idle_timeout. Owned by the instance; one worker's thread.
#pragma once

#include "net/address.h"
#include "net/timeout_queue.h"

#include <cstdint>
#include <unordered_map>
#include <vector>

namespace portolan {

class Instance;
struct ClientEntry;
struct SessionStatus;

struct DatagramSession : TimeoutNode {
  Address peer;
  ClientEntry* client = nullptr;
  std::uint64_t id = 0;
  Duration started{};
  Duration last_activity{};
  std::uint64_t bytes_in = 0;
  std::uint64_t bytes_out = 0;
  std::uint64_t messages = 0;
};

class DatagramSessions {
 public:
  explicit DatagramSessions(Instance& instance) : instance_(instance) {}
  ~DatagramSessions() { end_all(); }
  // The peer's session, begun when it is new; null when the limits refuse it (counted).
  DatagramSession* find_or_begin(const Address& peer) noexcept;
  void end(DatagramSession& session) noexcept;
  void end_all() noexcept;
  void end_of(const Address& client) noexcept;
  void list(std::size_t limit, std::vector<SessionStatus>& out) const;

 private:
  struct Hash {
    std::size_t operator()(const Address& address) const noexcept { return static_cast<std::size_t>(address.hash()); }
  };
  Instance& instance_;
  std::unordered_map<Address, DatagramSession, Hash> sessions_;
  DatagramSession* latest_ = nullptr;  // datagrams come in runs from one peer
};

}  // namespace portolan
