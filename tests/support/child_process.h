// A program that a test runs: started, watched, ended, with everything under a deadline.
//
// Owned by the test's main thread, which must be the one that starts it: the kernel kills the child when the thread
// that forked it ends (PR_SET_PDEATHSIG), so that a crashed test leaves no daemon behind.
#pragma once

#include "support/waiting.h"

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <sys/types.h>

namespace portolan::testing {

struct LaunchOptions {
  std::string folder = {};                                            // working directory
  std::vector<std::pair<std::string, std::string>> environment = {};  // added to ours; an empty value removes
  std::function<void()> in_child = {};                                // between fork and exec
  int standard_input = -1;                                            // /dev/null when none
  int standard_output = -1;
  int standard_error = -1;
};

class ChildProcess {
 public:
  ChildProcess() = default;
  ~ChildProcess();  // kills
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  void start(const std::vector<std::string>& command, const LaunchOptions& options = {});
  bool started() const noexcept { return pid_ > 0; }
  pid_t pid() const noexcept { return pid_; }
  bool signal(int number) const;
  // The exit code, or 128 + the signal that ended it; nothing when it still runs at the deadline.
  std::optional<int> wait(Milliseconds patience = kPatience);
  bool running();
  void kill();  // and reap

 private:
  pid_t pid_ = -1;
  std::optional<int> result_;
};

struct CommandResult {
  int code = -1;  // -1: it did not end in time
  std::string output;
  std::string errors;
};

// Runs a command to its end.
CommandResult run_to_end(const std::vector<std::string>& command, LaunchOptions options = {},
                         Milliseconds patience = Milliseconds(20'000));

// What /proc says about a process; zeros when it is gone.
struct ProcessFacts {
  long resident_kib = 0;
  long threads = 0;
  long descriptors = 0;
  double cpu_seconds = 0;
};
ProcessFacts facts_of(pid_t pid);
// A line of /proc/PID/status without its key: "CapEff" -> "0000000000000400".
std::string status_of(pid_t pid, const std::string& key);

}  // namespace portolan::testing
