// Where a console's lines come from: a terminal with line editing, history and completion where this program was built with
// libedit, or plain lines from anything.
//
// While it waits for a line, what the daemon says is heard as well. For commands only; main thread.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace portolan {

// What stands for the end of what was typed.
struct Completion {
  std::size_t start = 0;           // of what is replaced
  std::vector<std::string> words;  // each instead of it
};

class ConsoleInput {
 public:
  enum class Got : std::uint8_t { line, end, interrupted };
  struct Surroundings {
    int interrupts = -1;              // a signalfd: readable after Ctrl-C
    int daemon = -1;                  // readable when it says something
    std::function<bool()> on_daemon;  // false: there is no more to hear, and no more to read
    std::function<Completion(std::string_view before_cursor)> complete;
    std::string history;  // the file; empty: none
  };

  virtual ~ConsoleInput() = default;
  // The line comes without its end. One that is too long for the daemon comes cut, but too long still.
  virtual Got read(const std::string& prompt, std::string& line) = 0;
  virtual void remember(const std::string& line) = 0;
};

// Lines from standard input. `prompts`: somebody looks.
std::unique_ptr<ConsoleInput> plain_input(ConsoleInput::Surroundings surroundings, bool prompts);
// From a terminal; where there is no line editing, plain lines.
std::unique_ptr<ConsoleInput> terminal_input(ConsoleInput::Surroundings surroundings);

// Waits until standard input (where `input`) or the daemon has something, or there was a Ctrl-C, which it takes.
struct Woken {
  bool input = false;
  bool daemon = false;
  bool interrupt = false;
};
Woken wait_for_any(const ConsoleInput::Surroundings& surroundings, bool input);

}  // namespace portolan
