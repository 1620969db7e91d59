#include "plugins/rudp/received_file.h"

#include "base/clock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

namespace portolan::rudp_service {
namespace {

constexpr std::uint64_t kLook = 1024 * 1024;

std::unexpected<std::string> failed(std::string_view what, const std::string& path) {
  return std::unexpected(fmt::format("cannot {} {}: {}", what, path, std::strerror(errno)));
}

// "2026-11-26T07-30-05Z-192.0.2.7-4711": of characters that every file system has.
std::string name_for(std::string_view peer, unsigned attempt) {
  std::string name = fmt::format("{}-{}", iso_time(unix_ms() / 1000), peer);
  for (char& one : name) {
    const bool fits = (one >= '0' && one <= '9') || (one >= 'a' && one <= 'z') || (one >= 'A' && one <= 'Z') ||
                      one == '-' || one == '.';
    if (!fits) one = '-';
  }
  return attempt ? fmt::format("{}-{}", name, attempt) : name;
}

}  // namespace

ReceivedFile& ReceivedFile::operator=(ReceivedFile&& other) noexcept {
  if (this == &other) return *this;
  drop();
  descriptor_ = std::move(other.descriptor_);
  folder_ = std::move(other.folder_);
  name_ = std::move(other.name_);
  size_ = std::exchange(other.size_, 0);
  keep_free_ = other.keep_free_;
  room_until_ = other.room_until_;
  return *this;
}

void ReceivedFile::drop() noexcept {
  if (!descriptor_) return;
  descriptor_.reset();
  try {
    unlink(temporary().c_str());
  } catch (const std::bad_alloc&) {  // it stays, and its name says what it is
  }
}

std::expected<void, std::string> ReceivedFile::look_for_room() const {
  struct statvfs system{};
  if (statvfs(folder_.c_str(), &system) != 0) return failed("look at", folder_);
  const std::uint64_t free = std::uint64_t{system.f_bavail} * system.f_frsize;
  if (free < keep_free_ + kLook)
    return std::unexpected(fmt::format("{} has {} bytes left, and keep_free is {}", folder_, free, keep_free_));
  return {};
}

std::expected<void, std::string> ReceivedFile::begin(const std::string& folder, std::string_view peer,
                                                     std::uint64_t keep_free) {
  drop();
  folder_ = folder;
  size_ = 0;
  keep_free_ = keep_free;
  room_until_ = 0;
  for (unsigned attempt = 0; attempt < 100; ++attempt) {
    name_ = name_for(peer, attempt);
    const std::string path = folder_ + "/" + name_;
    if (access(path.c_str(), F_OK) == 0) continue;
    descriptor_.reset(open(temporary().c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0640));
    if (descriptor_) return {};
    if (errno != EEXIST) return failed("create", temporary());
  }
  errno = EEXIST;
  return failed("create", temporary());
}

std::expected<void, std::string> ReceivedFile::write(std::span<const std::byte> data) {
  if (size_ + data.size() > room_until_) {
    if (auto room = look_for_room(); !room) return room;
    room_until_ = size_ + kLook;
  }
  while (!data.empty()) {
    const ssize_t count = ::write(descriptor_.get(), data.data(), data.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return failed("write", temporary());
    size_ += static_cast<std::uint64_t>(count);
    data = data.subspan(static_cast<std::size_t>(count));
  }
  return {};
}

std::expected<void, std::string> ReceivedFile::finish() {
  const std::string path = folder_ + "/" + name_;
  if (fsync(descriptor_.get()) != 0) return failed("write", temporary());
  if (rename(temporary().c_str(), path.c_str()) != 0) return failed("rename", temporary());
  descriptor_.reset();
  // The name, too, outlives a power cut.
  const UniqueFd directory(open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory || fsync(directory.get()) != 0) return failed("sync", folder_);
  return {};
}

}  // namespace portolan::rudp_service
