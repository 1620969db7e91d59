// `portolan console`: lines of Lua into a running daemon, and what comes of them.
//
// Prints and answers the exit code (exit_code.h): kExitFailed when a line failed. Its end of the talk is admin/console.h.
#pragma once

#include "admin/console.h"
#include "cli/admin_client.h"

#include <string>
#include <vector>

namespace portolan {

struct ConsoleOptions {
  DaemonTarget target;
  std::vector<std::string> expressions;  // -e: these, and no others
  unsigned worker = 0;
  std::string service;
  Duration time = kConsoleTime;  // of a line
  bool json = false;
};

int console_command(const ConsoleOptions& options);

}  // namespace portolan
