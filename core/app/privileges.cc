#include "app/privileges.h"

#include "base/log.h"

#include <fmt/format.h>
#include <grp.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <expected>
#include <fstream>
#include <optional>
#include <string_view>
#include <vector>

namespace portolan {

namespace {

struct Identity {
  std::optional<uid_t> user;
  std::optional<gid_t> group;
  std::vector<gid_t> groups;  // supplementary
};

std::optional<unsigned> number(std::string_view text) {
  unsigned value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  // The largest means "unchanged" to setresuid.
  if (error != std::errc{} || end != text.data() + text.size() || value == static_cast<unsigned>(-1))
    return std::nullopt;
  return value;
}

std::vector<std::string> split(const std::string& line, char separator) {
  std::vector<std::string> parts;
  std::size_t from = 0;
  for (std::size_t at; (at = line.find(separator, from)) != std::string::npos; from = at + 1) {
    parts.push_back(line.substr(from, at - from));
  }
  parts.push_back(line.substr(from));
  return parts;
}

// The fields of the line in /etc/passwd or /etc/group whose name is `name`, or whose number it is.
std::optional<std::vector<std::string>> entry_of(const char* file, const std::string& name) {
  std::ifstream lines(file);
  std::optional<std::vector<std::string>> by_number;
  for (std::string line; std::getline(lines, line);) {
    auto fields = split(line, ':');
    if (fields.size() < 4) continue;
    if (fields[0] == name) return fields;
    if (!by_number && number(name) && fields[2] == name) by_number = std::move(fields);
  }
  return by_number;
}

std::vector<gid_t> groups_with(const std::string& user_name) {
  std::vector<gid_t> groups;
  std::ifstream lines("/etc/group");
  for (std::string line; std::getline(lines, line);) {
    const auto fields = split(line, ':');
    if (fields.size() < 4) continue;
    for (const auto& member : split(fields[3], ',')) {
      const auto id = number(fields[2]);
      if (member == user_name && id) groups.push_back(*id);
    }
  }
  return groups;
}

std::expected<Identity, std::string> look_up(const std::string& user, const std::string& group) {
  Identity identity;
  if (!user.empty()) {
    if (const auto entry = entry_of("/etc/passwd", user)) {
      identity.user = number((*entry)[2]);
      identity.group = number((*entry)[3]);
      if (!identity.user || !identity.group) {
        return std::unexpected(fmt::format("user \"{}\": its line in /etc/passwd is damaged", user));
      }
      identity.groups = groups_with((*entry)[0]);
    } else if (const auto id = number(user)) {
      identity.user = *id;
      if (group.empty()) {
        return std::unexpected(fmt::format("user {} is not in /etc/passwd: give its group, too (`group`)", user));
      }
    } else {
      return std::unexpected(fmt::format(
          "user \"{}\" is not in /etc/passwd: make it (`useradd --system {}`), or choose another", user, user));
    }
  }
  if (!group.empty()) {
    if (const auto entry = entry_of("/etc/group", group)) {
      identity.group = number((*entry)[2]);
    } else {
      identity.group = number(group);
    }
    if (!identity.group) {
      return std::unexpected(fmt::format(
          "group \"{}\" is not in /etc/group: make it (`groupadd --system {}`), or choose another", group, group));
    }
  }
  return identity;
}

// Keeps CAP_NET_BIND_SERVICE of what this thread is permitted, and nothing else.
std::string limit_capabilities() {
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = {};
  if (::syscall(SYS_capget, &header, sets) != 0)
    return fmt::format("cannot read the capabilities: {}", std::strerror(errno));
  constexpr std::uint32_t kKept = 1U << CAP_NET_BIND_SERVICE;
  sets[0] = {.effective = sets[0].permitted & kKept, .permitted = sets[0].permitted & kKept, .inheritable = 0};
  sets[1] = {};
  // Fails where the kernel has no ambient set: then there is nothing to clear.
  ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  if (::syscall(SYS_capset, &header, sets) != 0)
    return fmt::format("cannot give up capabilities: {}", std::strerror(errno));
  return {};
}

std::string become(const Identity& identity) {
  const auto failed = [](std::string_view what) {
    return fmt::format("cannot drop privileges: {}: {}", what, std::strerror(errno));
  };
  // While we may: what is out of the bounding set no program that we start can get back.
  for (unsigned long capability = 0; ::prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; ++capability) {
    if (capability != CAP_NET_BIND_SERVICE) ::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
  }
  if (identity.group || identity.user) {
    if (::setgroups(identity.groups.size(), identity.groups.data()) != 0) return failed("setgroups");
  }
  if (identity.group && ::setresgid(*identity.group, *identity.group, *identity.group) != 0) return failed("setresgid");
  if (!identity.user) return {};
  if (::prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0) return failed("PR_SET_KEEPCAPS");
  if (::setresuid(*identity.user, *identity.user, *identity.user) != 0) return failed("setresuid");
  ::prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0);
  return {};
}

}  // namespace

std::string drop_privileges(const std::string& user, const std::string& group) {
  const auto identity = look_up(user, group);
  if (!identity) return "cannot drop privileges: " + identity.error();
  const bool root = ::geteuid() == 0;
  if (root) {
    if (user.empty() && group.empty()) {
      log::debug("stays root: the configuration names no `user` to become");
    } else if (std::string error = become(*identity); !error.empty()) {
      return error;
    }
  } else if ((identity->user && *identity->user != ::geteuid()) ||
             (identity->group && *identity->group != ::getegid())) {
    return fmt::format(
        "cannot become user \"{}\"{}: only root can; start as root, or as that user, or leave `user` away", user,
        group.empty() ? "" : fmt::format(" and group \"{}\"", group));
  }
  if (::geteuid() != 0) {
    if (std::string error = limit_capabilities(); !error.empty()) return error;
    if (root && (::setuid(0) == 0 || ::geteuid() == 0)) return "cannot drop privileges: root could be had back";
  }
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
    return fmt::format("cannot set no_new_privs: {}", std::strerror(errno));
  }
  return {};
}

std::string give_to_user(const std::string& path, const std::string& user, const std::string& group) {
  if (::geteuid() != 0 || (user.empty() && group.empty()) || path.empty() || path[0] == '@') return {};
  const auto identity = look_up(user, group);
  if (!identity) return identity.error();
  if (::lchown(path.c_str(), identity->user.value_or(static_cast<uid_t>(-1)),
               identity->group.value_or(static_cast<gid_t>(-1))) != 0) {
    return fmt::format("cannot hand {} to user \"{}\": {}", path, user, std::strerror(errno));
  }
  return {};
}

}  // namespace portolan
