#include "transfer/incoming_file.h"

#include "base/file_status.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace portolan::transfer {
namespace {

// The kernel begins to write out so much at a time: it does not pile up until it stops whoever writes, and the fsync at the
// end is short.
constexpr std::uint64_t kWriteOut = 8 * 1024 * 1024;

}  // namespace

std::expected<IncomingFile, IncomingFile::Error> IncomingFile::open(FolderPointer folder, std::string name,
                                                                    bool create) {
  IncomingFile file;
  file.descriptor_.reset(::openat(folder->get(), name.c_str(),
                                  O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | (create ? O_CREAT : 0), 0600));
  if (!file.descriptor_) return std::unexpected(Error{false, std::strerror(errno)});
  if (::flock(file.descriptor_.get(), LOCK_EX | LOCK_NB) != 0) {
    return std::unexpected(Error{errno == EWOULDBLOCK, std::strerror(errno)});
  }
  // Whoever had it until now may have given it its name: then it is another file that is to be written.
  const auto here = file_status(file.descriptor_.get());
  const auto named = link_status(folder->get(), name.c_str());
  if (!here || !here->is_regular()) return std::unexpected(Error{false, "it is no regular file"});
  if (!named || !named->same_file(*here)) return std::unexpected(Error{true, "it has just become whole"});
  file.folder_ = std::move(folder);
  file.name_ = std::move(name);
  return file;
}

std::expected<void, std::string> IncomingFile::begin(std::uint64_t offset, std::uint64_t size) noexcept {
  const auto failed = [] { return std::unexpected(std::string(std::strerror(errno))); };
  if (::ftruncate(descriptor_.get(), static_cast<off_t>(offset)) != 0) return failed();
  position_ = write_out_from_ = offset;
  if (size > offset &&
      ::fallocate(descriptor_.get(), FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                  static_cast<off_t>(size - offset)) != 0 &&
      (errno == ENOSPC || errno == EDQUOT || errno == EFBIG)) {
    return failed();
  }
  return {};
}

std::expected<void, std::string> IncomingFile::write(std::span<const std::byte> data) noexcept {
  while (!data.empty()) {
    const ssize_t put = ::pwrite(descriptor_.get(), data.data(), data.size(), static_cast<off_t>(position_));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return std::unexpected(std::strerror(errno));
    position_ += static_cast<std::uint64_t>(put);
    data = data.subspan(static_cast<std::size_t>(put));
  }
  if (position_ - write_out_from_ >= kWriteOut) {
    ::sync_file_range(descriptor_.get(), static_cast<off_t>(write_out_from_),
                      static_cast<off_t>(position_ - write_out_from_), SYNC_FILE_RANGE_WRITE);
    write_out_from_ = position_;
  }
  return {};
}

std::expected<void, std::string> IncomingFile::add_hole(std::uint64_t size) noexcept {
  if (::ftruncate(descriptor_.get(), static_cast<off_t>(position_ + size)) != 0) {
    return std::unexpected(std::strerror(errno));
  }
  position_ += size;
  return {};
}

std::expected<std::size_t, std::string> IncomingFile::read(std::uint64_t offset,
                                                           std::span<std::byte> into) const noexcept {
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

}  // namespace portolan::transfer
