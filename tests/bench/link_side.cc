#include "link_side.h"

#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <ctime>
#include <fstream>
#include <set>
#include <sstream>

namespace portolan::bench {
namespace {

constexpr int kStopSeconds = 2;

double seconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
}

int exit_code(int status) { return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status); }

pid_t start_shell(const std::string& command) {
  const pid_t pid = ::fork();
  if (pid != 0) return pid;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::dup2(STDERR_FILENO, STDOUT_FILENO);
  ::execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
  ::_exit(127);
}

std::set<pid_t> children() {
  std::ifstream file(fmt::format("/proc/{0}/task/{0}/children", ::getpid()));
  std::set<pid_t> all;
  for (pid_t child = 0; file >> child;) all.insert(child);
  return all;
}

// Those that are orphaned while they are ended become the keeper's, and the next turn finds them. Each is asked once:
// to some a second SIGTERM means that they should not take leave.
void end_all() {
  std::set<pid_t> asked;
  for (int turn = 0; turn < (kStopSeconds + 2) * 100; ++turn) {
    const bool patient = turn < kStopSeconds * 100;
    for (const pid_t child : children()) {
      if (!patient || asked.insert(child).second) ::kill(child, patient ? SIGTERM : SIGKILL);
    }
    timespec a_while{0, 10'000'000};
    ::nanosleep(&a_while, nullptr);
    pid_t gone = 0;
    while ((gone = ::waitpid(-1, nullptr, WNOHANG)) > 0) {
    }
    if (gone < 0 && errno == ECHILD) return;
  }
}

[[noreturn]] void keep(const std::vector<std::string>& commands, const sigset_t& watched) {
  std::set<pid_t> living;
  for (const std::string& command : commands) living.insert(start_shell(command));
  int code = 0;
  while (!living.empty()) {
    siginfo_t what{};
    if (::sigwaitinfo(&watched, &what) < 0) continue;
    if (what.si_signo != SIGCHLD) break;
    int status = 0;
    for (pid_t gone; (gone = ::waitpid(-1, &status, WNOHANG)) > 0;) {
      if (living.erase(gone) != 0 && code == 0) code = exit_code(status);
    }
  }
  end_all();
  ::_exit(code);
}

}  // namespace

Result<LinkSide> LinkSide::start(const NetworkNamespace& network, const std::vector<std::string>& commands) {
  const pid_t parent = ::getpid();
  // The keeper is born there: listening_ports() looks at its namespace from the first moment.
  const NamespaceVisit visit;
  if (auto entered = network.enter(); !entered) return Failure(entered.error());
  const pid_t pid = ::fork();
  if (pid < 0) return Failure(error_text("cannot fork"));
  if (pid > 0) return LinkSide(pid);
  sigset_t watched;
  sigemptyset(&watched);
  for (const int signal : {SIGCHLD, SIGTERM, SIGINT, SIGHUP}) sigaddset(&watched, signal);
  ::sigprocmask(SIG_BLOCK, &watched, nullptr);
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (::getppid() != parent) ::_exit(127);
  keep(commands, watched);
}

LinkSide::~LinkSide() {
  if (keeper_ <= 0) return;
  stop();
  ended(Wait::kYes);
}

std::optional<SideResult> LinkSide::ended(Wait wait) {
  int status = 0;
  rusage used{};
  if (keeper_ <= 0 || ::wait4(keeper_, &status, wait == Wait::kNo ? WNOHANG : 0, &used) != keeper_) return {};
  keeper_ = -1;
  return SideResult{exit_code(status), seconds(used.ru_utime), seconds(used.ru_stime)};
}

void LinkSide::stop() {
  if (keeper_ > 0) ::kill(keeper_, SIGTERM);
}

std::size_t LinkSide::listening_ports() const {
  std::set<std::string> ports;
  for (const std::string table : {"tcp", "tcp6", "udp", "udp6"}) {
    std::ifstream file(fmt::format("/proc/{}/net/{}", keeper_, table));
    std::string line;
    std::getline(file, line);  // the heading
    while (std::getline(file, line)) {
      std::string number, local, remote, state;
      std::istringstream(line) >> number >> local >> remote >> state;
      // Listening TCP, and UDP that has no peer.
      if (state == (table.starts_with("tcp") ? "0A" : "07")) {
        ports.insert(table.substr(0, 3) + local.substr(local.rfind(':')));
      }
    }
  }
  return ports.size();
}

}  // namespace portolan::bench
