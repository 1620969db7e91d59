// What the programs at the ends of the link bench share, whatever they speak: the file that they carry, and the
// messages whose latency is measured. Each is one process; what fails ends it with a line on stderr.
//
//   PROGRAM send FILE HOST PORT ...     PROGRAM receive FILE PORT ...
//   PROGRAM say COUNT HOST PORT ...     PROGRAM hear FILE PORT ...
//
// A file goes as its size (u64 BE) and its bytes; when the receiver has written all it answers kDone, and the sender
// ends with 0 when that has come. A message is 200 bytes and starts with its number and the moment at which it was due,
// on the monotonic clock that both ends share; `hear` writes a line `NUMBER MICROSECONDS` for each that came, and may
// be ended by SIGTERM.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string>
#include <thread>

namespace portolan::bench::peer {

inline constexpr char kDone = 'D';
inline constexpr std::size_t kMessageBytes = 200;
inline constexpr std::chrono::milliseconds kMessageEvery{10};

[[noreturn]] inline void give_up(const char* what) {
  std::fprintf(stderr, "%s: %s\n", what, std::strerror(errno));
  std::exit(1);
}

inline std::array<char, 8> big_endian(std::uint64_t value) {
  std::array<char, 8> bytes{};
  for (int i = 0; i < 8; ++i) bytes[i] = static_cast<char>(value >> (56 - 8 * i));
  return bytes;
}

inline std::uint64_t from_big_endian(const char* bytes) {
  std::uint64_t value = 0;
  for (int i = 0; i < 8; ++i) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

inline std::span<const char> map_file(const char* path) {
  const int fd = ::open(path, O_RDONLY);
  struct stat status{};
  if (fd < 0 || ::fstat(fd, &status) < 0) give_up(path);
  const auto size = static_cast<std::size_t>(status.st_size);
  void* at = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
  if (at == MAP_FAILED) give_up(path);
  return {static_cast<const char*>(at), size};
}

// Takes in what comes, first the size and then the file.
class FileReceiver {
 public:
  explicit FileReceiver(const char* path) : fd_(::open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600)) {
    if (fd_ < 0) give_up(path);
  }

  // True when all has come and is written.
  bool take(const char* data, std::size_t size) {
    while (header_ < sizeof size_ && size > 0) {
      size_ = size_ << 8 | static_cast<unsigned char>(*data++);
      ++header_;
      --size;
    }
    for (ssize_t written; size > 0; data += written, size -= static_cast<std::size_t>(written)) {
      if ((written = ::write(fd_, data, size)) < 0) give_up("write");
      come_ += static_cast<std::uint64_t>(written);
    }
    return header_ == sizeof size_ && come_ >= size_;
  }

 private:
  int fd_;
  std::uint64_t size_ = 0;
  std::size_t header_ = 0;
  std::uint64_t come_ = 0;
};

using Message = std::array<char, kMessageBytes>;

inline std::uint64_t monotonic_ns() {
  return static_cast<std::uint64_t>(
      std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count());
}

// One every kMessageEvery, whatever became of those before.
class MessageSource {
 public:
  std::chrono::steady_clock::time_point due() const { return begin_ + number_ * kMessageEvery; }

  Message next() {
    Message message{};
    const auto when = std::chrono::nanoseconds(due().time_since_epoch()).count();
    std::ranges::copy(big_endian(number_++), message.begin());
    std::ranges::copy(big_endian(static_cast<std::uint64_t>(when)), message.begin() + 8);
    return message;
  }

 private:
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
  std::uint64_t number_ = 0;
};

class LatencyFile {
 public:
  explicit LatencyFile(const char* path) : file_(std::fopen(path, "w")) {
    if (file_ == nullptr) give_up(path);
  }

  void add(const char* message) {
    const std::uint64_t late_ns = monotonic_ns() - from_big_endian(message + 8);
    std::fprintf(file_, "%" PRIu64 " %" PRIu64 "\n", from_big_endian(message), late_ns / 1000);
    std::fflush(file_);  // it ends by SIGTERM
  }

 private:
  std::FILE* file_;
};

}  // namespace portolan::bench::peer
