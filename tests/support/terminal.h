// A terminal of a test's own: a program runs on it as if somebody sat there.
//
// Owned by the test's main thread; the program ends with it.
#pragma once

#include "support/child_process.h"
#include "support/waiting.h"

#include <string>
#include <string_view>
#include <vector>

namespace portolan::testing {

class Terminal {
 public:
  Terminal();
  ~Terminal();
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  // Its standard streams are the terminal, which controls it.
  void start(const std::vector<std::string>& command, LaunchOptions options = {});
  bool type(std::string_view keys) const;
  // Waits until this is on the screen, after what was waited for before; false at the deadline, with the screen printed.
  bool shows(std::string_view text, Milliseconds patience = kPatience);
  const std::string& screen() const noexcept { return screen_; }  // all that was written to it, escapes included
  ChildProcess& process() noexcept { return process_; }

 private:
  void read_for(int timeout_ms);

  int master_ = -1;
  int slave_ = -1;
  std::string screen_;
  std::size_t seen_ = 0;
  ChildProcess process_;
};

}  // namespace portolan::testing
