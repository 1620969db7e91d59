// A file on its way in, under its partial name (partial_name in path_name.h) beside the place that it is for.
//
// It is written from its beginning to its end and nowhere else, so its own length tells how far it has come: the kernel
// keeps that through a kill of the process, and there is no journal beside it. What it holds is believed only as far as the
// sender's digests agree; what a power cut has lost shows there.
//
// One process has it open at a time (flock). One thread.
#pragma once

#include "base/unique_fd.h"
#include "transfer/receive_folder.h"

#include <cstddef>
#include <cstdint>
#include <expected>
#include <span>
#include <string>

namespace portolan::transfer {

class IncomingFile {
 public:
  struct Error {
    bool busy = false;  // somebody else is writing it
    std::string text;   // the system's words
  };
  IncomingFile() = default;
  static std::expected<IncomingFile, Error> open(FolderPointer folder, std::string name, bool create);

  // What follows is written at `offset`; what was behind it is gone. `size`: room for so much is taken on the disk now,
  // so that a full one shows before the data comes; 0: none. Without a word where the file system does not know how.
  std::expected<void, std::string> begin(std::uint64_t offset, std::uint64_t size) noexcept;
  std::expected<void, std::string> write(std::span<const std::byte> data) noexcept;
  std::expected<void, std::string> add_hole(std::uint64_t size) noexcept;
  std::uint64_t position() const noexcept { return position_; }
  // For the hash of what is there.
  std::expected<std::size_t, std::string> read(std::uint64_t offset, std::span<std::byte> into) const noexcept;

  const FolderPointer& folder() const noexcept { return folder_; }
  const std::string& name() const noexcept { return name_; }
  UniqueFd release() noexcept { return std::move(descriptor_); }

 private:
  FolderPointer folder_;
  std::string name_;
  UniqueFd descriptor_;
  std::uint64_t position_ = 0;
  std::uint64_t write_out_from_ = 0;
};

}  // namespace portolan::transfer
