#include "transfer/source_tree.h"

#include "base/file_status.h"
#include "transfer/path_name.h"
#include "transfer/source_file.h"

#include <dirent.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <set>

namespace portolan::transfer {
namespace {

struct CloseFolder {
  void operator()(DIR* folder) const noexcept { ::closedir(folder); }
};

std::expected<std::vector<std::string>, std::string> names_in(const std::string& folder) {
  const std::unique_ptr<DIR, CloseFolder> open(::opendir(folder.c_str()));
  if (!open) return std::unexpected(std::strerror(errno));
  std::vector<std::string> names;
  for (errno = 0; const dirent* found = ::readdir(open.get()); errno = 0) {
    const std::string_view name = found->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  if (errno != 0) return std::unexpected(std::strerror(errno));
  std::ranges::sort(names);
  return names;
}

std::uint64_t data_of(const std::string& path, const FileStatus& status) {
  if (status.allocated >= status.size) return status.size;
  auto file = SourceFile::open(path);
  return file ? file->data_bytes() : status.size;
}

void describe(SourceEntry& entry, const FileStatus& status) {
  entry.mode = static_cast<std::uint16_t>(status.mode & 0777U);
  entry.modified_seconds = status.modified_seconds;
  entry.modified_nanoseconds = static_cast<std::uint32_t>(status.modified_nanoseconds);
  if (entry.kind == EntryKind::directory) return;
  entry.size = status.size;
  entry.data = data_of(entry.source, status);
}

class Walker {
 public:
  explicit Walker(const WalkOptions& options) : options_(options) {}

  std::expected<void, WalkError> add_named(const std::string& name) {
    const auto status = file_status(name);
    if (!status) {
      const bool absent = errno == ENOENT || errno == ENOTDIR;
      return std::unexpected(WalkError{absent, fmt::format("{}: {}", name, std::strerror(errno))});
    }
    std::string last = last_component(name);
    if (last.empty())
      return std::unexpected(WalkError{false, fmt::format("{}: has no name of its own to go by", name)});
    if (auto checked = check_path(last); !checked) {
      return std::unexpected(
          WalkError{false, fmt::format("{}: a receiver takes no such name: {}", name, checked.error())});
    }
    if (!status->is_regular() && !status->is_directory()) {
      return std::unexpected(WalkError{false, fmt::format("{}: is neither a file nor a folder", name)});
    }
    if (!taken_.insert(last).second) {
      return std::unexpected(WalkError{false, fmt::format("{}: something called {} is sent already", name, last)});
    }
    add(name, std::move(last), *status, 1);
    return {};
  }

  SourceTree take() { return std::move(tree_); }

 private:
  // Of "." and ".." that of where they lead.
  static std::string last_component(std::string name) {
    while (name.size() > 1 && name.ends_with('/')) name.pop_back();
    std::string last(split_path(name).name);
    if (last != "." && last != "..") return last;
    const std::unique_ptr<char, decltype(&std::free)> real(::realpath(name.c_str(), nullptr), &std::free);
    return real ? std::string(split_path(real.get()).name) : std::string();
  }

  void leave_out(const std::string& source, std::string_view why) {
    tree_.left_out.push_back(fmt::format("{}: left out: {}", source, why));
  }

  void add(const std::string& source, std::string path, const FileStatus& status, std::size_t depth) {
    SourceEntry entry{.source = source, .path = std::move(path)};
    entry.kind = status.is_directory() ? EntryKind::directory : EntryKind::file;
    describe(entry, status);
    if (entry.kind == EntryKind::file) {
      ++tree_.files;
      tree_.data += entry.data;
    }
    const std::string here = entry.path;
    tree_.entries.push_back(std::move(entry));
    if (status.is_directory()) add_folder(source, here, status, depth);
  }

  void add_folder(const std::string& source, const std::string& path, const FileStatus& status, std::size_t depth) {
    const auto names = names_in(source);
    if (!names) return leave_out(source, names.error());
    ancestors_.push_back({status.device, status.inode});
    for (const std::string& name : *names) {
      const std::string below = source.ends_with('/') ? source + name : source + "/" + name;
      const std::string below_path = path + "/" + name;
      auto found = link_status(below.c_str());
      if (found && found->is_link()) {
        if (!options_.follow_links) {
          leave_out(below, "a symbolic link (--follow-links sends what it leads to)");
          continue;
        }
        found = file_status(below);
      }
      if (!found) {
        leave_out(below, std::strerror(errno));
      } else if (!found->is_regular() && !found->is_directory()) {
        leave_out(below, "neither a file nor a folder");
      } else if (const auto checked = check_path(below_path); !checked) {
        leave_out(below, fmt::format("a receiver takes no such name: {}", checked.error()));
      } else if (found->is_directory() && is_ancestor(*found)) {
        leave_out(below, "it leads back to where it is in");
      } else {
        add(below, below_path, *found, depth + 1);
      }
    }
    ancestors_.pop_back();
  }

  struct Place {
    std::uint64_t device = 0;
    std::uint64_t inode = 0;
    friend bool operator==(const Place&, const Place&) = default;
  };
  bool is_ancestor(const FileStatus& folder) const {
    return std::ranges::find(ancestors_, Place{folder.device, folder.inode}) != ancestors_.end();
  }

  WalkOptions options_;
  SourceTree tree_;
  std::set<std::string> taken_;
  std::vector<Place> ancestors_;
};

}  // namespace

std::expected<SourceTree, WalkError> walk(std::span<const std::string> names, const WalkOptions& options) {
  Walker walker(options);
  for (const std::string& name : names) {
    if (auto added = walker.add_named(name); !added) return std::unexpected(std::move(added.error()));
  }
  return walker.take();
}

bool refresh(SourceEntry& entry) {
  const auto status = file_status(entry.source);
  if (!status || !status->is_regular()) return false;
  describe(entry, *status);
  entry.kept.reset();  // of another version
  return true;
}

}  // namespace portolan::transfer
