// Where a user's own daemon (`portolan run --user`) has its files: the XDG Base Directory Specification, 0.8.
//
// Read from the environment at every call; a relative path there is ignored, as the specification wants. Main thread,
// before there are others: use_user_folders writes to the environment.
#pragma once

#include <expected>
#include <string>

namespace portolan {

struct UserFolders {
  std::string config_file;        // $XDG_CONFIG_HOME/portolan/portolan.lua, in ~/.config by default
  std::string state_dir;          // $XDG_STATE_HOME/portolan, in ~/.local/state by default
  std::string runtime_dir;        // $XDG_RUNTIME_DIR/portolan, for the admin socket; without that: state_dir
  bool runtime_is_state = false;  // there is no XDG_RUNTIME_DIR
  std::string admin_socket() const { return runtime_dir + "/portolan.sock"; }
};

// The error says which variable is missing.
std::expected<UserFolders, std::string> find_user_folders();

// Has every configuration that is loaded from now on take these where it names no folder of its own, in the way that
// systemd says so to a system service: STATE_DIRECTORY and RUNTIME_DIRECTORY.
void use_user_folders(const UserFolders& folders);

// Makes the folder, and those above it that are missing, each for the user alone (0700). The error is a sentence, also
// when the folder is there and somebody else's; or empty.
std::string make_private_folder(const std::string& path);

// An installed configuration to begin with: default.lua in share/doc/portolan/examples beside the program's bin.
// Empty when there is none: the program was not installed.
std::string installed_example();

}  // namespace portolan
