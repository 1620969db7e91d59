// A peer that speaks one of the seed formats to the service: what it sends is acknowledged, and delivered once.
//
// Attached to its DatagramPeer by the service and deleted by on_end, when it has been quiet for datagram_timeout. One
// worker's thread.
#pragma once

#include "plugin/service.h"
#include "plugins/rudp/received_file.h"
#include "rudp/seed_file.h"
#include "rudp/seed_message.h"

#include <string>

namespace portolan::rudp_service {

class RudpService;

class SeedPeer : public DatagramHandler {
 public:
  virtual ~SeedPeer() = default;
  // May end the peer, and with it this.
  virtual void receive(std::span<const std::byte> datagram) noexcept = 0;
  void on_end() noexcept override { delete this; }

  // Null when out of memory.
  static SeedPeer* of_messages(RudpService& service, DatagramPeer& peer) noexcept;
  static SeedPeer* of_files(RudpService& service, DatagramPeer& peer) noexcept;
};

}  // namespace portolan::rudp_service
