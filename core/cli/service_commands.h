// The commands that ask one service or order it about while it runs: command, backends, drain, undrain, fault.
//
// Each prints and answers the exit code (exit_code.h). What a service can do is what its plugin declares (the daemon's
// /status lists it), so none of them knows a plugin.
#pragma once

#include "cli/daemon_answer.h"

#include <string>
#include <vector>

namespace portolan {

// `words` are KEY=VALUE.
int command_command(const DaemonTarget& target, const std::string& service, const std::string& command,
                    const std::vector<std::string>& words, bool json);
// An empty service: all that have backends.
int backends_command(const DaemonTarget& target, const std::string& service, bool json);
// `order` is "drain" or "undrain"; an empty backend: the service as a whole.
int drain_command(const DaemonTarget& target, const std::string& order, const std::string& service,
                  const std::string& backend, bool json);
// `action` is "add", "list" or "remove".
int fault_command(const DaemonTarget& target, const std::string& action, const std::string& service,
                  const std::vector<std::string>& words, bool json);

// "2 of 3 backends up", for one of the services of /status; empty when it has no backends, or does not say.
std::string backends_summary(const DaemonTarget& target, const Answer& service);

}  // namespace portolan
