// Connections that have each been answered once, so the server has seen them all, and then say nothing.
#pragma once

#include <vector>

#include "measure.h"
#include "net.h"

namespace portolan::bench {

class IdleLoad {
 public:
  explicit IdleLoad(const sockaddr_in& address) : address_(address) {}

  Result<void> open_more(int connections);

 private:
  sockaddr_in address_;
  std::vector<Descriptor> connections_;
};

// What each of so many idle connections costs in private memory (`cost`), and what all of it is (`rate`), in bytes.
Result<Sample> sample_memory(Process& server, const sockaddr_in& address, int connections);

// Connects, sends one message and waits for its echo.
Result<Descriptor> connect_and_ask(const sockaddr_in& address);

}  // namespace portolan::bench
