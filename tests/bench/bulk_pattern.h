// The bytes of a bulk stream, the same for the load that sends them and the sink that compares them. The period is a
// prime, so that no page, segment or pipe that is lost, doubled or of another place fits. The first byte of a stream
// is its number and says where in the pattern it begins, so one of another stream does not fit either.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace portolan::bench {

class BulkPattern {
 public:
  static constexpr std::size_t kPeriod = 65'521;
  static constexpr std::size_t kMaxSlice = 256 * 1024;

  BulkPattern() : bytes_(kPeriod + kMaxSlice) {
    std::uint32_t state = 1;
    for (std::size_t i = 0; i < bytes_.size(); ++i) {
      state = state * 1'664'525 + 1'013'904'223;  // Numerical Recipes, section 7.1
      bytes_[i] = i < kPeriod ? static_cast<char>(state >> 24) : bytes_[i - kPeriod];
    }
  }

  // kMaxSlice bytes, of the stream of that number.
  const char* at(std::uint8_t stream, std::uint64_t position) const {
    return bytes_.data() + (stream * std::uint64_t{1021} + position) % kPeriod;
  }

 private:
  std::vector<char> bytes_;
};

}  // namespace portolan::bench
