// A closed loop over TCP: every connection sends a batch, waits for all of its answers, checks them byte by
// byte and sends the next. A batch of one is request and answer; a larger one is pipelining.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "net.h"

namespace portolan::bench {

enum class Framing : std::uint8_t {
  kRaw,         // the bytes come back
  kBinary,      // echo frames of the binary plugin come back
  kLines,       // lines come back
  kUpperLines,  // lines come back in upper case
};

struct TcpShape {
  int connections = 64;
  int batch = 1;
  Framing framing = Framing::kRaw;
  std::size_t message_size = 64;  // a frame's payload; a line with its end
};

class TcpLoad {
 public:
  explicit TcpLoad(const TcpShape& shape) : shape_(shape) {}

  Result<void> open(const sockaddr_in& address);
  // May be called again and again; between calls nothing is under way.
  Result<Tally> run(const Bounds& bounds);

 private:
  struct Connection {
    Descriptor fd;
    std::string request;
    std::string expected;
    std::size_t received = 0;
    Clock::time_point asked;
  };

  void compose(Connection& connection) const;
  Result<void> send_batch(Connection& connection);
  Result<bool> receive(Connection& connection);  // true when the batch is complete

  TcpShape shape_;
  Descriptor epoll_;
  std::vector<Connection> connections_;
  std::vector<std::size_t> tags_;  // where in a batch each message has its tag
  std::vector<char> buffer_;
  std::uint32_t next_tag_ = 0;
};

}  // namespace portolan::bench
