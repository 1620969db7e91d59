#include "support/child_process.h"

#include "support/temporary_folder.h"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sstream>

#include <dirent.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace portolan::testing {

ChildProcess::~ChildProcess() { kill(); }

void ChildProcess::start(const std::vector<std::string>& command, const LaunchOptions& options) {
  std::vector<char*> arguments;
  for (const std::string& argument : command) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  result_.reset();
  const pid_t parent = ::getpid();
  pid_ = ::fork();
  if (pid_ < 0) {
    std::perror("fork");
    std::abort();
  }
  if (pid_ > 0) return;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(126);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  const int nothing = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  ::dup2(options.standard_input >= 0 ? options.standard_input : nothing, 0);
  ::dup2(options.standard_output >= 0 ? options.standard_output : nothing, 1);
  ::dup2(options.standard_error >= 0 ? options.standard_error : nothing, 2);
  if (!options.folder.empty() && ::chdir(options.folder.c_str()) != 0) ::_exit(126);
  for (const auto& [name, value] : options.environment) {
    if (value.empty()) {
      ::unsetenv(name.c_str());
    } else {
      ::setenv(name.c_str(), value.c_str(), 1);
    }
  }
  if (options.in_child) options.in_child();
  ::execvp(arguments[0], arguments.data());
  std::fprintf(stderr, "cannot run %s: %s\n", arguments[0], std::strerror(errno));
  ::_exit(127);
}

bool ChildProcess::signal(int number) const { return pid_ > 0 && ::kill(pid_, number) == 0; }

std::optional<int> ChildProcess::wait(Milliseconds patience) {
  if (pid_ <= 0) return result_;
  const Deadline deadline(patience);
  for (;;) {
    int status = 0;
    const pid_t ended = ::waitpid(pid_, &status, WNOHANG);
    if (ended == pid_) {
      pid_ = -1;
      result_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
      return result_;
    }
    if (ended < 0 || deadline.passed()) return std::nullopt;
    ::poll(nullptr, 0, 1);
  }
}

bool ChildProcess::running() { return !wait(Milliseconds(0)) && pid_ > 0; }

void ChildProcess::kill() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  wait();
}

CommandResult run_to_end(const std::vector<std::string>& command, LaunchOptions options, Milliseconds patience) {
  // Into files: a pipe would have to be emptied meanwhile, and could be held open by a daemon that was left behind.
  TemporaryFolder folder;
  const int out = ::open(folder.file("out").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  const int err = ::open(folder.file("err").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  options.standard_output = out;
  options.standard_error = err;
  ChildProcess child;
  child.start(command, options);
  ::close(out);
  ::close(err);
  CommandResult result;
  result.code = child.wait(patience).value_or(-1);
  child.kill();
  result.output = read_whole_file(folder.file("out"));
  result.errors = read_whole_file(folder.file("err"));
  return result;
}

std::string status_of(pid_t pid, const std::string& key) {
  std::istringstream lines(read_whole_file("/proc/" + std::to_string(pid) + "/status"));
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with(key + ":")) continue;
    const std::size_t from = line.find_first_not_of(" \t", key.size() + 1);
    return from == std::string::npos ? "" : line.substr(from);
  }
  return {};
}

ProcessFacts facts_of(pid_t pid) {
  ProcessFacts facts;
  facts.resident_kib = std::atol(status_of(pid, "VmRSS").c_str());
  facts.threads = std::atol(status_of(pid, "Threads").c_str());
  const std::string folder = "/proc/" + std::to_string(pid);
  if (DIR* listing = ::opendir((folder + "/fd").c_str())) {
    while (const dirent* entry = ::readdir(listing)) facts.descriptors += entry->d_name[0] != '.';
    ::closedir(listing);
  }
  // Fields 14 and 15 are user and system time; the name in parentheses may hold anything.
  const std::string stat = read_whole_file(folder + "/stat");
  if (const std::size_t after_name = stat.rfind(')'); after_name != std::string::npos) {
    std::istringstream fields(stat.substr(after_name + 1));
    std::string skipped;
    for (int index = 3; index <= 13; ++index) fields >> skipped;
    double user = 0;
    double system = 0;
    fields >> user >> system;
    facts.cpu_seconds = (user + system) / static_cast<double>(::sysconf(_SC_CLK_TCK));
  }
  return facts;
}

}  // namespace portolan::testing
