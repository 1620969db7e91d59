#include "app/daemonize.h"

#include "base/file_status.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace portolan {

namespace {

// The exit code that the daemon sends, or 1 when it ended without a word.
[[noreturn]] void wait_for_daemon(int channel) {
  unsigned char code = 1;
  ssize_t count = 0;
  do {
    count = ::read(channel, &code, 1);
  } while (count < 0 && errno == EINTR);
  if (count != 1) {
    constexpr char kMessage[] = "portolan: the daemon ended before it was ready\n";
    if (::write(STDERR_FILENO, kMessage, sizeof kMessage - 1) < 0) code = 1;
    code = 1;
  }
  _exit(code);
}

// Forks; the parent of the new process never returns.
std::string go_to_background(UniqueFd& channel) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return fmt::format("cannot go to the background: {}", std::strerror(errno));
  UniqueFd reading(ends[0]);
  UniqueFd writing(ends[1]);
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child < 0) return fmt::format("cannot go to the background: fork: {}", std::strerror(errno));
  if (child > 0) {
    writing.reset();
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    wait_for_daemon(reading.get());
  }
  ::setsid();
  // Again, so that it leads no session and can never get a controlling terminal.
  const pid_t grandchild = ::fork();
  if (grandchild != 0) {
    if (grandchild < 0) {
      const unsigned char code = 1;
      std::fprintf(stderr, "portolan: cannot go to the background: fork: %s\n", std::strerror(errno));
      if (::write(writing.get(), &code, 1) < 0) _exit(1);
    }
    _exit(0);
  }
  channel = std::move(writing);
  return {};
}

}  // namespace

PidFile::~PidFile() {
  if (!file_ || owner_ != ::getpid()) return;
  // Before the lock goes with the descriptor. Without the right to remove it (privileges were dropped), empty it.
  if (::unlink(path_.c_str()) != 0 && ::ftruncate(file_.get(), 0) != 0) return;
}

std::string PidFile::claim(const std::string& path) {
  for (int attempt = 0; attempt < 10; ++attempt) {
    UniqueFd file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644));
    if (!file) return fmt::format("cannot make the pid file {}: {}", path, std::strerror(errno));
    if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno != EWOULDBLOCK) return fmt::format("cannot lock the pid file {}: {}", path, std::strerror(errno));
      char text[32] = {};
      const ssize_t count = ::pread(file.get(), text, sizeof text - 1, 0);
      const int holder = count > 0 ? std::atoi(text) : 0;
      return holder > 0 ? fmt::format("pid file {}: process {} holds it already; stop it first", path, holder)
                        : fmt::format("pid file {}: another process holds it already; stop it first", path);
    }
    // Between our open and our lock its former owner may have removed it: then we hold a file that nobody sees.
    const auto held = file_status(file.get());
    const auto seen = file_status(path);
    if (held && seen && held->same_file(*seen)) {
      path_ = path;
      file_ = std::move(file);
      return {};
    }
  }
  return fmt::format("pid file {}: somebody keeps replacing it", path);
}

std::string PidFile::write() {
  if (!file_) return {};
  owner_ = ::getpid();
  const std::string text = fmt::format("{}\n", owner_);
  if (::ftruncate(file_.get(), 0) == 0 &&
      ::pwrite(file_.get(), text.data(), text.size(), 0) == static_cast<ssize_t>(text.size())) {
    return {};
  }
  return fmt::format("cannot write the pid file {}: {}", path_, std::strerror(errno));
}

std::string Daemonizer::begin(bool background, const std::string& pid_file) {
  std::string error;
  if (!pid_file.empty()) error = pid_file_.claim(pid_file);
  if (error.empty() && background) error = go_to_background(waiting_);
  if (error.empty()) error = pid_file_.write();
  return error;
}

void Daemonizer::ready() noexcept {
  if (!waiting_) return;
  std::fflush(nullptr);
  const UniqueFd nothing(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (nothing) {
    ::dup2(nothing.get(), STDIN_FILENO);
    ::dup2(nothing.get(), STDOUT_FILENO);
    const auto target = file_status(STDERR_FILENO);
    if (!target || !target->is_regular()) ::dup2(nothing.get(), STDERR_FILENO);
  }
  const unsigned char code = 0;
  if (::write(waiting_.get(), &code, 1) < 0) waiting_.reset();  // the waiting process was killed: nobody to tell
  waiting_.reset();
}

void Daemonizer::failed() noexcept {
  if (!waiting_) return;
  std::fflush(nullptr);
  const unsigned char code = 1;
  if (::write(waiting_.get(), &code, 1) < 0) waiting_.reset();
  waiting_.reset();
}

}  // namespace portolan
