// A file that is being sent: its bytes, its holes (SEEK_DATA, SEEK_HOLE), and whether it is still what it was.
//
// One thread, that of the sender. Reading blocks as long as the disk does; the kernel is told to read ahead.
#pragma once

#include "base/file_status.h"
#include "base/unique_fd.h"

#include <cstddef>
#include <cstdint>
#include <expected>
#include <span>
#include <string>

namespace portolan::transfer {

class SourceFile {
 public:
  SourceFile() = default;
  // Regular files alone. The error is the system's words.
  static std::expected<SourceFile, std::string> open(const std::string& path);

  bool is_open() const noexcept { return static_cast<bool>(descriptor_); }
  const FileStatus& opened_as() const noexcept { return opened_as_; }
  // Neither its size nor its time has changed since it was opened.
  bool unchanged() const noexcept;

  struct Extent {
    bool hole = false;
    std::uint64_t size = 0;
  };
  // What there is at `offset`, which lies within the file. A file system that knows no holes has none.
  Extent extent(std::uint64_t offset) noexcept;
  // Fewer bytes than asked for: the file ends there. The error is the system's words.
  std::expected<std::size_t, std::string> read(std::uint64_t offset, std::span<std::byte> into) noexcept;
  // Bytes that are no hole.
  std::uint64_t data_bytes() noexcept;

 private:
  UniqueFd descriptor_;
  FileStatus opened_as_;
  bool may_have_holes_ = false;
  std::uint64_t extent_end_ = 0;  // up to here, from where it was last asked, it is data
  std::uint64_t extent_start_ = 0;
};

}  // namespace portolan::transfer
