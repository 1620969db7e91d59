// `portolan console` against a test's daemon: run to its end, or talked with line by line.
//
// Main thread of the test. The expect functions fail the test, and print what there was instead.
#pragma once

#include "support/daemon.h"

#include <string>
#include <string_view>
#include <vector>

namespace portolan::testing {

CommandResult console(Daemon& daemon, std::vector<std::string> arguments);
// With -e for each.
CommandResult evaluate(Daemon& daemon, const std::vector<std::string>& expressions);
// From a file as standard input.
CommandResult feed(Daemon& daemon, std::string_view lines, std::vector<std::string> arguments = {});

void expect_output(const CommandResult& result, std::string_view output);  // and success, and no complaint
void expect_failure(const CommandResult& result, std::string_view said);   // exit code 1

// A console that stays, on pipes; what it prints and what it complains of are one.
class Talk {
 public:
  explicit Talk(Daemon& daemon, std::vector<std::string> arguments = {});
  ~Talk();
  Talk(const Talk&) = delete;
  Talk& operator=(const Talk&) = delete;

  bool send(std::string_view text) const;
  // The next line that it prints, without its end; empty when none came.
  std::string line();
  // Sends a line, and answers all that it prints until it is evaluated.
  std::string say(std::string_view line);
  // Up to its end.
  std::string rest();
  // Says that there is no more; the exit code, -1 when it does not end.
  int end();
  ChildProcess& process() noexcept { return process_; }

 private:
  bool receive(const Deadline& deadline);

  ChildProcess process_;
  int input_ = -1;   // we write there
  int output_ = -1;  // and read there
  std::string heard_;
  int said_ = 0;
};

}  // namespace portolan::testing
