#include "app/sd_notify.h"

#include "support/temporary_folder.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <string>

#include "support/cmocka.h"

using namespace portolan;

namespace {

// A socket as systemd would have it: what is sent to it can be read at once.
int manager_at(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  if (path[0] == '@') address.sun_path[0] = '\0';
  const int manager = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size());
  if (::bind(manager, reinterpret_cast<const sockaddr*>(&address), size) != 0) return -1;
  ::setenv("NOTIFY_SOCKET", path.c_str(), 1);
  return manager;
}

std::string received(int manager) {
  char text[512];
  const ssize_t count = ::recv(manager, text, sizeof text, 0);
  return count < 0 ? "" : std::string(text, static_cast<std::size_t>(count));
}

void states_arrive(void**) {
  const testing::TemporaryFolder folder;
  for (const std::string& path : {folder.file("notify"), "@portolan-test-" + std::to_string(::getpid())}) {
    const int manager = manager_at(path);
    assert_true(manager >= 0);
    assert_true(sd_notify("READY=1\nSTATUS=serving"));
    assert_string_equal(received(manager).c_str(), "READY=1\nSTATUS=serving");
    assert_true(sd_notify_reloading());
    const std::string reloading = received(manager);
    assert_true(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert_true(std::atoll(reloading.c_str() + 27) > 0);
    ::close(manager);
  }
}

void without_a_manager_nothing_happens(void**) {
  ::unsetenv("NOTIFY_SOCKET");
  assert_false(sd_notify("READY=1"));
  for (const char* path : {"", "relative", "/nonexistent/notify"}) {
    ::setenv("NOTIFY_SOCKET", path, 1);
    assert_false(sd_notify("READY=1"));
  }
  ::setenv("NOTIFY_SOCKET", ("/" + std::string(200, 'x')).c_str(), 1);
  assert_false(sd_notify("READY=1"));
  ::unsetenv("NOTIFY_SOCKET");
}

void the_watchdog_is_ours_only(void**) {
  ::unsetenv("WATCHDOG_PID");
  ::setenv("WATCHDOG_USEC", "30000000", 1);
  assert_true(watchdog_interval() == std::chrono::seconds(30));
  ::setenv("WATCHDOG_PID", std::to_string(::getpid()).c_str(), 1);
  assert_true(watchdog_interval() == std::chrono::seconds(30));
  ::setenv("WATCHDOG_PID", "1", 1);
  assert_true(watchdog_interval() == Duration::zero());
  ::unsetenv("WATCHDOG_PID");
  for (const char* text : {"", "0", "-5", "soon", "99999999999999999999"}) {
    ::setenv("WATCHDOG_USEC", text, 1);
    assert_true(watchdog_interval() == Duration::zero());
  }
  ::unsetenv("WATCHDOG_USEC");
}

void sockets_are_taken_over_once(void**) {
  // Descriptors 3 and 4, whatever a test runner left there.
  const int pair = ::socket(AF_UNIX, SOCK_STREAM, 0);
  ::dup2(pair, 3);
  ::dup2(pair, 4);
  ::setenv("LISTEN_PID", std::to_string(::getpid()).c_str(), 1);
  ::setenv("LISTEN_FDS", "2", 1);
  ::setenv("LISTEN_FDNAMES", "web", 1);
  const auto sockets = inherited_sockets();
  assert_int_equal(sockets.size(), 2);
  assert_int_equal(sockets[0].descriptor, 3);
  assert_string_equal(sockets[0].name.c_str(), "web");
  assert_string_equal(sockets[1].name.c_str(), "unknown");
  for (const auto& socket : sockets) assert_true(::fcntl(socket.descriptor, F_GETFD) & FD_CLOEXEC);
  assert_null(std::getenv("LISTEN_FDS"));
  assert_int_equal(inherited_sockets().size(), 0);

  ::setenv("LISTEN_PID", "1", 1);
  ::setenv("LISTEN_FDS", "2", 1);
  assert_int_equal(inherited_sockets().size(), 0);
  assert_null(std::getenv("LISTEN_PID"));
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test(states_arrive),
      cmocka_unit_test(without_a_manager_nothing_happens),
      cmocka_unit_test(the_watchdog_is_ours_only),
      cmocka_unit_test(sockets_are_taken_over_once),
  };
  return cmocka_run_group_tests_name("core.app.sd_notify", tests, nullptr, nullptr);
}
