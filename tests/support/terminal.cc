#include "support/terminal.h"

#include <cstdio>
#include <cstdlib>

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

namespace portolan::testing {

Terminal::Terminal() {
  master_ = ::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  char name[128];
  if (master_ < 0 || ::grantpt(master_) != 0 || ::unlockpt(master_) != 0 ||
      ::ptsname_r(master_, name, sizeof name) != 0 || (slave_ = ::open(name, O_RDWR | O_NOCTTY | O_CLOEXEC)) < 0) {
    std::perror("a terminal");
    std::abort();
  }
  const winsize size{.ws_row = 40, .ws_col = 120, .ws_xpixel = 0, .ws_ypixel = 0};
  ::ioctl(slave_, TIOCSWINSZ, &size);
}

Terminal::~Terminal() {
  process_.kill();
  ::close(slave_);
  ::close(master_);
}

void Terminal::start(const std::vector<std::string>& command, LaunchOptions options) {
  options.standard_input = options.standard_output = options.standard_error = slave_;
  options.environment.insert(options.environment.begin(), {{"TERM", "xterm"}, {"LC_ALL", "C.UTF-8"}, {"NO_COLOR", ""}});
  options.in_child = [] {
    ::setsid();
    ::ioctl(0, TIOCSCTTY, 0);
  };
  process_.start(command, options);
}

bool Terminal::type(std::string_view keys) const {
  return ::write(master_, keys.data(), keys.size()) == static_cast<ssize_t>(keys.size());
}

void Terminal::read_for(int timeout_ms) {
  pollfd entry{.fd = master_, .events = POLLIN, .revents = 0};
  if (::poll(&entry, 1, timeout_ms) <= 0) return;
  char block[4096];
  const ssize_t count = ::read(master_, block, sizeof block);
  if (count > 0) screen_.append(block, static_cast<std::size_t>(count));
}

bool Terminal::shows(std::string_view text, Milliseconds patience) {
  const Deadline deadline(patience);
  for (;;) {
    const std::size_t found = screen_.find(text, seen_);
    if (found != std::string::npos) {
      seen_ = found + text.size();
      return true;
    }
    if (deadline.passed()) break;
    read_for(deadline.left_ms() < 50 ? deadline.left_ms() : 50);
  }
  std::fprintf(stderr, "not on the terminal: %.*s\nsince then: %s\n", static_cast<int>(text.size()), text.data(),
               screen_.substr(seen_).c_str());
  return false;
}

}  // namespace portolan::testing
