// One line on a terminal that is drawn again and again, and lines above it that stay.
//
// It goes to standard error, so that standard output has results alone. Where that is no terminal nothing is redrawn: what is
// said is said in lines. Main thread of a command.
#pragma once

#include <string>
#include <string_view>

namespace portolan {

class ProgressLine {
 public:
  ProgressLine();
  ~ProgressLine();
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  bool drawn() const noexcept { return terminal_; }
  // In place of the one before; cut to the terminal's width.
  void draw(const std::string& text);
  void erase();
  // A line that stays, to standard output or error; escaped by the caller.
  void print(std::string_view line);
  void complain(std::string_view line);

 private:
  const bool terminal_;
  bool visible_ = false;
  std::string last_;
};

}  // namespace portolan
