#include "transfer/source_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace portolan::transfer {

std::expected<SourceFile, std::string> SourceFile::open(const std::string& path) {
  SourceFile file;
  // O_NONBLOCK: what has become a FIFO meanwhile does not hold us up.
  file.descriptor_.reset(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!file.descriptor_) return std::unexpected(std::strerror(errno));
  const auto status = file_status(file.descriptor_.get());
  if (!status) return std::unexpected(std::strerror(errno));
  if (!status->is_regular()) return std::unexpected("it is no regular file");
  file.opened_as_ = *status;
  file.may_have_holes_ = status->allocated < status->size;
  ::posix_fadvise(file.descriptor_.get(), 0, 0, POSIX_FADV_SEQUENTIAL);
  return file;
}

bool SourceFile::unchanged() const noexcept {
  const auto now = file_status(descriptor_.get());
  return now && now->size == opened_as_.size && now->modified_seconds == opened_as_.modified_seconds &&
         now->modified_nanoseconds == opened_as_.modified_nanoseconds;
}

SourceFile::Extent SourceFile::extent(std::uint64_t offset) noexcept {
  const std::uint64_t rest = opened_as_.size - offset;
  if (!may_have_holes_) return {.hole = false, .size = rest};
  if (offset >= extent_start_ && offset < extent_end_) return {.hole = false, .size = extent_end_ - offset};
  const off_t data = ::lseek(descriptor_.get(), static_cast<off_t>(offset), SEEK_DATA);
  if (data < 0 && errno == ENXIO) return {.hole = true, .size = rest};  // nothing but a hole up to the end
  if (data < 0) {
    may_have_holes_ = false;
    return {.hole = false, .size = rest};
  }
  if (static_cast<std::uint64_t>(data) > offset) {
    return {.hole = true, .size = std::min(static_cast<std::uint64_t>(data) - offset, rest)};
  }
  const off_t hole = ::lseek(descriptor_.get(), static_cast<off_t>(offset), SEEK_HOLE);
  extent_start_ = offset;
  extent_end_ = hole < 0 ? opened_as_.size : std::min(static_cast<std::uint64_t>(hole), opened_as_.size);
  return {.hole = false, .size = std::max<std::uint64_t>(extent_end_ - offset, 1)};
}

std::expected<std::size_t, std::string> SourceFile::read(std::uint64_t offset, std::span<std::byte> into) noexcept {
  std::size_t done = 0;
  while (done < into.size()) {
    const ssize_t got =
        ::pread(descriptor_.get(), into.data() + done, into.size() - done, static_cast<off_t>(offset + done));
    if (got == 0) break;
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return std::unexpected(std::strerror(errno));
    done += static_cast<std::size_t>(got);
  }
  return done;
}

std::uint64_t SourceFile::data_bytes() noexcept {
  if (!may_have_holes_) return opened_as_.size;
  std::uint64_t data = 0;
  for (std::uint64_t at = 0; at < opened_as_.size;) {
    const Extent found = extent(at);
    if (!found.hole) data += found.size;
    at += found.size;
  }
  return data;
}

}  // namespace portolan::transfer
