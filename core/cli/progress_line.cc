#include "cli/progress_line.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace portolan {
namespace {

bool redraws() noexcept {
  const char* terminal = std::getenv("TERM");
  return ::isatty(STDERR_FILENO) == 1 && terminal && std::string_view(terminal) != "dumb";
}

std::size_t columns() noexcept {
  winsize size{};
  return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col : 80;
}

}  // namespace

ProgressLine::ProgressLine() : terminal_(redraws()) {}
ProgressLine::~ProgressLine() { erase(); }

void ProgressLine::draw(const std::string& text) {
  if (!terminal_) return;
  // ASCII alone, so that a byte is a column.
  last_ = text.substr(0, std::min(text.size(), columns() - 1));
  fmt::print(stderr, "\r\x1b[K{}", last_);
  std::fflush(stderr);
  visible_ = true;
}

void ProgressLine::erase() {
  if (!visible_) return;
  fmt::print(stderr, "\r\x1b[K");
  std::fflush(stderr);
  visible_ = false;
}

void ProgressLine::print(std::string_view line) {
  erase();
  fmt::print("{}\n", line);
  std::fflush(stdout);
}

void ProgressLine::complain(std::string_view line) {
  erase();
  std::fflush(stdout);
  fmt::print(stderr, "{}\n", line);
}

}  // namespace portolan
