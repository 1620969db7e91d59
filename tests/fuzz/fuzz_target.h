// What every fuzz target has: the entry point that libFuzzer and run_corpus.cc call, a check that holds in every
// build, and a reader that takes an input apart.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

// Anything but a return is a finding.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace portolan::fuzz {

inline void check(bool condition, const char* what) noexcept {
  if (condition) return;
  std::fprintf(stderr, "fuzz target: does not hold: %s\n", what);
  std::abort();
}

// The first bytes of an input choose settings; the rest is what is tested.
class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size) noexcept : data_(data), size_(size) {}

  std::uint8_t byte() noexcept {
    if (size_ == 0) return 0;
    --size_;
    return *data_++;
  }
  std::string_view rest() const noexcept {
    return size_ ? std::string_view(reinterpret_cast<const char*>(data_), size_) : std::string_view();
  }

 private:
  const std::uint8_t* data_;
  std::size_t size_;
};

// Where to cut a stream: the same sequence for the same seed, everywhere.
class Cuts {
 public:
  explicit Cuts(std::uint8_t seed) noexcept : state_(seed * 2654435761U + 1U) {}
  // 1..most
  std::size_t next(std::size_t most) noexcept {
    state_ ^= state_ << 13U;
    state_ ^= state_ >> 17U;
    state_ ^= state_ << 5U;
    return 1 + state_ % most;
  }

 private:
  std::uint32_t state_;
};

}  // namespace portolan::fuzz
