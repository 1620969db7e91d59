// One question to a daemon's admin socket, and its answer: HTTP/1.0, blocking, with a deadline for the whole; or without,
// for an answer that comes piece by piece.
//
// For commands only, never in the daemon. Takes at most 64 MiB of answer.
#pragma once

#include "base/unique_fd.h"
#include "plugin/descriptor.h"

#include <expected>
#include <string>
#include <string_view>

namespace portolan {

// Which daemon is meant. Nothing of it set: the usual places.
struct DaemonTarget {
  std::string socket;       // --socket
  std::string config_file;  // -c: the configuration whose admin socket it is
  bool user = false;        // --user: our own, as `run --user` starts it
};

struct CommandFailure {
  int exit_code = 1;
  std::string message;
};

// The path of the admin socket: --socket, -c, --user, $PORTOLAN_SOCKET, else the first that exists of ./portolan.sock,
// the user's own (user_folders.h) and /run/portolan/portolan.sock.
std::expected<std::string, CommandFailure> find_admin_socket(const DaemonTarget& target);

struct AdminAnswer {
  int status = 0;
  std::string body;
};
// The failure is kExitNoDaemon when nobody listens, kExitFailed when it did not answer as it should.
std::expected<AdminAnswer, CommandFailure> ask_daemon(const std::string& socket_path, std::string_view method,
                                                      const std::string& target, Duration patience,
                                                      std::string_view body = {});
// Asks and does not wait for the answer: the socket, non-blocking, on which it comes.
std::expected<UniqueFd, CommandFailure> begin_asking(const std::string& socket_path, std::string_view method,
                                                     const std::string& target, Duration patience,
                                                     std::string_view body = {});

// All that a daemon at this path has sent; a failure when it is no HTTP.
std::expected<AdminAnswer, CommandFailure> parse_answer(const std::string& text, const std::string& path);

// "%20" and its like, for the value of a query.
std::string percent_encoded(std::string_view text);

}  // namespace portolan
