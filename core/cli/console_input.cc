#include "cli/console_input.h"

#include "admin/console.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <utility>

namespace portolan {

namespace {

class PlainInput final : public ConsoleInput {
 public:
  PlainInput(Surroundings surroundings, bool prompts) : around_(std::move(surroundings)), prompts_(prompts) {}

  Got read(const std::string& prompt, std::string& line) override {
    show(prompt);
    while (!take_line(line)) {
      if (ended_) {
        if (input_.empty()) return Got::end;
        line = std::exchange(input_, {});
        return Got::line;
      }
      // What was answered so far is not kept from whoever reads it.
      std::fflush(stdout);
      const Woken woken = wait_for_any(around_, true);
      if (woken.interrupt) return Got::interrupted;
      if (woken.daemon) {
        if (prompts_) fmt::print("\n");
        if (!around_.on_daemon()) return Got::end;
        show(prompt);
      }
      if (woken.input) receive();
    }
    return Got::line;
  }
  void remember(const std::string&) override {}

 private:
  void show(const std::string& prompt) const {
    if (!prompts_) return;
    fmt::print("{}", prompt);
    std::fflush(stdout);
  }
  bool take_line(std::string& line) {
    const std::size_t end = input_.find('\n');
    if (end == std::string::npos) return false;
    line = input_.substr(0, end);
    input_.erase(0, end + 1);
    return true;
  }
  void receive() {
    char block[16 * 1024];
    const ssize_t count = ::read(STDIN_FILENO, block, sizeof block);
    if (count > 0) {
      // What nobody will take is not kept, but that it was too long.
      const auto size = static_cast<std::size_t>(count);
      if (input_.size() <= kMostConsoleLine || std::string_view(block, size).contains('\n')) input_.append(block, size);
    } else if (count == 0 || errno != EINTR) {
      ended_ = true;
    }
  }

  const Surroundings around_;
  const bool prompts_;
  std::string input_;
  bool ended_ = false;
};

}  // namespace

Woken wait_for_any(const ConsoleInput::Surroundings& surroundings, bool input) {
  pollfd entries[] = {{.fd = surroundings.interrupts, .events = POLLIN, .revents = 0},
                      {.fd = surroundings.daemon, .events = POLLIN, .revents = 0},
                      {.fd = input ? STDIN_FILENO : -1, .events = POLLIN, .revents = 0}};
  while (::poll(entries, 3, -1) < 0) {
    if (errno != EINTR) return {.interrupt = true};
  }
  Woken woken;
  if (entries[0].revents != 0) {
    signalfd_siginfo signal{};
    woken.interrupt = ::read(surroundings.interrupts, &signal, sizeof signal) > 0;
  }
  woken.daemon = entries[1].revents != 0;
  woken.input = entries[2].revents != 0;
  return woken;
}

std::unique_ptr<ConsoleInput> plain_input(ConsoleInput::Surroundings surroundings, bool prompts) {
  return std::make_unique<PlainInput>(std::move(surroundings), prompts);
}

}  // namespace portolan
