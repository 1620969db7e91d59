#include "cli/user_folders.h"

#include "base/file_status.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <system_error>

namespace portolan {

namespace {

// An absolute path without the slashes at its end; empty when the variable is not set, or relative.
std::string folder_in(const char* variable) {
  const char* value = std::getenv(variable);
  if (!value || *value != '/') return {};
  std::string path = value;
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  return path;
}

}  // namespace

std::expected<UserFolders, std::string> find_user_folders() {
  const std::string home = folder_in("HOME");
  std::string config = folder_in("XDG_CONFIG_HOME");
  std::string state = folder_in("XDG_STATE_HOME");
  if (home.empty() && (config.empty() || state.empty())) {
    return std::unexpected(
        "$HOME is not set to an absolute path: set it, or both $XDG_CONFIG_HOME and $XDG_STATE_HOME");
  }
  if (config.empty()) config = home + "/.config";
  if (state.empty()) state = home + "/.local/state";
  const std::string runtime = folder_in("XDG_RUNTIME_DIR");

  UserFolders folders;
  folders.config_file = config + "/portolan/portolan.lua";
  folders.state_dir = state + "/portolan";
  folders.runtime_is_state = runtime.empty();
  folders.runtime_dir = runtime.empty() ? folders.state_dir : runtime + "/portolan";
  return folders;
}

void use_user_folders(const UserFolders& folders) {
  ::setenv("STATE_DIRECTORY", folders.state_dir.c_str(), 1);
  ::setenv("RUNTIME_DIRECTORY", folders.runtime_dir.c_str(), 1);
}

std::string make_private_folder(const std::string& path) {
  for (std::size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
    const std::string folder = path.substr(0, end);
    if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) {
      const int error = errno;
      // On a way that we may walk but not look at, mkdir can fail although the folder is there.
      if (!file_status(folder)) {
        return fmt::format("cannot make the folder {}: {}", folder, std::strerror(error));
      }
    }
    if (end == std::string::npos) break;
  }
  const auto found = file_status(path);
  if (!found) return fmt::format("cannot look at {}: {}", path, std::strerror(errno));
  if (!found->is_directory()) return fmt::format("{} is not a folder: move it away", path);
  if (found->user != ::geteuid()) {
    return fmt::format("{} belongs to user {}, and this is user {}: the environment is somebody else's (sudo, su)?",
                       path, found->user, ::geteuid());
  }
  return {};
}

std::string installed_example() {
  std::error_code error;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return {};
  const std::filesystem::path example = program.parent_path().parent_path() / "share/doc/portolan/examples/default.lua";
  return file_status(example.string()) ? example.string() : std::string();
}

}  // namespace portolan
