#include "splice_pipe.h"

#include <fcntl.h>
#include <unistd.h>

#include <new>
#include <utility>

namespace portolan {

namespace {

// As much as one splice moves; above it nothing was gained (measured), and below it the calls show.
constexpr int kPipeSize = 256 * 1024;
constexpr int kUsualPipeSize = 64 * 1024;

}  // namespace

std::unique_ptr<SplicePipe> SplicePipe::make() noexcept {
  int ends[2];
  if (pipe2(ends, O_NONBLOCK | O_CLOEXEC) != 0) return nullptr;
  UniqueFd output(ends[0]);
  UniqueFd input(ends[1]);
  // Refused to a user who has many pipes already (pipe(7), pipe-user-pages-soft): then it stays as it is.
  const int size = fcntl(ends[1], F_SETPIPE_SZ, kPipeSize);
  return std::unique_ptr<SplicePipe>(new (std::nothrow) SplicePipe(
      std::move(output), std::move(input), static_cast<std::size_t>(size > 0 ? size : kUsualPipeSize)));
}

ssize_t SplicePipe::fill(int socket) noexcept {
  const ssize_t count =
      splice(socket, nullptr, input_.get(), nullptr, capacity_ - bytes_, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
  if (count > 0) bytes_ += static_cast<std::size_t>(count);
  return count;
}

ssize_t SplicePipe::drain(int socket) noexcept {
  const ssize_t count = splice(output_.get(), nullptr, socket, nullptr, bytes_, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
  if (count > 0) bytes_ -= static_cast<std::size_t>(count);
  return count;
}

ssize_t SplicePipe::read(std::byte* into, std::size_t size) noexcept {
  const ssize_t count = ::read(output_.get(), into, size);
  if (count > 0) bytes_ -= static_cast<std::size_t>(count);
  return count;
}

std::unique_ptr<SplicePipe> PipePool::take() noexcept {
  if (free_.empty()) return SplicePipe::make();
  auto pipe = std::move(free_.back());
  free_.pop_back();
  return pipe;
}

void PipePool::give_back(std::unique_ptr<SplicePipe> pipe) noexcept {
  if (free_.capacity() == 0) free_.reserve(kMostKept);
  if (pipe && pipe->bytes() == 0 && free_.size() < kMostKept) free_.push_back(std::move(pipe));
}

}  // namespace portolan
