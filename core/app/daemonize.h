// Leaving the terminal (`run --daemon`) and the pid file.
//
// The process that the user started waits until its grandchild, the daemon, is ready or has failed, and ends with
// its exit code: what the daemon prints until then is seen, and `portolan run --daemon && client` works.
// Main thread, before any other thread and before anything that a fork would tear apart (an event loop).
#pragma once

#include "base/unique_fd.h"

#include <sys/types.h>

#include <string>

namespace portolan {

// A locked file with our process id in it. The lock decides who runs; a file that a crash left behind is taken over.
class PidFile {
 public:
  PidFile() = default;
  PidFile(const PidFile&) = delete;
  PidFile& operator=(const PidFile&) = delete;
  ~PidFile();  // removes the file, when it is this process that wrote itself into it

  // The error is a sentence: who holds it, or why it cannot be made.
  std::string claim(const std::string& path);
  // Writes this process's id: after the last fork.
  std::string write();

 private:
  std::string path_;
  UniqueFd file_;
  pid_t owner_ = 0;
};

class Daemonizer {
 public:
  Daemonizer() = default;
  Daemonizer(const Daemonizer&) = delete;
  Daemonizer& operator=(const Daemonizer&) = delete;
  ~Daemonizer() { failed(); }  // unless it was ready

  // Claims the pid file (empty: none), and when `background`, goes there: returns in the daemon only. The answer is an
  // error, or empty. The working directory stays, since a reload reads the configuration by its relative path again.
  std::string begin(bool background, const std::string& pid_file);
  // The waiting process ends with 0. Standard input and output become /dev/null, and so does standard error unless it
  // was led to a file: the log goes on there.
  void ready() noexcept;
  // The waiting process ends with 1. What was wrong has been printed before.
  void failed() noexcept;

 private:
  UniqueFd waiting_;  // to the process that waits
  PidFile pid_file_;
};

}  // namespace portolan
