// The daemon: reads the configuration, binds, drops privileges, starts store and workers, and then waits on the main
// thread for signals and the admin API.
//
// A reload builds the next generation whole, on every worker, before anything changes: whatever goes wrong until then
// leaves the old one serving. core/app/README.md tells the whole course.
#pragma once

#include "base/log.h"
#include "plugin/service.h"

#include <optional>
#include <string>

namespace portolan {

struct RunOptions {
  std::string config_file;
  std::string state_dir;  // over the configuration's; empty: as it says
  bool daemonize = false;
  std::string pid_file;
  log::Format log_format = log::Format::automatic;
  std::optional<LogLevel> log_level;  // over the configuration's
};

// Runs until it is told to stop. The answer is the exit code: 0, or 1 when it could not start.
int run_daemon(const RunOptions& options);

}  // namespace portolan
