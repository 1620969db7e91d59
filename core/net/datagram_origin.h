// Where datagrams of peers come from and answers to them go: a socket of UDP (datagram_port.h), or one of rudp (rudp_port.h).
// Hands each to its peer's session, after the limits.
//
// A reload points it at the next generation's instance; peers that a plugin keeps stay with the instance that they began
// with. One worker's thread.
#pragma once

#include "net/datagram_batch.h"

#include <vector>

namespace portolan {

class DatagramSession;
class Instance;

class DatagramOrigin {
 public:
  explicit DatagramOrigin(Transport transport) : transport_(transport) {}
  DatagramOrigin(const DatagramOrigin&) = delete;
  DatagramOrigin& operator=(const DatagramOrigin&) = delete;

  Transport transport() const noexcept { return transport_; }
  // What comes is this one's from now on.
  void point_to(Instance* instance) noexcept;
  // The instance goes: its sessions have ended.
  void forget(const Instance& instance) noexcept { std::erase(earlier_, &instance); }
  // False: refused. A peer's address is that of one session: what comes from it by another transport meanwhile is dropped.
  bool take(const DatagramBatch::Received& datagram) noexcept;
  // To the session's peer.
  virtual void send(DatagramSession& session, std::span<const std::byte> data) noexcept = 0;

 protected:
  ~DatagramOrigin();
  Instance* instance_ = nullptr;

 private:
  const Transport transport_;
  std::vector<Instance*> earlier_;  // that served here and still have peers
};

}  // namespace portolan
