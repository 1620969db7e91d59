// How the daemon comes up: under systemd, in the background, and as another user than the one who started it.
#include "support/daemon.h"

#include <fmt/format.h>

#include <csignal>
#include <cstdlib>
#include <string>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pwd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "support/cmocka.h"  // last: it defines fail()

using namespace portolan::testing;

namespace {

const char* const kEcho =
    "return { services = { { plugin = 'echo', name = 'echo', listen = 'tcp://127.0.0.1:0', mode = 'lines' } } }";

bool answers(const std::string& address) {
  Client client(address);
  return client.send("hello\n") && client.receive_line() == "hello\n";
}

// The service manager's end of the notify protocol.
class Manager {
 public:
  explicit Manager(const std::string& path) : descriptor_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    path.copy(name.sun_path, sizeof name.sun_path - 1);
    if (::bind(descriptor_, reinterpret_cast<const sockaddr*>(&name), sizeof name) != 0) std::abort();
  }
  ~Manager() { ::close(descriptor_); }
  Manager(const Manager&) = delete;
  Manager& operator=(const Manager&) = delete;

  // Whether a message with this in it comes before the deadline.
  bool hears(const std::string& wanted) {
    const Deadline deadline;
    while (!deadline.passed()) {
      pollfd entry{.fd = descriptor_, .events = POLLIN, .revents = 0};
      if (::poll(&entry, 1, deadline.left_ms()) <= 0) break;
      char text[4096];
      const ssize_t size = ::recv(descriptor_, text, sizeof text, 0);
      if (size > 0) heard_.append(text, static_cast<std::size_t>(size)).append("\n");
      if (heard_.find(wanted) != std::string::npos) {
        heard_.clear();
        return true;
      }
    }
    print_error("heard only: %s\n", heard_.c_str());
    return false;
  }

 private:
  int descriptor_;
  std::string heard_;
};

void systemd_is_told_of_every_step(void** state) {
  Daemon& daemon = daemon_of(state);
  const auto manager = std::make_unique<Manager>(daemon.folder().file("notify"));
  RunOptions options;
  options.launch.environment = {{"NOTIFY_SOCKET", daemon.folder().file("notify")}};
  daemon.launch(kEcho, options);
  assert_true(manager->hears("READY=1"));
  // What it promised is true by now.
  assert_true(daemon.wait_ready());
  assert_true(answers(daemon.address("echo")));
  assert_int_equal(daemon.command({"reload"}).code, 0);
  assert_true(manager->hears("RELOADING=1"));
  assert_true(manager->hears("READY=1"));
  daemon.process().signal(SIGTERM);
  assert_true(manager->hears("STOPPING=1"));
  assert_int_equal(daemon.process().wait().value_or(-1), 0);
}

void the_watchdog_is_fed(void** state) {
  Daemon& daemon = daemon_of(state);
  const auto manager = std::make_unique<Manager>(daemon.folder().file("notify"));
  RunOptions options;
  options.launch.environment = {{"NOTIFY_SOCKET", daemon.folder().file("notify")}, {"WATCHDOG_USEC", "400000"}};
  daemon.start(kEcho, options);
  assert_true(manager->hears("WATCHDOG=1"));
  assert_true(manager->hears("WATCHDOG=1"));
}

void sockets_of_systemd_are_used(void** state) {
  Daemon& daemon = daemon_of(state);
  // A socket bound by somebody else, as number 3, with LISTEN_PID of the daemon itself.
  const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in name{};
  name.sin_family = AF_INET;
  name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  assert_int_equal(::bind(socket, reinterpret_cast<const sockaddr*>(&name), sizeof name), 0);
  assert_int_equal(::listen(socket, 64), 0);
  socklen_t length = sizeof name;
  ::getsockname(socket, reinterpret_cast<sockaddr*>(&name), &length);
  const std::string address = fmt::format("tcp://127.0.0.1:{}", ntohs(name.sin_port));

  // This one connects before the daemon is there: systemd's promise is that it will be served.
  Client early(address);
  assert_true(early.send("early\n"));
  RunOptions options;
  options.launch.in_child = [socket] {
    ::dup2(socket, 3);
    ::fcntl(3, F_SETFD, 0);  // dup2 leaves it alone when it was 3 already
    ::setenv("LISTEN_FDS", "1", 1);
    ::setenv("LISTEN_PID", std::to_string(::getpid()).c_str(), 1);
  };
  daemon.start(
      fmt::format("return {{ workers = 2, services = {{ {{ plugin = 'echo', name = 'echo', listen = '{}', mode = "
                  "'lines' }} }} }}",
                  address),
      options);
  ::close(socket);
  assert_string_equal(daemon.address("echo").c_str(), address.c_str());
  assert_string_equal(early.receive_line().c_str(), "early\n");
  for (int round = 0; round < 20; ++round) assert_true(answers(address));
  // It is kept over a reload.
  assert_int_equal(daemon.command({"reload"}).code, 0);
  for (int round = 0; round < 20; ++round) assert_true(answers(address));
}

void as_a_daemon_it_returns_when_it_serves(void** state) {
  Daemon& daemon = daemon_of(state);
  const std::string file = daemon.configure(kEcho);
  const std::string pid_file = daemon.folder().file("pid");
  LaunchOptions options;
  options.folder = daemon.folder().path();
  options.environment = {{"STATE_DIRECTORY", daemon.folder().path()}};
  const CommandResult result = run_portolan({"run", "-c", file, "--daemon", "--pid-file", pid_file}, options);
  if (result.code != 0) print_error("%s", result.errors.c_str());
  assert_int_equal(result.code, 0);
  // It serves already, in a session of its own, and its number is in the file.
  const Json status = daemon.query({"status"});
  const auto pid = status.at("pid").get<pid_t>();
  assert_int_equal(std::atoi(read_whole_file(pid_file).c_str()), pid);
  assert_true(::getsid(pid) != ::getsid(0));
  const bool served = answers(status.at("services")[0].at("listeners")[0].get<std::string>());
  const int stopped = daemon.command({"stop"}).code;
  const bool gone = wait_until([&] { return ::kill(pid, 0) != 0; });
  if (!gone) ::kill(pid, SIGKILL);
  assert_true(served);
  assert_int_equal(stopped, 0);
  assert_true(gone);
}

void a_daemon_that_cannot_start_says_so_to_who_started_it(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(kEcho);
  TemporaryFolder other;
  const std::string file =
      other.write("second.lua", fmt::format("return {{ services = {{ {{ plugin = 'echo', listen = '{}' "
                                            "}} }} }}",
                                            daemon.address("echo")));
  LaunchOptions options;
  options.folder = other.path();
  options.environment = {{"STATE_DIRECTORY", other.path()}};
  const CommandResult result = run_portolan({"run", "-c", file, "--daemon"}, options);
  assert_int_equal(result.code, 1);
  assert_non_null(strstr(result.errors.c_str(), daemon.address("echo").substr(6).c_str()));
}

// A port that only root may bind and that nobody has here; 0 when there is none.
int free_low_port() {
  const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int found = 0;
  for (int attempt = 0; attempt < 300 && found == 0; ++attempt) {
    const int port = 700 + (::getpid() + attempt) % 300;  // not the same for two tests at once
    sockaddr_in name{};
    name.sin_family = AF_INET;
    name.sin_port = htons(static_cast<std::uint16_t>(port));
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::bind(socket, reinterpret_cast<const sockaddr*>(&name), sizeof name) == 0) found = port;
  }
  ::close(socket);
  return found;
}

void it_drops_to_the_user_after_binding(void** state) {
  if (::geteuid() != 0) {
    print_message("needs root\n");
    skip();
  }
  const passwd* nobody = ::getpwnam("nobody");
  assert_non_null(nobody);
  Daemon& daemon = daemon_of(state);
  // As `StateDirectory=` of systemd would prepare it.
  assert_int_equal(::chown(daemon.folder().path().c_str(), nobody->pw_uid, nobody->pw_gid), 0);
  const auto configuration = [](int port) {
    return fmt::format(
        "return {{ user = 'nobody', services = {{ {{ plugin = 'echo', name = 'echo', listen = {{ "
        "'tcp://127.0.0.1:0', 'tcp://127.0.0.1:{}' }}, mode = 'lines' }} }} }}",
        port);
  };
  daemon.start(configuration(0));
  const std::string ids = status_of(daemon.pid(), "Uid");
  const std::string id = std::to_string(nobody->pw_uid);
  assert_string_equal(ids.c_str(), fmt::format("{}\t{}\t{}\t{}", id, id, id, id).c_str());
  const std::string group = std::to_string(nobody->pw_gid);
  assert_string_equal(status_of(daemon.pid(), "Gid").c_str(),
                      fmt::format("{}\t{}\t{}\t{}", group, group, group, group).c_str());
  assert_string_equal(status_of(daemon.pid(), "NoNewPrivs").c_str(), "1");
  constexpr unsigned long kNetBindService = 1UL << 10U;
  for (const char* set : {"CapEff", "CapPrm", "CapInh", "CapAmb", "CapBnd"}) {
    const unsigned long bits = std::strtoul(status_of(daemon.pid(), set).c_str(), nullptr, 16);
    if (bits & ~kNetBindService) print_error("%s is %lx\n", set, bits);
    if (std::string_view(set) != "CapBnd") assert_int_equal(bits & ~kNetBindService, 0);
  }
  // Every thread of it, not the first alone. An emulator has threads of its own, which nobody asked.
  if (emulator_command().empty()) {
    const CommandResult threads = run_to_end(
        {"sh", "-c", "cat /proc/" + std::to_string(daemon.pid()) + "/task/*/status | grep ^Uid: | sort -u | wc -l"});
    assert_int_equal(std::atoi(threads.output.c_str()), 1);
  }

  assert_true(answers(daemon.address("echo")));
  assert_int_equal(daemon.command({"status"}).code, 0);
  // The files are the user's.
  struct stat facts{};
  assert_int_equal(::stat(daemon.store_path().c_str(), &facts), 0);
  assert_int_equal(facts.st_uid, nobody->pw_uid);
  assert_int_equal(::stat(daemon.socket_path().c_str(), &facts), 0);
  assert_int_equal(facts.st_uid, nobody->pw_uid);
  assert_int_equal(facts.st_mode & 07777U, 0660);
  // A reload may still bind, a low port among others.
  const int low_port = free_low_port();
  assert_int_not_equal(low_port, 0);
  for (const int port : {0, low_port}) {
    daemon.configure(configuration(port));
    const CommandResult reload = daemon.command({"reload"});
    if (reload.code != 0) print_error("%s\n", reload.errors.c_str());
    assert_int_equal(reload.code, 0);
  }
  assert_true(answers(fmt::format("tcp://127.0.0.1:{}", low_port)));
}

void a_user_that_does_not_exist_refuses_the_start(void** state) {
  if (::geteuid() != 0) skip();
  Daemon& daemon = daemon_of(state);
  daemon.launch("return { user = 'no-such-user', services = { { plugin = 'echo', listen = 'tcp://127.0.0.1:0' } } }");
  assert_false(daemon.wait_ready());
  assert_int_equal(daemon.process().wait().value_or(-1), 1);
  assert_true(daemon.log_has("no-such-user"));
}

}  // namespace

int main() {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_daemon, end_daemon)
  const CMUnitTest tests[] = {
      TEST(systemd_is_told_of_every_step),
      TEST(the_watchdog_is_fed),
      TEST(sockets_of_systemd_are_used),
      TEST(as_a_daemon_it_returns_when_it_serves),
      TEST(a_daemon_that_cannot_start_says_so_to_who_started_it),
      TEST(it_drops_to_the_user_after_binding),
      TEST(a_user_that_does_not_exist_refuses_the_start),
  };
  return cmocka_run_group_tests_name("process.startup", tests, nullptr, nullptr);
}
