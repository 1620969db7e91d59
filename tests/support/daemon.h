// A whole daemon of the test's own: in its own folder, on ports that the kernel chose.
//
// Hold it in a fixture (make_daemon and end_daemon are the set-up and tear-down of a test that needs nothing else): a
// failing assert jumps over destructors, and end_daemon also fails the test when the daemon did not end in order or
// a sanitizer complained. Main thread of the test only. What goes wrong is printed with the daemon's own log.
#pragma once

#include "support/child_process.h"
#include "support/client.h"
#include "support/temporary_folder.h"
#include "support/waiting.h"

#include <nlohmann/json.hpp>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace portolan::testing {

using Json = nlohmann::json;

struct Listening {
  std::string service;
  std::string address;  // with the real port
};

struct RunOptions {
  std::vector<std::string> arguments = {};  // after `run -c FILE`
  LaunchOptions launch = {};
  unsigned descriptor_limit = 0;  // RLIMIT_NOFILE of the daemon; 0: ours
};

class Daemon {
 public:
  Daemon();
  ~Daemon();

  const TemporaryFolder& folder() const noexcept { return folder_; }
  // Writes the configuration that start and reload read.
  std::string configure(std::string_view text) const { return folder_.write("portolan.lua", text); }

  // Starts and waits for `ready`; fails the test when that does not come.
  void start(std::string_view configuration, const RunOptions& options = {});
  // Starts and does not wait.
  void launch(std::string_view configuration, const RunOptions& options = {});
  // False when it ended, or was not ready in time.
  bool wait_ready(Milliseconds patience = Milliseconds(20'000));

  // "tcp://127.0.0.1:41234": what `run` printed for this service and scheme. Fails the test when there is none.
  std::string address(std::string_view service, std::string_view scheme = "tcp");
  const std::vector<Listening>& listening() const noexcept { return listening_; }

  ChildProcess& process() noexcept { return process_; }
  pid_t pid() const noexcept { return process_.pid(); }
  ProcessFacts facts() const { return facts_of(process_.pid()); }
  std::string log() const;  // all of its standard error
  const std::string& output() const noexcept { return output_; }
  bool log_has(std::string_view text) const { return log().find(text) != std::string::npos; }
  void show_log() const;

  // SIGTERM and the exit code; -1 when it does not end.
  int stop(Milliseconds patience = Milliseconds(20'000));
  void kill();  // SIGKILL

  // The command line against this daemon: command({"status", "--json"}).
  CommandResult command(std::vector<std::string> arguments, Milliseconds patience = Milliseconds(20'000));
  // The same with --json, parsed; fails the test when the command fails or its output does not parse.
  Json query(std::vector<std::string> arguments);
  std::string socket_path() const { return folder_.file("portolan.sock"); }
  std::string store_path() const { return folder_.file("portolan.db"); }

  // One counter of a service as the daemon has it now, in /metrics' words: counter("echo", "refused_max_sessions").
  // Sums over labels. -1 when there is none.
  long counter(const std::string& service, const std::string& name);
  bool wait_for_counter(const std::string& service, const std::string& name, long at_least,
                        Milliseconds patience = kPatience);

  // What is wrong with how the daemon ended: empty when nothing is.
  std::string end();

 private:
  void read_output(int timeout_ms);

  TemporaryFolder folder_;
  ChildProcess process_;
  int output_fd_ = -1;
  bool ready_ = false;
  bool killed_ = false;
  std::string output_;
  std::size_t parsed_ = 0;
  std::vector<Listening> listening_;
};

// The binary under test: the environment variable PORTOLAN.
std::string portolan_binary();
// What runs a program of another architecture, and its arguments (PORTOLAN_EMULATOR, separated by semicolons); empty
// when the binary under test is the machine's own.
std::vector<std::string> emulator_command();
// The binary under test, as a command that this machine can run, with these arguments.
std::vector<std::string> portolan_command(const std::vector<std::string>& arguments);
CommandResult run_portolan(std::vector<std::string> arguments, LaunchOptions options = {},
                           Milliseconds patience = Milliseconds(20'000));

// GET over HTTP/1.1 on a tcp:// or unix:// address; "<status> <body>" of the answer, "" when there was none.
struct HttpAnswer {
  int status = 0;
  std::string body;
};
HttpAnswer http_get(const std::string& address, const std::string& path);
HttpAnswer http_post(const std::string& address, const std::string& path);

// Fixture for tests that need a daemon and nothing else: cmocka_unit_test_setup_teardown(f, make_daemon, end_daemon).
int make_daemon(void** state);
int end_daemon(void** state);
inline Daemon& daemon_of(void** state) { return *static_cast<Daemon*>(*state); }

}  // namespace portolan::testing
