// One worker's end of a rudp:// listener: each stream that a peer opens on one of its connections is a session of the
// instance that serves now, after the same limits as an accepted connection.
//
// A reload points it at the next generation's instance: sessions stay with the one that they began with, connections with
// the port, with the key and the other options that they began with. One worker's thread.
#pragma once

#include "net/datagram_origin.h"
#include "net/rudp_host.h"

namespace portolan {

class Instance;

class RudpPort final : public RudpHost {
 public:
  // Takes over a bound descriptor, one of `places` that share an address: that of the instance's worker. The error is a
  // sentence without the address.
  static std::expected<std::unique_ptr<RudpPort>, std::string> make(Loop& loop, int descriptor, unsigned places,
                                                                    Instance& instance);
  // Null: streams that come are refused.
  void serve(Instance* instance) noexcept;
  // The instance goes: its sessions have ended.
  void forget(const Instance& instance) noexcept;

 private:
  // What comes beside streams, for plugins that want it: messages, and datagrams that are not rudp's.
  class Datagrams final : public DatagramOrigin {
   public:
    Datagrams(RudpPort& port, Transport transport) : DatagramOrigin(transport), port_(port) {}
    void receive(const DatagramBatch::Received& datagram) noexcept;
    void send(DatagramSession& session, std::span<const std::byte> data) noexcept override;

   private:
    RudpPort& port_;
  };

  RudpPort(Loop& loop, unsigned places) : RudpHost(loop), places_(places) {}
  void on_foreign_datagram(const Address& from, const Address& to, std::span<const std::byte> data) noexcept override;
  void message(RudpLink& link, std::span<const std::byte> data) noexcept override;
  void forget(RudpLink& link) noexcept override;
  rudp::ConnectionHandler* on_connection(rudp::Connection& connection) noexcept override;
  void accept(RudpLink& link, rudp::StreamId id) noexcept override;

  const unsigned places_;
  Instance* instance_ = nullptr;
  Datagrams messages_{*this, Transport::rudp};
  Datagrams foreign_{*this, Transport::udp};
  struct Hash {
    std::size_t operator()(const Address& address) const noexcept { return static_cast<std::size_t>(address.hash()); }
  };
  std::unordered_map<Address, RudpLink*, Hash> speakers_;  // of messages, by their address
};

}  // namespace portolan
