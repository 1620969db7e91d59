// An open loop over a large room: members speak in turn, at a fixed pace, whatever has come of what was said before.
//
// The latency of a delivery counts from the moment at which its message was due. So a server that stands still, or a
// generator that is late, cannot hide behind messages that were not sent meanwhile. Each member has to hear each message
// once, byte for byte.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "net.h"

namespace portolan::bench {

struct PacedShape {
  int members = 5000;
  int per_second = 20;  // messages in the room, each to all other members
};

class PacedLoad {
 public:
  explicit PacedLoad(const PacedShape& shape) : shape_(shape) {}
  PacedLoad(const PacedLoad&) = delete;
  PacedLoad& operator=(const PacedLoad&) = delete;
  ~PacedLoad();

  Result<void> open(const sockaddr_in& address);
  // A request is a delivery. May be called again and again; between calls nothing is under way.
  Result<Tally> run(const Bounds& bounds);

 private:
  struct Member {
    Descriptor fd;
    std::string kept;  // received, not yet looked at
    bool waits = false;
    std::vector<bool> heard;  // of the messages of a run
  };
  struct Said {
    std::string expected;  // what each other member gets
    Clock::time_point due;
  };

  Result<void> enter(const sockaddr_in& address, int number);
  Result<void> read_until(std::string_view text, std::size_t first, std::size_t but);
  Result<void> say(int number, std::string_view line);
  Result<std::string_view> read(Member& member);
  Result<void> say_next(Tally& tally);
  Result<void> receive(Member& member, Tally& tally);

  PacedShape shape_;
  Descriptor epoll_;
  std::vector<Member> members_;
  std::vector<char> buffer_;
  std::vector<Said> said_;  // in this run
  std::uint32_t first_tag_ = 0;
  int next_sender_ = 0;
};

}  // namespace portolan::bench
