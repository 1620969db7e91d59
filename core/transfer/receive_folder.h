// The folder that files are received into: nothing leaves it, and it takes no more than it may.
//
// Every folder on the way to a file is opened by itself, without following a symbolic link (O_NOFOLLOW), so that neither a
// name nor a link that somebody has put there leads out of it. Shared by the sessions of one service or command; one thread.
#pragma once

#include "base/unique_fd.h"
#include "plugin/descriptor.h"

#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace portolan::transfer {

class Receiver;

// What becomes of a file whose name is taken by another. One that is the same, byte by byte, is left as it is and counts
// as sent, whatever this says.
enum class Existing : std::uint8_t {
  refuse,   // the default: nothing is lost that nobody asked to lose
  skip,     // it stays, and that is no failure
  replace,  // the new one takes its place, in one step
  rename,   // the new one goes beside it, as "name (1)"
};
std::optional<Existing> existing_of(std::string_view word) noexcept;

// 0: no bound.
struct ReceiveLimits {
  std::uint64_t max_file = 0;      // bytes of one file
  std::uint64_t max_transfer = 0;  // bytes of one transfer
  std::uint64_t max_files = 0;     // files and folders of one transfer
  std::uint64_t quota = 0;         // bytes that the folder may hold
  std::uint64_t keep_free = 0;     // bytes that stay free on its disk
};

struct ReceiveOptions {
  Existing existing = Existing::refuse;
  ReceiveLimits limits;
};

using FolderPointer = std::shared_ptr<const UniqueFd>;

class ReceiveFolder {
 public:
  // The error is a sentence. `create`: it is made when it is not there.
  static std::expected<std::unique_ptr<ReceiveFolder>, std::string> open(const std::string& path,
                                                                         const ReceiveOptions& options, bool create);

  const ReceiveOptions& options() const noexcept { return options_; }
  const std::string& path() const noexcept { return path_; }

  // `path` has been checked (check_path) or is "" for the folder itself. Folders that are not there are made, with `mode`,
  // when it is not 0. `made`: the last of them was.
  std::expected<FolderPointer, std::string> folder(std::string_view path, unsigned mode = 0, bool* made = nullptr);

  // Whether so many bytes more may come; the error is a sentence with the numbers.
  std::expected<void, std::string> admit(std::uint64_t bytes);
  // So many have been written.
  void add_used(std::uint64_t bytes) noexcept { used_ += bytes; }

  // Sessions under way, so that a new one finds who holds a file.
  void enter(Receiver& session) { sessions_.push_back(&session); }
  void leave(Receiver& session) noexcept { std::erase(sessions_, &session); }
  Receiver* holder(std::string_view partial_path) const noexcept;

  // Removes what never became whole and was not touched for so long. Answers how many.
  std::size_t remove_stale(Duration age);

 private:
  ReceiveFolder(std::string path, const ReceiveOptions& options) : path_(std::move(path)), options_(options) {}
  void measure();

  const std::string path_;
  const ReceiveOptions options_;
  FolderPointer root_;
  std::string last_path_;  // the folder that was opened last: files come folder by folder
  FolderPointer last_;
  std::vector<Receiver*> sessions_;
  std::uint64_t used_ = 0;  // bytes in the folder, if there is a quota
  Duration measured_at_{};
};

}  // namespace portolan::transfer
