// What a console prints of what the daemon tells: values on standard output, failures and remarks on standard error.
//
// On a terminal nothing that a script or a peer has made up steers it, and failures are red. With --json standard output has
// values only.
#pragma once

#include "cli/console_link.h"

#include <string>
#include <string_view>
#include <vector>

namespace portolan {

class ConsolePrinter {
 public:
  explicit ConsolePrinter(bool json) : json_(json) {}

  void begin() noexcept { failed_ = false; }  // of a line
  void print(const ConsoleMessage& message);
  void error(std::string_view why);
  void finish();                                    // of a line: what was gathered is printed
  bool failed() const noexcept { return failed_; }  // since begin

  // Of rows, and of the JSON that they are else.
  static std::vector<std::string> first_column(std::string_view rows);
  static std::vector<std::string> names_of_json(const std::string& rows);

 private:
  static void print_rows(std::string_view rows);

  const bool json_;
  bool failed_ = false;
  std::vector<std::string> values_;  // of this line, not printed yet
};

}  // namespace portolan
