// The commands that ask a running daemon: reload, stop, status, sessions, bans, and where its store is.
//
// Each prints and answers the exit code (exit_code.h).
#pragma once

#include "cli/admin_client.h"

#include <cstdint>
#include <string>

namespace portolan {

int reload_command(const DaemonTarget& target);
// `wait_seconds` > 0: waits so long for the process to be gone.
int stop_command(const DaemonTarget& target, double wait_seconds);
int status_command(const DaemonTarget& target, bool json);
int sessions_command(const DaemonTarget& target, const std::string& service, std::uint32_t limit, bool json);
int bans_command(const DaemonTarget& target, bool json);
// An empty time or reason: as the daemon has it.
int ban_command(const DaemonTarget& target, const std::string& address, const std::string& time,
                const std::string& reason, bool json);
int unban_command(const DaemonTarget& target, const std::string& address, bool json);

// Has the daemon write what it holds, and answers where its database is. A daemon that cannot flush is complained of
// on standard error; its path is answered all the same.
std::expected<std::string, CommandFailure> flushed_store_path(const DaemonTarget& target);

}  // namespace portolan
