// What the process says to a script by its exit code. Part of the public interface: never renumber.
#pragma once

namespace portolan {

enum ExitCode : int {
  kExitOk = 0,
  kExitFailed = 1,    // refused, or it failed; standard error says why
  kExitUsage = 2,     // the command line makes no sense
  kExitNoDaemon = 3,  // no daemon answers
  kExitNotFound = 4,  // nothing by that name, or nothing in the range
};

}  // namespace portolan
