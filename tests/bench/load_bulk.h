// Streams in one direction, as fast as they are taken, to the sink of floor_sink.cc: it compares every byte and answers
// FIN with how many there were. A request is a kilobyte here, 1000 bytes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bulk_pattern.h"
#include "net.h"

namespace portolan::bench {

class BulkLoad {
 public:
  static constexpr std::size_t kWriteSize = BulkPattern::kMaxSlice;
  static constexpr std::uint64_t kMaxKilobytes = 8'000'000;

  explicit BulkLoad(int streams) : streams_(static_cast<std::size_t>(streams)) {}

  Result<void> open(const sockaddr_in& address);
  Result<Tally> run(const Bounds& bounds);

 private:
  struct Stream {
    Descriptor fd;
    std::uint64_t sent = 0;
    bool ended = false;
    std::string answer;
  };

  Result<void> begin(std::uint32_t index);
  Result<void> write(std::uint32_t index);
  Result<void> end(std::uint32_t index);
  Result<bool> read_answer(Stream& stream);  // true when all of it is there, and right

  sockaddr_in address_{};
  Descriptor epoll_;
  std::vector<Stream> streams_;
  BulkPattern pattern_;
};

}  // namespace portolan::bench
