// A file on its way in: written under a temporary name, synced, and renamed when it is whole. Goes with its temporary when
// it is let go of before that.
//
// One thread. Names are made here, from the time and the peer: the seed format has none.
#pragma once

#include "base/unique_fd.h"

#include <cstddef>
#include <cstdint>
#include <expected>
#include <span>
#include <string>
#include <string_view>

namespace portolan::rudp_service {

class ReceivedFile {
 public:
  ReceivedFile() = default;
  ~ReceivedFile() { drop(); }
  ReceivedFile(ReceivedFile&& other) noexcept { *this = std::move(other); }
  ReceivedFile& operator=(ReceivedFile&& other) noexcept;

  // The errors are sentences.
  // `keep_free`: bytes of the file system that it leaves to others; looked at every mebibyte.
  std::expected<void, std::string> begin(const std::string& folder, std::string_view peer, std::uint64_t keep_free);
  std::expected<void, std::string> write(std::span<const std::byte> data);
  std::expected<void, std::string> finish();

  explicit operator bool() const noexcept { return static_cast<bool>(descriptor_); }
  std::uint64_t size() const noexcept { return size_; }
  const std::string& name() const noexcept { return name_; }  // in its folder

 private:
  void drop() noexcept;
  std::expected<void, std::string> look_for_room() const;
  std::string temporary() const { return folder_ + "/." + name_ + ".part"; }

  UniqueFd descriptor_;
  std::string folder_;
  std::string name_;
  std::uint64_t size_ = 0;
  std::uint64_t keep_free_ = 0;
  std::uint64_t room_until_ = 0;  // size up to which there was room
};

}  // namespace portolan::rudp_service
