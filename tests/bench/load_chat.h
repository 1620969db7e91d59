// A closed loop over a room: each sender says something, waits until every other member has heard it, checks it byte by
// byte, and only then says more.
//
// Against a chat (a name, then lines) or an MQTT broker (version 3.1.1, a topic for a room, QoS 0), where a sender hears
// himself as well.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "net.h"

namespace portolan::bench {

// What is said in every load of a chat, with its line end: the tag of the message, and letters.
inline constexpr std::size_t kChatLineSize = 64;
std::string chat_line(std::uint32_t tag);

struct ChatShape {
  int members = 200;
  int senders = 10;  // of the members, the first
  bool mqtt = false;
};

class ChatLoad {
 public:
  explicit ChatLoad(const ChatShape& shape) : shape_(shape) {}

  Result<void> open(const sockaddr_in& address);
  // A request is a delivery. May be called again and again; between calls nothing is under way.
  Result<Tally> run(const Bounds& bounds);
  std::uint32_t said() const { return next_tag_; }  // messages since it was opened, with the tags from 0 on

 private:
  struct Member {
    Descriptor fd;
    std::string kept;  // received, not yet looked at
  };
  struct Sender {
    std::string request;
    std::string expected;  // what each member gets
    int missing = 0;       // deliveries until all have heard it
    Clock::time_point asked;
  };

  Result<void> enter(Member& member, int number);
  Result<void> say(int sender);
  Result<std::uint64_t> receive(Member& member, std::vector<int>& complete);

  ChatShape shape_;
  Descriptor epoll_;
  std::vector<Member> members_;
  std::vector<Sender> senders_;
  std::size_t sender_at_ = 0;  // where in a message its sender's number is
  std::vector<char> buffer_;
  std::uint32_t next_tag_ = 0;
};

}  // namespace portolan::bench
