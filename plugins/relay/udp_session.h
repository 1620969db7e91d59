// A client's datagrams and the link to a backend that they are relayed over: a peer by its address and port.
//
// Ends when the peer has been quiet for datagram_timeout, when a new one takes its place, or when the backend says that
// nobody is there: the next datagram then begins a new one, with another backend. Deletes itself. Its service's thread.
#pragma once

#include "plugin/service.h"
#include "plugins/relay/backend_set.h"
#include "plugins/relay/fault_datagram.h"

#include <memory>

namespace portolan::relay {

class RelayService;

class UdpSession final : public DatagramHandler, private DatagramLinkHandler, private TimerHandler {
 public:
  // Null: no backend takes it (counted and logged).
  static UdpSession* begin(RelayService& service, DatagramPeer& peer) noexcept;

  UdpSession(RelayService& service, DatagramPeer& peer, Place place) noexcept;
  ~UdpSession();

  void from_client(std::span<const std::byte> data) noexcept;
  void faults_changed() noexcept;
  void on_end() noexcept override;

  UdpSession* previous_session = nullptr;
  UdpSession* next_session = nullptr;

 private:
  bool connect() noexcept;
  void on_datagram(std::span<const std::byte> data) noexcept override;
  void on_refused(NetError why) noexcept override;
  void on_timer() noexcept override;  // datagrams that a fault has delayed are due
  void pass_on() noexcept;

  struct Faults {
    Faults(RelayService& service, UdpSession& session, const FaultSet::Shared& set, std::uint64_t id);
    DatagramFaults to_backend;
    DatagramFaults to_client;
    TimerHandle timer;
  };

  RelayService& service_;
  DatagramPeer& peer_;
  Place place_;
  DatagramLink* link_ = nullptr;
  std::unique_ptr<Faults> faults_;
  bool answered_ = false;
};

}  // namespace portolan::relay
