// An operator drains a whole service and lets it serve again; who asks for what there is not is told so.
#include "support/daemon.h"
#include "support/database.h"

#include <fmt/format.h>

#include <cstring>
#include <string>
#include <vector>

#include "support/cmocka.h"  // last: it defines fail()

using namespace portolan::testing;

namespace {

// On two workers, the kernel spreads as many as these over both.
constexpr int kMany = 8;
const char* const kEcho =
    "return { workers = 2, services = { { plugin = 'echo', name = 'echo', mode = 'lines', transform = 'upper', "
    "listen = { 'tcp://127.0.0.1:0', 'udp://127.0.0.1:0' }, idle_timeout = '600s', first_message_timeout = '600s', "
    "datagram_timeout = '600s' } } }";

// A session in the middle of a line is not quiet, however long the machine stands still meanwhile.
bool begins_a_line(Client& session) { return session.send("before\nbeg") && session.receive_line() == "BEFORE\n"; }
bool ends_it_and_begins_another(Client& session) {
  return session.send("un\nbeg") && session.receive_line() == "BEGUN\n";
}

bool is_turned_away(const std::string& address) {
  Client client(address);
  client.receive_all();
  return client.end() == End::closed || client.end() == End::reset;
}

Json status_of_echo(Daemon& daemon) { return daemon.query({"status"}).at("services")[0]; }

void order(Daemon& daemon, const std::string& what, bool changed) {
  const Json answer = daemon.query({what, "echo"});
  assert_int_equal(answer.at("drained").get<bool>(), what == "drain");
  assert_int_equal(answer.at("changed").get<bool>(), changed);
}

void a_drained_service_lets_sessions_finish_and_nobody_in(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(kEcho);
  const std::string address = daemon.address("echo");
  std::vector<Client> old;
  for (int i = 0; i < kMany; ++i) {
    old.emplace_back(address);
    assert_true(begins_a_line(old.back()));
  }
  order(daemon, "drain", true);
  order(daemon, "drain", false);
  assert_true(status_of_echo(daemon).at("drained").get<bool>());
  assert_non_null(strstr(daemon.command({"status"}).output.c_str(), "drained"));
  for (int i = 0; i < kMany; ++i) assert_true(is_turned_away(address));
  assert_true(daemon.wait_for_counter("echo", "refused_draining", kMany));
  // In the middle of a line a session goes on for longer than a quiet one may, whichever generation it is of.
  let_pass(Milliseconds(1500));
  for (Client& session : old) assert_true(ends_it_and_begins_another(session));
  assert_int_equal(daemon.command({"reload"}).code, 0);
  assert_true(status_of_echo(daemon).at("drained").get<bool>());
  assert_true(is_turned_away(address));
  for (Client& session : old) {
    assert_true(session.send("\n"));
    assert_string_equal(session.receive_all().c_str(), "BEG\n");
    assert_string_equal(to_text(session.end()), to_text(End::closed));
  }

  order(daemon, "undrain", true);
  std::vector<Client> again;
  for (int i = 0; i < kMany; ++i) {
    again.emplace_back(address);
    assert_true(begins_a_line(again.back()));
  }
  // And quiet ones stay.
  for (Client& session : again) assert_true(session.send("un\n") && session.receive_line() == "BEGUN\n");
  let_pass(Milliseconds(1500));
  for (Client& session : again) assert_true(begins_a_line(session));
  again.clear();
  old.clear();
  assert_int_equal(daemon.stop(), 0);
  const auto events = [&](const std::string& detail) {
    return number_from_database(daemon.store_path(),
                                fmt::format("SELECT sum(count) FROM events WHERE kind = 'command' AND service = 'echo' "
                                            "AND detail = '{}'",
                                            detail));
  };
  // The second drain changed nothing.
  assert_int_equal(events("drain"), 1);
  assert_int_equal(events("undrain"), 1);
}

void a_drain_reaches_the_sessions_of_an_earlier_generation(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(kEcho);
  Client session(daemon.address("echo"));
  assert_true(begins_a_line(session));
  assert_int_equal(daemon.command({"reload"}).code, 0);
  order(daemon, "drain", true);
  assert_true(ends_it_and_begins_another(session));
  assert_true(session.send("\n"));
  assert_string_equal(session.receive_all().c_str(), "BEG\n");
  assert_string_equal(to_text(session.end()), to_text(End::closed));
}

void datagrams_of_strangers_are_dropped(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(kEcho);
  const std::string address = daemon.address("echo", "udp");
  Client stranger(address);
  // A peer that talks goes on. When the machine stood still it was quiet, and nothing can be said of it.
  assert_true(wait_until([&] {
    Client known(address, {.patience = Milliseconds(500)});
    assert_true(known.send("a\n"));
    if (known.receive_datagram() != "A\n") return false;
    daemon.query({"drain", "echo"});
    const bool goes_on = known.send("b\n") && known.receive_datagram() == "B\n";
    if (!goes_on) daemon.query({"undrain", "echo"});
    return goes_on;
  }));
  const long refused = daemon.counter("echo", "refused_draining");
  assert_true(stranger.send("dropped\n"));
  assert_true(daemon.wait_for_counter("echo", "refused_draining", refused + 1));
  // Those that were known are forgotten when they are quiet, long before their own timeout.
  assert_true(wait_until([&] { return status_of_echo(daemon).at("open").get<int>() == 0; }));
  order(daemon, "undrain", true);
  assert_true(stranger.send("served\n"));
  assert_string_equal(stranger.receive_datagram().c_str(), "SERVED\n");
}

void what_there_is_not_is_said(void** state) {
  Daemon& daemon = daemon_of(state);
  assert_int_equal(daemon.command({"drain", "echo"}).code, 3);
  daemon.start(kEcho);
  const struct {
    std::vector<std::string> arguments;
    int code;
    const char* said;
  } cases[] = {
      {{"drain", "ecko"}, 4, "no service is called \"ecko\"; did you mean \"echo\"?"},
      {{"drain", "echo", "b1"}, 1, "drain takes no arguments, not \"backend\""},
      {{"command", "echo", "drian"}, 4, "service \"echo\" has no command \"drian\"; did you mean \"drain\"?"},
      {{"command", "echo", "drain", "now"}, 2, "\"now\" is not KEY=VALUE"},
      {{"backends"}, 4, "no service has backends"},
      {{"backends", "echo"}, 4, "its commands are: drain, undrain"},
      {{"fault", "list"}, 4, "no service has faults"},
  };
  for (const auto& [arguments, code, said] : cases) {
    const CommandResult result = daemon.command(arguments);
    if (result.code != code || result.errors.find(said) == std::string::npos)
      print_error("%d %s\n", result.code, result.errors.c_str());
    assert_int_equal(result.code, code);
    assert_non_null(strstr(result.errors.c_str(), said));
  }
  assert_false(status_of_echo(daemon).at("drained").get<bool>());
}

}  // namespace

int main() {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_daemon, end_daemon)
  const CMUnitTest tests[] = {
      TEST(a_drained_service_lets_sessions_finish_and_nobody_in),
      TEST(a_drain_reaches_the_sessions_of_an_earlier_generation),
      TEST(datagrams_of_strangers_are_dropped),
      TEST(what_there_is_not_is_said),
  };
  return cmocka_run_group_tests_name("process.command", tests, nullptr, nullptr);
}
