#include "cli/admin_client.h"

#include "base/file_status.h"
#include "base/unique_fd.h"
#include "cli/exit_code.h"
#include "cli/user_folders.h"
#include "config/configuration.h"
#include "plugin/registry.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace portolan {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kMostAnswer = 64U << 20U;

bool exists(const std::string& path) { return file_status(path).has_value(); }

// Whether the descriptor is ready for `events` before the deadline.
bool ready(int descriptor, short events, Clock::time_point deadline) {
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) return false;
    pollfd entry{.fd = descriptor, .events = events, .revents = 0};
    const int count = ::poll(&entry, 1, static_cast<int>(std::min<long long>(left, 60'000)));
    if (count > 0) return true;
    if (count < 0 && errno != EINTR) return false;
  }
}

std::unexpected<CommandFailure> failed(int code, std::string message) {
  return std::unexpected(CommandFailure{code, std::move(message)});
}

// Connected, or the failure.
std::expected<UniqueFd, CommandFailure> connect_to(const std::string& path, Clock::time_point deadline) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) {
    return failed(kExitUsage, fmt::format("\"{}\" cannot be a unix socket: its path is empty or over {} bytes", path,
                                          sizeof address.sun_path - 1));
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  if (path[0] == '@') address.sun_path[0] = '\0';
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + (path[0] == '@' ? 0 : 1));
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return failed(kExitFailed, fmt::format("cannot make a socket: {}", std::strerror(errno)));
  while (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), size) != 0) {
    if (errno == EINTR) continue;
    // The daemon's queue is full: a unix socket has nothing to wait on, so try again shortly.
    if (errno == EAGAIN && Clock::now() < deadline) {
      ::poll(nullptr, 0, 20);
      continue;
    }
    if (errno == ECONNREFUSED || errno == ENOENT || errno == ENOTDIR) {
      return failed(
          kExitNoDaemon,
          fmt::format("no daemon answers at {}: {}; start one with `portolan run`, or say which is meant with "
                      "--socket or -c",
                      path, errno == ECONNREFUSED ? "nobody listens any more" : "there is no such socket"));
    }
    if (errno == EACCES || errno == EPERM) {
      return failed(kExitFailed,
                    fmt::format("{} may be used by the daemon's user and group only: become one of them", path));
    }
    return failed(kExitFailed, fmt::format("cannot connect to {}: {}", path, std::strerror(errno)));
  }
  return socket;
}

std::expected<std::string, CommandFailure> socket_named_in(const std::string& config_file) {
  Registry registry;
  const auto configuration = load_configuration(config_file, registry);
  if (!configuration) {
    return failed(kExitFailed, fmt::format("the configuration does not say where the daemon is:\n{}",
                                           format_problems(config_file, configuration.error())));
  }
  return configuration->admin_socket;
}

}  // namespace

std::expected<AdminAnswer, CommandFailure> parse_answer(const std::string& text, const std::string& path) {
  const std::size_t head_end = text.find("\r\n\r\n");
  AdminAnswer answer;
  const char* code = text.size() > 12 ? text.data() + 9 : nullptr;
  if (head_end == std::string::npos || !text.starts_with("HTTP/1.") || !code ||
      std::from_chars(code, code + 3, answer.status).ec != std::errc{}) {
    return failed(kExitFailed, fmt::format("what listens at {} does not answer like a portolan daemon", path));
  }
  answer.body = text.substr(head_end + 4);
  return answer;
}

std::expected<std::string, CommandFailure> find_admin_socket(const DaemonTarget& target) {
  if (!target.socket.empty()) return target.socket;
  const auto own = find_user_folders();
  if (target.user) {
    if (!own) return failed(kExitFailed, "--user: " + own.error());
    use_user_folders(*own);
  }
  if (!target.config_file.empty()) return socket_named_in(target.config_file);
  if (target.user) {
    // The configuration is asked second: it may be half edited while the daemon runs well.
    if (exists(own->admin_socket()) || !exists(own->config_file)) return own->admin_socket();
    return socket_named_in(own->config_file);
  }
  if (const char* path = std::getenv("PORTOLAN_SOCKET"); path && *path) return path;
  std::vector<std::string> places{"./portolan.sock"};
  if (own) places.push_back(own->admin_socket());
  places.emplace_back("/run/portolan/portolan.sock");
  for (const std::string& place : places) {
    if (exists(place)) return place;
  }
  return failed(kExitNoDaemon,
                fmt::format("no daemon answers: there is no {}; say where it is with --socket PATH, -c FILE "
                            "or $PORTOLAN_SOCKET",
                            fmt::join(places, ", no ")));
}

namespace {

std::unexpected<CommandFailure> too_late(const std::string& socket_path, Duration patience) {
  return failed(kExitFailed, fmt::format("the daemon at {} did not answer within {} s", socket_path,
                                         std::chrono::ceil<std::chrono::seconds>(patience).count()));
}

Clock::time_point after(Duration patience) {
  return Clock::now() + std::chrono::duration_cast<Clock::duration>(patience);
}

}  // namespace

std::expected<UniqueFd, CommandFailure> begin_asking(const std::string& socket_path, std::string_view method,
                                                     const std::string& target, Duration patience,
                                                     std::string_view body) {
  const Clock::time_point deadline = after(patience);
  auto socket = connect_to(socket_path, deadline);
  if (!socket) return std::unexpected(socket.error());
  const std::string request = fmt::format("{} {} HTTP/1.0\r\nHost: portolan\r\nContent-Length: {}\r\n\r\n{}", method,
                                          target, body.size(), body);
  for (std::string_view rest = request; !rest.empty();) {
    if (!ready(socket->get(), POLLOUT, deadline)) return too_late(socket_path, patience);
    const ssize_t count = ::send(socket->get(), rest.data(), rest.size(), MSG_NOSIGNAL);
    if (count < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (count < 0) return failed(kExitFailed, fmt::format("cannot ask the daemon: {}", std::strerror(errno)));
    rest.remove_prefix(static_cast<std::size_t>(count));
  }
  return socket;
}

std::expected<AdminAnswer, CommandFailure> ask_daemon(const std::string& socket_path, std::string_view method,
                                                      const std::string& target, Duration patience,
                                                      std::string_view body) {
  const Clock::time_point deadline = after(patience);
  const auto socket = begin_asking(socket_path, method, target, patience, body);
  if (!socket) return std::unexpected(socket.error());
  std::string text;
  for (;;) {
    if (!ready(socket->get(), POLLIN, deadline)) return too_late(socket_path, patience);
    char block[16 * 1024];
    const ssize_t count = ::recv(socket->get(), block, sizeof block, 0);
    if (count < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (count < 0)
      return failed(kExitFailed, fmt::format("the daemon went while it answered: {}", std::strerror(errno)));
    if (count == 0) break;
    text.append(block, static_cast<std::size_t>(count));
    if (text.size() > kMostAnswer) return failed(kExitFailed, "the daemon's answer is longer than 64 MiB");
  }
  return parse_answer(text, socket_path);
}

std::string percent_encoded(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                       c == '_' || c == '.' || c == '~';
    out += plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return out;
}

}  // namespace portolan
