#include "transfer/receive_folder.h"

#include "base/clock.h"
#include "base/file_status.h"
#include "base/units.h"
#include "transfer/path_name.h"
#include "transfer/receiver.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <functional>

namespace portolan::transfer {
namespace {

constexpr int kFolderFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
constexpr std::size_t kMostMeasured = 1'000'000;
constexpr Duration kMeasureAgain = std::chrono::seconds(10);

// Calls `visit(folder, name, status)` for every file below, without following links.
void visit_files(int folder, std::size_t depth, std::size_t& left,
                 const std::function<void(int, const char*, const FileStatus&)>& visit) {
  DIR* open = ::fdopendir(folder);
  if (!open) {
    ::close(folder);
    return;
  }
  while (const dirent* found = ::readdir(open)) {
    const std::string_view name = found->d_name;
    if (name == "." || name == "..") continue;
    if (left == 0) break;
    --left;
    const auto status = link_status(folder, found->d_name);
    if (!status) continue;
    if (status->is_regular()) visit(folder, found->d_name, *status);
    if (!status->is_directory() || depth == kMaxDepth) continue;
    if (const int below = ::openat(folder, found->d_name, kFolderFlags); below >= 0) {
      visit_files(below, depth + 1, left, visit);
    }
  }
  ::closedir(open);
}

std::string size_text(std::uint64_t bytes) { return format_size(static_cast<std::int64_t>(bytes)); }

}  // namespace

std::optional<Existing> existing_of(std::string_view word) noexcept {
  if (word == "refuse") return Existing::refuse;
  if (word == "skip") return Existing::skip;
  if (word == "replace") return Existing::replace;
  if (word == "rename") return Existing::rename;
  return std::nullopt;
}

std::expected<std::unique_ptr<ReceiveFolder>, std::string> ReceiveFolder::open(const std::string& path,
                                                                               const ReceiveOptions& options,
                                                                               bool create) {
  if (create && ::mkdir(path.c_str(), 0777) != 0 && errno != EEXIST) {
    return std::unexpected(fmt::format("cannot make the folder {}: {}", path, std::strerror(errno)));
  }
  // The folder itself may be a link: its owner has put it there.
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return std::unexpected(fmt::format("cannot open the folder {}: {}", path, std::strerror(errno)));
  std::unique_ptr<ReceiveFolder> folder(new ReceiveFolder(path, options));
  folder->root_ = std::make_shared<const UniqueFd>(descriptor);
  if (::faccessat(descriptor, ".", W_OK | X_OK, AT_EACCESS) != 0) {
    return std::unexpected(fmt::format("cannot write to the folder {}: {}", path, std::strerror(errno)));
  }
  folder->last_ = folder->root_;
  folder->measure();
  return folder;
}

std::expected<FolderPointer, std::string> ReceiveFolder::folder(std::string_view path, unsigned mode, bool* made) {
  if (made) *made = false;
  if (path.empty()) return root_;
  if (path == last_path_ && last_ && file_status(last_->get())->links > 0) return last_;
  FolderPointer at = root_;
  for (std::size_t from = 0; from < path.size();) {
    const std::size_t end = std::min(path.find('/', from), path.size());
    const std::string name(path.substr(from, end - from));
    from = end + 1;
    int next = ::openat(at->get(), name.c_str(), kFolderFlags);
    if (next < 0 && errno == ENOENT && mode != 0) {
      const bool done = ::mkdirat(at->get(), name.c_str(), mode) == 0;
      if (!done && errno != EEXIST) return std::unexpected(std::strerror(errno));
      if (made && done && from > path.size()) *made = true;
      next = ::openat(at->get(), name.c_str(), kFolderFlags);
    }
    if (next < 0) {
      if (errno == ELOOP || errno == ENOTDIR) return std::unexpected("what is there of that name is no folder");
      return std::unexpected(std::strerror(errno));
    }
    at = std::make_shared<const UniqueFd>(next);
  }
  last_path_ = path;
  last_ = at;
  return at;
}

void ReceiveFolder::measure() {
  if (options_.limits.quota == 0) return;
  measured_at_ = monotonic_now();
  used_ = 0;
  std::size_t left = kMostMeasured;
  visit_files(::openat(root_->get(), ".", kFolderFlags), 0, left,
              [this](int, const char*, const FileStatus& status) { used_ += std::min(status.size, status.allocated); });
}

std::expected<void, std::string> ReceiveFolder::admit(std::uint64_t bytes) {
  const ReceiveLimits& limits = options_.limits;
  if (limits.quota != 0 && used_ + bytes > limits.quota) {
    // Somebody may have taken files away.
    if (monotonic_now() - measured_at_ > kMeasureAgain) measure();
    if (used_ + bytes > limits.quota) {
      return std::unexpected(fmt::format("{} are needed, and the folder has {} of its quota of {} left",
                                         size_text(bytes), size_text(limits.quota - std::min(used_, limits.quota)),
                                         size_text(limits.quota)));
    }
  }
  struct statvfs disk{};
  if (::fstatvfs(root_->get(), &disk) != 0 || disk.f_blocks == 0) return {};
  const std::uint64_t free = std::uint64_t{disk.f_bavail} * disk.f_frsize;
  const std::uint64_t usable = free - std::min(free, limits.keep_free);
  if (bytes > usable) {
    return std::unexpected(fmt::format(
        "{} are needed, and {} are free on the disk{}", size_text(bytes), size_text(free),
        limits.keep_free ? fmt::format(", of which {} are to stay free", size_text(limits.keep_free)) : ""));
  }
  return {};
}

Receiver* ReceiveFolder::holder(std::string_view partial_path) const noexcept {
  for (Receiver* session : sessions_) {
    if (session->holds(partial_path)) return session;
  }
  return nullptr;
}

std::size_t ReceiveFolder::remove_stale(Duration age) {
  const std::int64_t before = unix_ms() / 1000 - std::chrono::duration_cast<std::chrono::seconds>(age).count();
  std::size_t removed = 0;
  std::size_t left = kMostMeasured;
  visit_files(::openat(root_->get(), ".", kFolderFlags), 0, left,
              [&](int folder, const char* name, const FileStatus& status) {
                if (!std::string_view(name).ends_with(kPartialEnding) || status.modified_seconds >= before) return;
                if (::unlinkat(folder, name, 0) == 0) ++removed;
              });
  return removed;
}

}  // namespace portolan::transfer
