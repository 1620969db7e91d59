#include "support/console.h"

#include <fmt/format.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include "support/cmocka.h"  // last: it defines fail()

namespace portolan::testing {

namespace {

void show(const CommandResult& result) {
  print_error("exit code %d\n--- output:\n%s--- errors:\n%s", result.code, result.output.c_str(),
              result.errors.c_str());
}

}  // namespace

CommandResult console(Daemon& daemon, std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "console");
  return daemon.command(std::move(arguments));
}

CommandResult evaluate(Daemon& daemon, const std::vector<std::string>& expressions) {
  std::vector<std::string> arguments;
  for (const std::string& expression : expressions) arguments.insert(arguments.end(), {"-e", expression});
  return console(daemon, std::move(arguments));
}

CommandResult feed(Daemon& daemon, std::string_view lines, std::vector<std::string> arguments) {
  const int input = ::open(daemon.folder().write("lines", lines).c_str(), O_RDONLY | O_CLOEXEC);
  arguments.insert(arguments.begin(), "console");
  arguments.insert(arguments.end(), {"--socket", daemon.socket_path()});
  LaunchOptions options;
  options.standard_input = input;
  CommandResult result = run_portolan(std::move(arguments), options);
  ::close(input);
  return result;
}

void expect_output(const CommandResult& result, std::string_view output) {
  if (result.code != 0 || result.output != output || !result.errors.empty()) {
    print_error("expected: %s\n", std::string(output).c_str());
    show(result);
  }
  assert_int_equal(result.code, 0);
  assert_string_equal(result.output.c_str(), std::string(output).c_str());
  assert_string_equal(result.errors.c_str(), "");
}

void expect_failure(const CommandResult& result, std::string_view said) {
  const bool is_said = result.errors.find(said) != std::string::npos;
  if (result.code != 1 || !is_said) {
    print_error("expected: %s\n", std::string(said).c_str());
    show(result);
  }
  assert_int_equal(result.code, 1);
  assert_true(is_said);
}

Talk::Talk(Daemon& daemon, std::vector<std::string> arguments) {
  // One that has ended does not take the test along.
  ::signal(SIGPIPE, SIG_IGN);
  int in[2];
  int out[2];
  if (::pipe2(in, O_CLOEXEC) != 0 || ::pipe2(out, O_CLOEXEC) != 0) std::abort();
  arguments.insert(arguments.begin(), "console");
  arguments.insert(arguments.end(), {"--socket", daemon.socket_path()});
  LaunchOptions options;
  options.standard_input = in[0];
  options.standard_output = options.standard_error = out[1];
  process_.start(portolan_command(arguments), options);
  ::close(in[0]);
  ::close(out[1]);
  input_ = in[1];
  output_ = out[0];
}

Talk::~Talk() {
  process_.kill();
  if (input_ >= 0) ::close(input_);
  ::close(output_);
}

bool Talk::send(std::string_view text) const {
  return ::write(input_, text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

bool Talk::receive(const Deadline& deadline) {
  pollfd entry{.fd = output_, .events = POLLIN, .revents = 0};
  if (::poll(&entry, 1, deadline.left_ms()) <= 0) return false;
  char block[4096];
  const ssize_t count = ::read(output_, block, sizeof block);
  if (count <= 0) return false;
  heard_.append(block, static_cast<std::size_t>(count));
  return true;
}

std::string Talk::line() {
  const Deadline deadline;
  while (heard_.find('\n') == std::string::npos)
    if (!receive(deadline)) return {};
  const std::size_t end = heard_.find('\n');
  std::string text = heard_.substr(0, end);
  heard_.erase(0, end + 1);
  return text;
}

std::string Talk::say(std::string_view line) {
  const std::string over = fmt::format("<answer {} is over>", ++said_);
  send(fmt::format("{}\n'{}'\n", line, over));
  const Deadline deadline;
  while (heard_.find(over + "\n") == std::string::npos) {
    if (!receive(deadline)) {
      print_error("no end of the answer to %s: %s\n", std::string(line).c_str(), heard_.c_str());
      return std::exchange(heard_, {});
    }
  }
  const std::size_t end = heard_.find(over);
  std::string text = heard_.substr(0, end);
  heard_.erase(0, end + over.size() + 1);
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

std::string Talk::rest() {
  const Deadline deadline;
  while (receive(deadline)) {
  }
  return std::exchange(heard_, {});
}

int Talk::end() {
  if (input_ >= 0) ::close(std::exchange(input_, -1));
  return process_.wait().value_or(-1);
}

}  // namespace portolan::testing
