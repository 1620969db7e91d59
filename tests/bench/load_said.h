// As much as a small room can say: one member says line after line, and each of the others has to hear all of them, in
// their order and byte for byte.
//
// Two windows keep it honest. So few messages are under way that no queue of a receiver overflows; and where a file keeps
// what is said, the load is never further ahead of it than the server will hold in memory, and a run has ended when the
// file has all of it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "message_file.h"
#include "net.h"

namespace portolan::bench {

struct SaidShape {
  int members = 4;
  std::uint32_t at_once = 64;            // lines in one send
  std::uint32_t under_way = 512;         // said, and not yet heard by all
  std::uint32_t ahead_of_file = 50'000;  // said, and not yet in the file
  std::string file;                      // empty: none keeps it
};

class SaidLoad {
 public:
  explicit SaidLoad(SaidShape shape) : shape_(std::move(shape)) {}

  Result<void> open(const sockaddr_in& address);
  // A request is a message, heard by all and in the file. May be called again and again.
  Result<Tally> run(const Bounds& bounds);
  std::uint32_t said() const { return said_; }  // messages since it was opened, with the tags from 0 on

 private:
  struct Member {
    Descriptor fd;
    std::string kept;
    std::uint32_t heard = 0;
  };
  Result<void> enter(Member& member, int number);
  Result<void> say();
  Result<void> receive(Member& member);
  std::uint32_t heard_by_all() const;

  SaidShape shape_;
  Descriptor epoll_;
  std::vector<Member> members_;
  std::vector<char> buffer_;
  std::string block_;     // what is sent at once
  std::string expected_;  // what each of the others gets of a message
  std::uint32_t said_ = 0;
  std::uint32_t written_ = 0;  // of them in the file, when it was looked at last
  std::optional<MessageFile> file_;
};

}  // namespace portolan::bench
