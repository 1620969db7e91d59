#include "app/sd_notify.h"

#include "base/clock.h"
#include "base/unique_fd.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <charconv>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <optional>

namespace portolan {

namespace {

constexpr int kFirstInherited = 3;  // SD_LISTEN_FDS_START

std::optional<std::int64_t> number_in_environment(const char* name) noexcept {
  const char* text = std::getenv(name);
  if (!text || !*text) return std::nullopt;
  std::int64_t value = 0;
  const char* end = text + std::strlen(text);
  const auto [stopped, error] = std::from_chars(text, end, value);
  if (error != std::errc{} || stopped != end) return std::nullopt;
  return value;
}

}  // namespace

bool sd_notify(std::string_view state) noexcept {
  const char* path = std::getenv("NOTIFY_SOCKET");
  if (!path || (path[0] != '/' && path[0] != '@')) return false;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::size_t length = std::strlen(path);
  if (length < 2 || length >= sizeof address.sun_path) return false;
  std::memcpy(address.sun_path, path, length);
  if (path[0] == '@') address.sun_path[0] = '\0';
  const UniqueFd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket) return false;
  // Not waiting: a service manager that does not read is no reason to stop serving.
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + length);
  return ::sendto(socket.get(), state.data(), state.size(), MSG_NOSIGNAL | MSG_DONTWAIT,
                  reinterpret_cast<const sockaddr*>(&address), size) == static_cast<ssize_t>(state.size());
}

bool sd_notify_reloading() noexcept {
  char text[96];
  const int length = std::snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%lld",
                                   static_cast<long long>(monotonic_now().count() / 1000));
  return sd_notify({text, static_cast<std::size_t>(length)});
}

Duration watchdog_interval() noexcept {
  if (std::getenv("WATCHDOG_PID") && number_in_environment("WATCHDOG_PID") != getpid()) return Duration::zero();
  const auto microseconds = number_in_environment("WATCHDOG_USEC");
  constexpr std::int64_t kMost = std::int64_t{1} << 50;  // so that nanoseconds do not overflow
  if (!microseconds || *microseconds <= 0 || *microseconds > kMost) return Duration::zero();
  return std::chrono::microseconds(*microseconds);
}

std::vector<InheritedSocket> inherited_sockets() {
  std::vector<InheritedSocket> sockets;
  const auto process = number_in_environment("LISTEN_PID");
  const auto count = number_in_environment("LISTEN_FDS");
  // Meant for another process when the number differs: a shell between us and systemd, say.
  if (process == getpid() && count && *count > 0 && *count <= 4096) {
    const char* listed = std::getenv("LISTEN_FDNAMES");
    std::string_view names = listed ? listed : "";
    for (int descriptor = kFirstInherited; descriptor < kFirstInherited + static_cast<int>(*count); ++descriptor) {
      const std::string_view name = names.substr(0, names.find(':'));
      names.remove_prefix(std::min(names.size(), name.size() + 1));
      const int flags = fcntl(descriptor, F_GETFD);
      if (flags < 0) continue;
      fcntl(descriptor, F_SETFD, flags | FD_CLOEXEC);
      sockets.push_back({descriptor, name.empty() ? "unknown" : std::string(name)});
    }
  }
  for (const char* name : {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}) unsetenv(name);
  return sockets;
}

}  // namespace portolan
