// A closed loop over UDP: every socket keeps a few datagrams under way. A datagram whose answer does not come
// is sent again and counted, so that a loss slows the loop down but does not end it.
#pragma once

#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <vector>

#include "net.h"

namespace portolan::bench {

class UdpLoad {
 public:
  static constexpr std::size_t kMessageSize = 64;
  // 64 x 2 small datagrams fit into the default receive buffer of a socket whoever is late; 64 x 4 hardly do.
  static constexpr unsigned kUnderWay = 2;
  static constexpr int kSockets = 64;

  Result<void> open(const sockaddr_in& address);
  Result<Tally> run(const Bounds& bounds);

 private:
  using Message = std::array<char, kMessageSize>;
  struct Slot {
    Message message;
    Clock::time_point sent;
    bool under_way = false;
  };
  struct Peer {
    Descriptor fd;
    std::array<Slot, kUnderWay> slots;
  };

  void renew(Slot& slot, unsigned index);
  Result<void> send_slots(Peer& peer, const std::array<bool, kUnderWay>& which);
  Result<void> serve(Peer& peer, bool more, Tally& tally);
  Result<void> repeat_lost(Tally& tally);

  Descriptor epoll_;
  std::vector<Peer> peers_;
  Clock::time_point now_;
  std::size_t under_way_ = 0;
  std::uint32_t next_tag_ = 0;
};

}  // namespace portolan::bench
