#include "process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <thread>

namespace portolan::bench {
namespace {

constexpr int kStartMs = 10'000;
constexpr int kStopMs = 5'000;

// The value of `Name:   123 kB` or `name:  123` in a file of /proc; 0 where there is none.
std::uint64_t proc_field(const std::string& path, std::string_view name) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(name) || line.size() <= name.size() || line[name.size()] != ':') continue;
    return std::strtoull(line.c_str() + name.size() + 1, nullptr, 10);
  }
  return 0;
}

std::string last_line(const std::string& path) {
  std::ifstream file(path);
  std::string last;
  for (std::string line; std::getline(file, line);) {
    if (!line.empty()) last = line;
  }
  return last;
}

[[noreturn]] void become(const Command& command, int output, int errors, pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, command.death_signal);
  if (::getppid() != parent) ::_exit(127);
  if (command.cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(*command.cpu, &set);
    ::sched_setaffinity(0, sizeof set, &set);
  }
  for (const auto& [name, value] : command.environment) ::setenv(name.c_str(), value.c_str(), 1);
  ::dup2(output, STDOUT_FILENO);
  ::dup2(errors, STDERR_FILENO);
  std::vector<char*> arguments;
  for (const std::string& argument : command.arguments) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  ::execv(arguments.front(), arguments.data());
  ::dprintf(STDERR_FILENO, "cannot execute %s\n", arguments.front());
  ::_exit(127);
}

}  // namespace

TemporaryDirectory::TemporaryDirectory() {
  path_ = (std::filesystem::temp_directory_path() / "portolan-bench-XXXXXX").string();
  if (::mkdtemp(path_.data()) == nullptr) throw std::runtime_error(error_text("cannot create " + path_));
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

Result<Process> Process::start(const Command& command) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) < 0) return Failure(error_text("no pipe"));
  Descriptor reader{ends[0]};
  Descriptor writer{ends[1]};
  Descriptor errors{::open(command.error_file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)};
  if (!errors) return Failure(error_text("cannot write " + command.error_file));
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) return Failure(error_text("cannot fork"));
  if (pid == 0) become(command, writer.get(), errors.get(), parent);
  ::fcntl(reader.get(), F_SETFL, O_NONBLOCK);
  // Nobody reads after the announcement; a server that goes on talking gets room for it instead of standing
  // still.
  ::fcntl(reader.get(), F_SETPIPE_SZ, 1024 * 1024);
  return Process(pid, std::move(reader), command.error_file);
}

Process::Process(pid_t pid, Descriptor output, std::string error_file)
    : pid_(pid), running_(true), output_(std::move(output)), error_file_(std::move(error_file)) {}

Process::Process(Process&& other) noexcept
    : pid_(other.pid_),
      running_(std::exchange(other.running_, false)),
      status_(other.status_),
      output_(std::move(other.output_)),
      unread_(std::move(other.unread_)),
      error_file_(std::move(other.error_file_)) {}

Process::~Process() {
  if (!running_) return;
  kill_family();
  ::waitpid(pid_, nullptr, 0);
}

Result<sockaddr_in> Process::wait_for_listener(std::string_view service, std::string_view scheme) {
  const std::string wanted = fmt::format("listening {} {}://", service, scheme);
  const auto begin = Clock::now();
  for (;;) {
    for (std::size_t end; (end = unread_.find('\n')) != std::string::npos; unread_.erase(0, end + 1)) {
      if (!unread_.starts_with(wanted)) continue;
      const std::string_view line{unread_.data(), end};
      return parse_address(line.substr(line.rfind(' ') + 1));
    }
    pollfd readable{output_.get(), POLLIN, 0};
    ::poll(&readable, 1, 100);
    std::array<char, 4096> chunk;
    const ssize_t got = ::read(output_.get(), chunk.data(), chunk.size());
    if (got > 0) {
      unread_.append(chunk.data(), static_cast<std::size_t>(got));
    } else if (got == 0) {
      reap(kStopMs);
      const std::string cause = cause_of_death();
      return Failure(cause.empty() ? "closed its output before it listened" : cause);
    }
    if (interrupted()) return Failure("interrupted");
    if (seconds_since(begin) * 1000 > kStartMs) {
      return Failure(fmt::format("did not print \"{}...\" within {} s", wanted, kStartMs / 1000));
    }
  }
}

std::vector<pid_t> Process::family() const {
  std::vector<pid_t> all{pid_};
  std::ifstream children(fmt::format("/proc/{0}/task/{0}/children", pid_));
  for (pid_t child = 0; children >> child;) all.push_back(child);
  return all;
}

void Process::kill_family() {
  for (const pid_t pid : family()) ::kill(pid, SIGKILL);
}

std::uint64_t Process::cpu_ns() const {
  std::uint64_t sum = 0;
  for (const pid_t pid : family()) {
    clockid_t clock{};
    timespec spent{};
    if (::clock_getcpuclockid(pid, &clock) != 0 || ::clock_gettime(clock, &spent) != 0) continue;
    sum += static_cast<std::uint64_t>(spent.tv_sec) * 1'000'000'000U + static_cast<std::uint64_t>(spent.tv_nsec);
  }
  return sum;
}

std::uint64_t Process::other_cpu_ns() const {
  std::uint64_t sum = 0;
  std::error_code error;
  for (const auto& thread : std::filesystem::directory_iterator(fmt::format("/proc/{}/task", pid_), error)) {
    std::string name;
    std::getline(std::ifstream(thread.path() / "comm"), name);
    std::uint64_t spent = 0;
    if (!name.starts_with("worker") && std::ifstream(thread.path() / "schedstat") >> spent) sum += spent;
  }
  return sum;
}

void Process::settle() const {
  // Idle means that two looks a little apart see the same figure; some servers never are, so there is a
  // bound.
  std::uint64_t before = cpu_ns();
  for (int look = 0; look < 20; ++look) {
    std::this_thread::sleep_for(std::chrono::milliseconds(look == 0 ? 2 : 5));
    const std::uint64_t now = cpu_ns();
    if (now == before) return;
    before = now;
  }
}

std::uint64_t Process::private_dirty_bytes() const {
  std::uint64_t kib = 0;
  for (const pid_t pid : family()) kib += proc_field(fmt::format("/proc/{}/smaps_rollup", pid), "Private_Dirty");
  return kib * 1024;
}

std::uint64_t Process::resident_bytes() const {
  std::uint64_t kib = 0;
  for (const pid_t pid : family()) kib += proc_field(fmt::format("/proc/{}/status", pid), "VmRSS");
  return kib * 1024;
}

std::uint64_t Process::sleeps() const {
  std::uint64_t sum = 0;
  std::error_code error;
  for (const pid_t pid : family()) {
    for (const auto& thread : std::filesystem::directory_iterator(fmt::format("/proc/{}/task", pid), error)) {
      sum += proc_field(thread.path() / "status", "voluntary_ctxt_switches");
    }
  }
  return sum;
}

bool Process::reap(int timeout_ms) {
  const auto begin = Clock::now();
  while (running_) {
    if (::waitpid(pid_, &status_, WNOHANG) == pid_) {
      running_ = false;
    } else if (seconds_since(begin) * 1000 > timeout_ms) {
      return false;
    } else {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  return true;
}

std::string Process::cause_of_death(int patience_ms) {
  if (!reap(patience_ms)) return {};
  std::string how = WIFSIGNALED(status_) ? fmt::format("killed by signal {}", WTERMSIG(status_))
                                         : fmt::format("exited with {}", WEXITSTATUS(status_));
  if (const std::string said = last_line(error_file_); !said.empty()) how += fmt::format(" (\"{}\")", said);
  return how;
}

std::string Process::stop() {
  if (!running_) return {};
  ::kill(pid_, SIGTERM);
  if (reap(kStopMs)) {
    const bool well =
        (WIFEXITED(status_) && WEXITSTATUS(status_) == 0) || (WIFSIGNALED(status_) && WTERMSIG(status_) == SIGTERM);
    return well ? std::string{} : "on SIGTERM it " + cause_of_death();
  }
  kill_family();
  reap(kStopMs);
  return fmt::format("did not stop within {} s of SIGTERM", kStopMs / 1000);
}

Result<sockaddr_in> wait_until_served(Process& server, std::string_view scheme, const sockaddr_in& address) {
  const auto begin = Clock::now();
  while (seconds_since(begin) * 1000 < kStartMs) {
    if (interrupted()) return Failure("interrupted");
    if (const std::string death = server.cause_of_death(5); !death.empty()) return Failure(death);
    if (scheme == "tcp") {
      auto probe = connect_tcp(address);
      if (!probe) continue;
      close_by_reset(*probe);
      return address;
    }
    // A datagram is answered only when everything on its way is up.
    const auto probe = connect_udp(address);
    char byte = 'a';
    if (!probe || ::send(probe->get(), &byte, 1, 0) != 1) continue;
    pollfd readable{probe->get(), POLLIN, 0};
    if (::poll(&readable, 1, 20) == 1 && ::recv(probe->get(), &byte, 1, 0) == 1) return address;
  }
  return Failure(fmt::format("served nobody within {} s", kStartMs / 1000));
}

}  // namespace portolan::bench
