// The store behind a running daemon: what it counts, who may read it, and what happens when the disk does not play.
#include "support/daemon.h"
#include "support/database.h"

#include <fmt/format.h>

#include <fstream>
#include <string>

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/cmocka.h"  // last: it defines fail()

using namespace portolan::testing;

namespace {

const char* const kEcho = "{ plugin = 'echo', name = 'echo', listen = 'tcp://127.0.0.1:0', mode = 'lines' }";

std::string configuration(const std::string& store) {
  return fmt::format("return {{ store = {{ {} }}, services = {{ {} }} }}", store, kEcho);
}

bool talk(Daemon& daemon, int messages) {
  Client client(daemon.address("echo"));
  for (int index = 0; index < messages; ++index) {
    if (!client.send("hello\n") || client.receive_line() != "hello\n") return false;
  }
  return true;
}

void what_is_counted_can_be_read_while_it_runs(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(configuration("flush_every = '200ms'"));
  assert_true(talk(daemon, 100));
  // Together: a flush may fall between two counters of the same message.
  std::string found;
  const bool stored = wait_until([&] {
    found =
        ask_database(daemon.store_path(),
                     "select sum(sessions) || ' ' || sum(messages) || ' ' || sum(bytes_in) || ' ' || sum(bytes_out) "
                     "from service_minutes where service = 'echo'");
    return found == "1 100 600 600";
  });
  if (!stored) print_error("stored: %s\n", found.c_str());
  assert_true(stored);
  assert_string_equal(ask_database(daemon.store_path(), "pragma journal_mode").c_str(), "wal");
  assert_int_equal(number_from_database(daemon.store_path(), "pragma user_version"), 4);
  // The command tells the same.
  const CommandResult table = daemon.command({"stats", "echo", "--since", "1h"});
  assert_int_equal(table.code, 0);
  assert_non_null(strstr(table.output.c_str(), "echo"));
  assert_non_null(strstr(table.output.c_str(), "100"));
  const Json stats = daemon.query({"stats", "echo", "--since", "1h"});
  assert_non_null(strstr(stats.dump().c_str(), "100"));
}

void an_idle_daemon_writes_nothing(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(configuration("flush_every = '200ms'"));
  assert_true(talk(daemon, 3));
  assert_true(wait_until([&] {
    return number_from_database(daemon.store_path(), "select coalesce(sum(messages), 0) from service_minutes") == 3;
  }));
  const auto written = [&] {
    std::ifstream io("/proc/" + std::to_string(daemon.pid()) + "/io");
    for (std::string key, value; io >> key >> value;) {
      if (key == "syscw:") return std::atol(value.c_str());
    }
    return -1L;
  };
  const auto size = [&] {
    struct stat facts{};
    ::stat((daemon.store_path() + "-wal").c_str(), &facts);
    return static_cast<long>(facts.st_size) + static_cast<long>(facts.st_mtim.tv_sec) * 7 + facts.st_mtim.tv_nsec;
  };
  // The end of the session leaves something behind, and so does the turn of a minute: after them there is a time without
  // a write, which a daemon that writes at every interval never has.
  for (int attempt = 0; attempt < 4; ++attempt) {
    const long before = size();
    const long calls = written();
    let_pass(Milliseconds(1200));  // six intervals
    // The mailboxes' eventfds write too, but not a page of the store's.
    const long made = written() - calls;
    print_message("%ld writes\n", made);
    if (size() == before && made <= 5) return;
  }
  fail_msg("it wrote all the time");
}

void counters_survive_a_restart(void** state) {
  Daemon& daemon = daemon_of(state);
  for (int round = 1; round <= 3; ++round) {
    daemon.start(configuration(""));
    assert_true(talk(daemon, 10));
    assert_int_equal(daemon.stop(), 0);
    assert_int_equal(number_from_database(daemon.store_path(), "select sum(messages) from service_minutes"),
                     10 * round);
  }
}

// A start that must not succeed: exit code 1 and these words.
void expect_refusal(Daemon& daemon, const std::string& text, const std::vector<std::string>& words) {
  daemon.launch(text);
  assert_false(daemon.wait_ready());
  const std::optional<int> code = daemon.process().wait();
  const std::string log = daemon.log();
  print_message("%s", log.c_str());
  assert_true(code.has_value());
  assert_int_equal(*code, 1);
  for (const std::string& word : words) {
    if (log.find(word) == std::string::npos) print_error("the message does not have: %s\n", word.c_str());
    assert_true(log.find(word) != std::string::npos);
  }
}

void a_missing_folder_refuses_the_start(void** state) {
  Daemon& daemon = daemon_of(state);
  const std::string folder = daemon.folder().file("nowhere");
  expect_refusal(daemon, configuration("path = '" + folder + "/p.db'"), {folder});
}

void a_damaged_file_refuses_the_start_and_stays_as_it_is(void** state) {
  Daemon& daemon = daemon_of(state);
  const std::string garbage(20'000, 'g');
  daemon.folder().write("portolan.db", garbage);
  expect_refusal(daemon, configuration(""), {"portolan.db"});
  assert_true(read_whole_file(daemon.store_path()) == garbage);
}

void a_file_of_a_newer_version_refuses_the_start(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(configuration(""));
  assert_true(talk(daemon, 5));
  assert_int_equal(daemon.stop(), 0);
  ask_database(daemon.store_path(), "pragma user_version = 999");
  expect_refusal(daemon, configuration(""), {"portolan.db", "newer"});
  ask_database(daemon.store_path(), "pragma user_version = 3");
  assert_int_equal(number_from_database(daemon.store_path(), "select sum(messages) from service_minutes"), 5);
}

void without_a_store_it_serves_all_the_same(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(fmt::format("return {{ store = false, services = {{ {} }} }}", kEcho));
  assert_true(talk(daemon, 5));
  assert_int_equal(::access(daemon.store_path().c_str(), F_OK), -1);
  assert_true(daemon.wait_for_counter("echo", "messages", 5));
}

// The store on a small file system of its own, in a mount namespace that ends with this program: the last test.
void a_full_disk_never_stops_traffic(void** state) {
  if (::geteuid() != 0) {
    print_message("needs root for a mount of its own\n");
    skip();
  }
  Daemon& daemon = daemon_of(state);
  const std::string small = daemon.folder().file("small");
  assert_int_equal(::mkdir(small.c_str(), 0755), 0);
  if (::unshare(CLONE_NEWNS) != 0 || ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      ::mount("tmpfs", small.c_str(), "tmpfs", 0, "size=2m") != 0) {
    print_message("mounting is not allowed here\n");
    skip();
  }
  daemon.start(fmt::format("return {{ store = {{ path = '{}/p.db', flush_every = '200ms' }}, services = {{ {} }} }}",
                           small, kEcho));
  const std::string database = small + "/p.db";
  const std::string total = "select coalesce(sum(messages), 0) from service_minutes";
  const std::string admin = "unix://" + daemon.socket_path();
  assert_true(talk(daemon, 10));
  assert_true(wait_until([&] { return number_from_database(database, total) == 10; }));
  assert_int_equal(http_get(admin, "/readyz").status, 200);

  const std::string filler_path = small + "/filler";
  const int filler = ::open(filler_path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  const std::string block(4096, 'f');
  while (::write(filler, block.data(), block.size()) > 0) {
  }
  ::close(filler);
  // The write-ahead log may have room left from before: talk until a flush has failed.
  int messages = 10;
  HttpAnswer ready;
  assert_true(wait_until(
      [&] {
        assert_true(talk(daemon, 20));
        messages += 20;
        ready = http_get(admin, "/readyz");
        return ready.status == 503;
      },
      Milliseconds(30'000)));
  print_message("not ready: %s", ready.body.c_str());
  assert_non_null(strstr(ready.body.c_str(), "store"));
  assert_int_equal(http_get(admin, "/healthz").status, 200);
  assert_true(talk(daemon, 50));
  messages += 50;

  assert_int_equal(::unlink(filler_path.c_str()), 0);
  assert_true(wait_until([&] { return http_get(admin, "/readyz").status == 200; }, Milliseconds(30'000)));
  // Nothing that was counted meanwhile is lost.
  assert_true(wait_until([&] { return number_from_database(database, total) == messages; }));
  assert_string_equal(ask_database(database, "pragma integrity_check").c_str(), "ok");
  assert_int_equal(daemon.stop(), 0);
  assert_int_equal(::umount2(small.c_str(), MNT_DETACH), 0);
}

}  // namespace

int main() {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_daemon, end_daemon)
  const CMUnitTest tests[] = {
      TEST(what_is_counted_can_be_read_while_it_runs),
      TEST(an_idle_daemon_writes_nothing),
      TEST(counters_survive_a_restart),
      TEST(a_missing_folder_refuses_the_start),
      TEST(a_damaged_file_refuses_the_start_and_stays_as_it_is),
      TEST(a_file_of_a_newer_version_refuses_the_start),
      TEST(without_a_store_it_serves_all_the_same),
      TEST(a_full_disk_never_stops_traffic),
  };
  return cmocka_run_group_tests_name("process.store", tests, nullptr, nullptr);
}
