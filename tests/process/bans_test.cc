// Bans over a whole daemon: violations of one service close all, the store keeps them, a person lifts them.
#include "support/daemon.h"
#include "support/database.h"

#include <fmt/format.h>

#include <string>

#include "support/cmocka.h"  // last: it defines fail()

using namespace portolan::testing;

namespace {

constexpr const char* kBans = "bans = { violations = 3, within = '1m', time = '1h', never = {} }";

// Two services: lines of at most 64 bytes over tcp, tcp and udp.
std::string configuration(const std::string& more = kBans) {
  return fmt::format(
      "return {{ {} workers = 2, store = {{ flush_every = '1h' }}, services = {{"
      " {{ plugin = 'echo', name = 'first', listen = 'tcp://127.0.0.1:0', mode = 'lines', max_line = 64 }},"
      " {{ plugin = 'echo', name = 'second', listen = {{ 'tcp://127.0.0.1:0', 'udp://127.0.0.1:0' }},"
      " mode = 'lines', max_line = 64 }} }} }}",
      more.empty() ? "" : more + ",");
}

Client client_from(Daemon& daemon, const std::string& source, const std::string& service = "first",
                   const std::string& scheme = "tcp") {
  return Client(daemon.address(service, scheme), {.source = source});
}

bool served(Daemon& daemon, const std::string& source, const std::string& service = "second") {
  Client client = client_from(daemon, source, service);
  return client.send("hello\n") && client.receive_line() == "hello\n";
}

// Sends a line that is too long, and waits for the end that follows.
void violate(Daemon& daemon, const std::string& source, int times = 3) {
  for (int i = 0; i < times; ++i) {
    Client client = client_from(daemon, source);
    client.send(std::string(200, 'x') + "\n");
    client.receive_all();
  }
}

Json bans(Daemon& daemon) { return daemon.query({"bans"})["bans"]; }

void violations_of_one_service_close_all_until_it_is_lifted(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(configuration());
  Client open = client_from(daemon, "127.0.0.2", "second");
  assert_true(open.send("hello\n") && open.receive_line() == "hello\n");
  Client peer = client_from(daemon, "127.0.0.2", "second", "udp");
  assert_true(peer.send("hello\n") && !peer.receive_datagram().empty());
  violate(daemon, "127.0.0.3", 2);
  violate(daemon, "127.0.0.2");

  assert_int_equal(bans(daemon).size(), 1);
  const Json ban = bans(daemon)[0];
  assert_string_equal(ban["address"].get<std::string>().c_str(), "127.0.0.2");
  assert_string_equal(ban["service"].get<std::string>().c_str(), "first");
  assert_string_equal(ban["reason"].get<std::string>().c_str(), "message_too_long");
  assert_int_equal(ban["violations"].get<int>(), 3);
  assert_int_equal(ban["until_ms"].get<long>() - ban["since_ms"].get<long>(), 3'600'000);
  // What was open is ended, and nothing new begins; the neighbours do not notice.
  assert_string_equal(open.receive_all().c_str(), "");
  assert_string_equal(to_text(open.end()), to_text(End::reset));
  assert_true(wait_until([&] { return daemon.counter("second", "sessions_open") == 0; }));
  assert_false(served(daemon, "127.0.0.2"));
  assert_false(served(daemon, "127.0.0.2", "first"));
  peer.send("hello\n");
  assert_true(daemon.wait_for_counter("second", "refused_banned", 3));
  assert_true(served(daemon, "127.0.0.3"));
  const CommandResult table = daemon.command({"bans"});
  assert_int_equal(table.code, 0);
  for (const char* part : {"ADDRESS", "127.0.0.2", "59m", "first", "message_too_long"})
    assert_non_null(strstr(table.output.c_str(), part));
  assert_non_null(strstr(http_get("unix://" + daemon.socket_path(), "/metrics").body.c_str(), "\nportolan_bans 1\n"));

  assert_int_equal(daemon.command({"reload"}).code, 0);
  assert_false(served(daemon, "127.0.0.2"));

  assert_int_equal(daemon.command({"bans", "lift", "127.0.0.2"}).code, 0);
  assert_int_equal(bans(daemon).size(), 0);
  assert_true(served(daemon, "127.0.0.2"));
  assert_int_equal(daemon.command({"bans", "lift", "127.0.0.2"}).code, 4);
  // The lift was stored at once, with what came before it.
  assert_string_equal(
      ask_database(daemon.store_path(),
                   "select group_concat(kind || ' ' || service || ' ' || client || ' ' || detail, ', ') from"
                   " (select * from events where kind in ('banned', 'ban_lifted') order by unix_time)")
          .c_str(),
      "banned first 127.0.0.2 message_too_long, ban_lifted first 127.0.0.2 message_too_long");
  assert_int_equal(number_from_database(daemon.store_path(), "select count(*) from bans"), 0);
}

void bans_survive_a_restart(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(configuration());
  violate(daemon, "127.0.0.2");
  assert_int_equal(daemon.stop(), 0);
  daemon.start(configuration());
  assert_int_equal(bans(daemon).size(), 1);
  assert_false(served(daemon, "127.0.0.2"));
  // One by hand is in the store when the command returns, whatever happens then.
  assert_int_equal(
      daemon.command({"bans", "add", "127.0.0.3", "--time", "2h", "--reason", "a scanner, it's said"}).code, 0);
  assert_int_equal(daemon.command({"bans", "add", "2001:db8::7"}).code, 0);
  daemon.kill();
  daemon.start(configuration());
  assert_false(served(daemon, "127.0.0.2"));
  assert_false(served(daemon, "127.0.0.3"));
  assert_true(served(daemon, "127.0.0.4"));
  const Json all = bans(daemon);
  assert_int_equal(all.size(), 3);
  assert_string_equal(all[1]["address"].get<std::string>().c_str(), "2001:db8::/64");
  assert_string_equal(all[2]["reason"].get<std::string>().c_str(), "a scanner, it's said");
  assert_int_equal(all[2]["until_ms"].get<long>() - all[2]["since_ms"].get<long>(), 7'200'000);
  assert_string_equal(
      ask_database(daemon.store_path(), "select address from bans where reason like 'a scanner%'").c_str(),
      "127.0.0.3");
  assert_int_equal(daemon.command({"bans", "lift", "all"}).code, 0);
  assert_true(served(daemon, "127.0.0.2"));
  daemon.kill();
  daemon.start(configuration());
  assert_true(served(daemon, "127.0.0.2"));
  assert_int_equal(bans(daemon).size(), 0);
}

void without_being_asked_nobody_is_banned(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(configuration(""));
  violate(daemon, "127.0.0.2", 12);
  assert_true(served(daemon, "127.0.0.2"));
  assert_int_equal(bans(daemon).size(), 0);
  // The default of bans.never is this machine.
  const CommandResult refused = daemon.command({"bans", "add", "127.0.0.2"});
  assert_int_equal(refused.code, 1);
  assert_non_null(strstr(refused.errors.c_str(), "127.0.0.2 is in bans.never"));
  assert_int_equal(daemon.command({"bans", "add", "192.0.2.7"}).code, 0);
  assert_int_equal(bans(daemon).size(), 1);
  assert_int_equal(daemon.command({"bans", "add", "nobody"}).code, 1);
  assert_int_equal(daemon.command({"bans", "add", "192.0.2.7", "--time", "soon"}).code, 2);
  assert_int_equal(daemon.command({"bans", "add"}).code, 2);

  // A reload brings it into force, and another takes the addresses out that are never to be banned.
  daemon.configure(configuration());
  assert_int_equal(daemon.command({"reload"}).code, 0);
  violate(daemon, "127.0.0.2");
  assert_false(served(daemon, "127.0.0.2"));
  daemon.configure(configuration("bans = { never = '127.0.0.0/29' }"));
  assert_int_equal(daemon.command({"reload"}).code, 0);
  assert_true(served(daemon, "127.0.0.2"));
}

void a_datagram_is_a_violation_only_by_option(void** state) {
  Daemon& daemon = daemon_of(state);
  const auto violate_by_datagram = [&] {
    Client client = client_from(daemon, "127.0.0.2", "second", "udp");
    for (int i = 0; i < 3; ++i) client.send(std::string(200, 'x') + "\n");
    assert_true(daemon.wait_for_counter("second", "refused_message_too_long", 3));
  };
  daemon.start(configuration());
  violate_by_datagram();
  assert_true(served(daemon, "127.0.0.2"));
  assert_int_equal(daemon.stop(), 0);
  daemon.start(configuration("bans = { violations = 3, datagrams = true, never = {} }"));
  violate_by_datagram();
  assert_false(served(daemon, "127.0.0.2"));
}

void without_a_store_bans_end_with_the_daemon(void** state) {
  Daemon& daemon = daemon_of(state);
  const std::string text =
      "return { store = false, bans = { never = {} }, services = { { plugin = 'echo', name = "
      "'second', listen = 'tcp://127.0.0.1:0', mode = 'lines' } } }";
  daemon.start(text);
  assert_int_equal(daemon.command({"bans", "add", "127.0.0.2"}).code, 0);
  assert_false(served(daemon, "127.0.0.2"));
  assert_int_equal(daemon.stop(), 0);
  daemon.start(text);
  assert_true(served(daemon, "127.0.0.2"));
}

}  // namespace

int main() {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_daemon, end_daemon)
  const CMUnitTest tests[] = {
      TEST(violations_of_one_service_close_all_until_it_is_lifted),
      TEST(bans_survive_a_restart),
      TEST(without_being_asked_nobody_is_banned),
      TEST(a_datagram_is_a_violation_only_by_option),
      TEST(without_a_store_bans_end_with_the_daemon),
  };
  return cmocka_run_group_tests_name("process.bans", tests, nullptr, nullptr);
}
