// A closed loop of whole connections: connect, send one message, check the answer, close; 64 at a time.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "net.h"

namespace portolan::bench {

enum class Closing : std::uint8_t { kFin, kReset };

class ConnectLoad {
 public:
  static constexpr std::size_t kMessageSize = 64;
  static constexpr int kAtOnce = 64;
  // The client closes first, so every connection that ends by FIN leaves a port in TIME_WAIT for a minute. A server has a new
  // port in every round and a load stays well below one range of client ports, so none is ever in the way of
  // the next.
  static constexpr std::uint64_t kMaxConnections = 8'000;

  explicit ConnectLoad(Closing closing = Closing::kFin) : closing_(closing) {}

  Result<void> open(const sockaddr_in& address);
  Result<Tally> run(const Bounds& bounds);

 private:
  struct Slot {
    Descriptor fd;
    std::array<char, kMessageSize> message;
    std::size_t received = 0;
    bool connected = false;
    Clock::time_point begun;
  };

  Result<void> begin(std::uint32_t index);
  Result<void> ask(std::uint32_t index, int operation);
  Result<bool> advance(std::uint32_t index);  // true when the connection has done its work

  Closing closing_;
  sockaddr_in address_{};
  Descriptor epoll_;
  std::vector<Slot> slots_;
  std::uint32_t next_tag_ = 0;
};

}  // namespace portolan::bench
