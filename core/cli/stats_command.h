// `portolan stats`: a table, or JSON, of what the store knows.
//
// Reads the file itself (read-only, whether the daemon runs or not), prints to standard output, and complains to
// standard error. Exit codes: 0; 1 the database cannot be read; 4 the named service has nothing in the range.
#pragma once

#include "plugin/descriptor.h"
#include "store/report.h"

#include <string>

namespace portolan {

struct StatsCommandOptions {
  std::string path;                         // of the database
  std::string service = {};                 // empty: all
  Duration since = std::chrono::hours(24);  // how far back; 0: all that is kept
  bool json = false;
  Grouping by = Grouping::total;
  bool terminal = false;  // standard output is one: colours, lines, human units
};

int stats_command(const StatsCommandOptions& options);

}  // namespace portolan
