// A pipe through which splice(2) moves bytes from one socket to another without copying them, and a worker's store of
// such pipes: making one costs more than moving a megabyte through it. One worker's thread.
#pragma once

#include "base/unique_fd.h"

#include <sys/types.h>

#include <cstddef>
#include <memory>
#include <vector>

namespace portolan {

class SplicePipe {
 public:
  // Null when the system has none left (descriptors, or the user's pages of pipes).
  static std::unique_ptr<SplicePipe> make() noexcept;

  // As splice(2): bytes moved, 0 at the end of the socket's input, -1 with errno. EAGAIN of fill means an empty socket only
  // when the pipe is empty: it may also be full before it holds capacity() bytes, since small segments take a page each.
  ssize_t fill(int socket) noexcept;
  ssize_t drain(int socket) noexcept;
  // Reads what is in it, at most `size` bytes.
  ssize_t read(std::byte* into, std::size_t size) noexcept;

  std::size_t bytes() const noexcept { return bytes_; }
  std::size_t capacity() const noexcept { return capacity_; }

 private:
  SplicePipe(UniqueFd output, UniqueFd input, std::size_t capacity)
      : output_(std::move(output)), input_(std::move(input)), capacity_(capacity) {}
  UniqueFd output_;
  UniqueFd input_;
  std::size_t capacity_;
  std::size_t bytes_ = 0;
};

class PipePool {
 public:
  std::unique_ptr<SplicePipe> take() noexcept;
  // One that is not empty is closed.
  void give_back(std::unique_ptr<SplicePipe> pipe) noexcept;

 private:
  // Enough for as many streams as are in the middle of a turn or wait for a slow reader; two descriptors each.
  static constexpr std::size_t kMostKept = 64;
  std::vector<std::unique_ptr<SplicePipe>> free_;
};

}  // namespace portolan
