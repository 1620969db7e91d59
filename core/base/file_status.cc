#include "base/file_status.h"

#include <fcntl.h>

#include <ctime>

namespace portolan {
namespace {

static_assert(sizeof(std::time_t) == 8, "compile this file with _TIME_BITS=64, as CMakeLists.txt does");

FileStatus value_of(const struct stat& found) noexcept {
  return {.device = found.st_dev,
          .inode = found.st_ino,
          .size = static_cast<std::uint64_t>(found.st_size),
          .allocated = static_cast<std::uint64_t>(found.st_blocks) * 512,
          .modified_seconds = found.st_mtim.tv_sec,
          .modified_nanoseconds = found.st_mtim.tv_nsec,
          .mode = found.st_mode,
          .user = found.st_uid,
          .group = found.st_gid,
          .links = static_cast<std::uint32_t>(found.st_nlink)};
}

}  // namespace

std::optional<FileStatus> file_status(const char* path) noexcept {
  struct stat found{};
  if (::stat(path, &found) != 0) return std::nullopt;
  return value_of(found);
}

std::optional<FileStatus> file_status(const std::string& path) noexcept { return file_status(path.c_str()); }

std::optional<FileStatus> link_status(const char* path) noexcept {
  struct stat found{};
  if (::lstat(path, &found) != 0) return std::nullopt;
  return value_of(found);
}

std::optional<FileStatus> link_status(int directory, const char* name) noexcept {
  struct stat found{};
  if (::fstatat(directory, name, &found, AT_SYMLINK_NOFOLLOW) != 0) return std::nullopt;
  return value_of(found);
}

bool set_modified(int descriptor, std::int64_t seconds, std::int64_t nanoseconds) noexcept {
  using Nanoseconds = decltype(timespec{}.tv_nsec);
  const timespec times[2] = {{.tv_sec = 0, .tv_nsec = UTIME_OMIT},
                             {.tv_sec = seconds, .tv_nsec = static_cast<Nanoseconds>(nanoseconds)}};
  return ::futimens(descriptor, times) == 0;
}

std::optional<FileStatus> file_status(int descriptor) noexcept {
  struct stat found{};
  if (::fstat(descriptor, &found) != 0) return std::nullopt;
  return value_of(found);
}

}  // namespace portolan
