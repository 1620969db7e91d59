// What forks does so in a child of the test, which tells by a file or its exit code what it saw.
#include "app/daemonize.h"

#include "support/temporary_folder.h"
#include "support/waiting.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "support/cmocka.h"

using namespace portolan;
using testing::read_whole_file;
using testing::TemporaryFolder;

namespace {

template <typename Body>
int exit_code_of(Body body) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(body());
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

void a_daemon_that_is_ready_lets_its_starter_go(void**) {
  const TemporaryFolder folder;
  const std::string pid_file = folder.file("pid");
  const int code = exit_code_of([&] {
    Daemonizer daemonizer;
    if (!daemonizer.begin(true, pid_file).empty()) return 9;
    daemonizer.ready();
    char target[64] = {};
    if (::readlink("/proc/self/fd/1", target, sizeof target - 1) < 0) return 0;
    folder.write("facts", std::to_string(::getpid()) + " " + std::to_string(::getsid(0)) + " " + target);
    ::pause();  // until the test ends us
    return 0;
  });
  assert_int_equal(code, 0);
  assert_true(testing::wait_until([&] { return !read_whole_file(folder.file("facts")).empty(); }));
  const pid_t daemon = std::atoi(read_whole_file(pid_file).c_str());
  const std::string facts = read_whole_file(folder.file("facts"));
  ::kill(daemon, SIGKILL);
  assert_true(facts.starts_with(std::to_string(daemon) + " "));
  assert_true(facts.ends_with("/dev/null"));
  assert_false(facts.starts_with(std::to_string(daemon) + " " + std::to_string(daemon) + " "));  // leads no session
  // A file that a killed one left is taken over.
  assert_true(testing::wait_until([&] {
    PidFile next;
    return next.claim(pid_file).empty();
  }));
}

void a_daemon_that_fails_says_so_by_the_exit_code(void**) {
  assert_int_equal(exit_code_of([] {
                     Daemonizer daemonizer;
                     if (!daemonizer.begin(true, "").empty()) return 9;
                     daemonizer.failed();
                     return 0;
                   }),
                   1);
  // One that ends without a word, too.
  const int kept = ::dup(2);
  const int nothing = ::open("/dev/null", O_WRONLY);
  ::dup2(nothing, 2);
  const int code = exit_code_of([] {
    auto* daemonizer = new Daemonizer;
    if (!daemonizer->begin(true, "").empty()) return 9;
    ::_exit(0);
  });
  ::dup2(kept, 2);
  ::close(kept);
  ::close(nothing);
  assert_int_equal(code, 1);
}

void a_pid_file_is_one_process_only(void**) {
  const TemporaryFolder folder;
  const std::string path = folder.file("pid");
  {
    PidFile first;
    assert_string_equal(first.claim(path).c_str(), "");
    assert_string_equal(first.write().c_str(), "");
    assert_string_equal(read_whole_file(path).c_str(), (std::to_string(::getpid()) + "\n").c_str());
    PidFile second;
    const std::string error = second.claim(path);
    assert_true(error.find("process " + std::to_string(::getpid())) != std::string::npos);
  }
  assert_int_equal(::access(path.c_str(), F_OK), -1);
  PidFile nowhere;
  assert_true(nowhere.claim(folder.file("missing/pid")).find("cannot make") != std::string::npos);
  // A link that somebody laid is not followed.
  assert_int_equal(::symlink("/etc/passwd", folder.file("link").c_str()), 0);
  assert_false(nowhere.claim(folder.file("link")).empty());
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test(a_daemon_that_is_ready_lets_its_starter_go),
      cmocka_unit_test(a_daemon_that_fails_says_so_by_the_exit_code),
      cmocka_unit_test(a_pid_file_is_one_process_only),
  };
  return cmocka_run_group_tests_name("core.app.daemonize", tests, nullptr, nullptr);
}
