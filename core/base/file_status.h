// What the system knows of a file: stat(2) with 64-bit sizes and times.
//
// Where time_t has 32 bits (armhf and armel of Debian 12), stat fails with EOVERFLOW for a file that was touched after
// 2038-01-19. So nothing else of ours calls it, nor what sets a file's time: tests/meta/times_test.sh looks. A value; any
// thread.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

namespace portolan {

// A file over 2 GiB (the store's, a log) is opened, written and looked at like any other.
static_assert(sizeof(off_t) == 8, "compile with _FILE_OFFSET_BITS=64, as CMakeLists.txt does");

struct FileStatus {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::uint64_t size = 0;             // bytes
  std::uint64_t allocated = 0;        // bytes of the disk; less than `size`: it has holes
  std::int64_t modified_seconds = 0;  // since 1970
  std::int64_t modified_nanoseconds = 0;
  std::uint32_t mode = 0;  // type and permissions, for S_ISREG and its like
  std::uint32_t user = 0;
  std::uint32_t group = 0;
  std::uint32_t links = 0;

  bool is_regular() const noexcept { return S_ISREG(mode); }
  bool is_directory() const noexcept { return S_ISDIR(mode); }
  bool is_link() const noexcept { return S_ISLNK(mode); }
  bool is_socket() const noexcept { return S_ISSOCK(mode); }
  bool same_file(const FileStatus& other) const noexcept { return device == other.device && inode == other.inode; }
};

// Of the file that the path leads to, or that is open as the descriptor. Nothing: errno says why.
std::optional<FileStatus> file_status(const std::string& path) noexcept;
std::optional<FileStatus> file_status(const char* path) noexcept;
std::optional<FileStatus> file_status(int descriptor) noexcept;
// Of a symbolic link itself, where the path is one.
std::optional<FileStatus> link_status(const char* path) noexcept;
// Likewise, of a name in an open directory.
std::optional<FileStatus> link_status(int directory, const char* name) noexcept;

// Sets when the open file was modified. False: errno says why.
bool set_modified(int descriptor, std::int64_t seconds, std::int64_t nanoseconds) noexcept;

}  // namespace portolan
