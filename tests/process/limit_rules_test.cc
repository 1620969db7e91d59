// The list `limits` of a service, over sockets: what is counted, by whom, and what it is to be over it.
#include "support/daemon.h"

#include <fmt/format.h>

#include <string>
#include <vector>

#include "support/cmocka.h"  // last: it defines fail()

using namespace portolan::testing;

namespace {

std::string service(const std::string& limits, const std::string& more = "mode = 'lines'") {
  return fmt::format(
      "return {{ drain_timeout = '1s', services = {{ {{ plugin = 'echo', name = 'echo', listen = {{ "
      "'tcp://127.0.0.1:0', 'udp://127.0.0.1:0' }}, limits = {{ {} }}, {} }} }} }}",
      limits, more);
}

Client client_from(Daemon& daemon, const std::string& source) {
  return Client(daemon.address("echo"), {.source = source});
}

bool answers(Client& client) { return client.send("hello\n") && client.receive_line() == "hello\n"; }

// How many of `count` sessions are served, and how the first ended that was not.
int sessions_served(Daemon& daemon, const std::string& source, int count, End* end = nullptr) {
  int served = 0;
  for (int i = 0; i < count; ++i) {
    Client client = client_from(daemon, source);
    if (answers(client))
      ++served;
    else if (end)
      *end = client.end();
  }
  return served;
}

void sessions_of_a_client_are_refused_or_dropped(void** state) {
  Daemon& daemon = daemon_of(state);
  // Rates that give nothing back within a test's time: the counts are exact.
  daemon.start(service("{ count = 'sessions', rate = '1/m', window = '5m' }"));
  assert_int_equal(sessions_served(daemon, "127.0.0.2", 12), 5);
  assert_int_equal(sessions_served(daemon, "127.0.0.3", 5), 5);
  assert_true(daemon.wait_for_counter("echo", "refused_accept_rate", 7));
  // A reload that leaves the limits as they are forgets nothing.
  daemon.configure(service("{ count = 'sessions', rate = '1/m', window = '5m' }", "mode = 'lines', max_line = 100"));
  assert_int_equal(daemon.command({"reload"}).code, 0);
  assert_int_equal(sessions_served(daemon, "127.0.0.2", 2), 0);
  // One that changes them begins anew, also for a client that is still there.
  Client stays = client_from(daemon, "127.0.0.4");
  assert_true(answers(stays));
  daemon.configure(
      service("{ count = 'sessions', rate = '2/h', window = '1h', algorithm = 'sliding_window', over = 'drop' }"));
  assert_int_equal(daemon.command({"reload"}).code, 0);
  End end = End::none;
  for (const char* source : {"127.0.0.2", "127.0.0.4"}) assert_int_equal(sessions_served(daemon, source, 5, &end), 2);
  assert_string_equal(to_text(end), to_text(End::reset));
  assert_true(answers(stays));
}

void sessions_of_the_service_are_counted_together(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(
      service("{ count = 'sessions', per = 'service', rate = '6/h', window = '1h', algorithm = "
              "'fixed_window' }"));
  assert_int_equal(sessions_served(daemon, "127.0.0.2", 4), 4);
  const int more = sessions_served(daemon, "127.0.0.3", 4);
  // Unless an hour's turn fell between.
  assert_true(more == 2 || more == 4);
}

// Sends so many lines and says how many came back.
int lines_answered(Client& client, int count) {
  std::string lines;
  for (int i = 0; i < count; ++i) lines += fmt::format("line {:02}\n", i);
  client.send(lines);
  return static_cast<int>(client.receive_all().size() / 8);
}

void a_message_too_many_ends_the_session(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(service("{ count = 'messages', rate = '1/m', window = '10m' }"));
  Client client = client_from(daemon, "127.0.0.2");
  assert_int_equal(lines_answered(client, 30), 10);
  assert_string_equal(to_text(client.end()), to_text(End::closed));
  assert_true(daemon.wait_for_counter("echo", "refused_message_rate", 1));
  Client again = client_from(daemon, "127.0.0.2");
  assert_int_equal(lines_answered(again, 1), 0);
  Client other = client_from(daemon, "127.0.0.3");
  assert_true(answers(other));

  daemon.configure(service("{ count = 'messages', rate = '1/m', window = '10m', over = 'drop' }"));
  assert_int_equal(daemon.command({"reload"}).code, 0);
  Client dropped = client_from(daemon, "127.0.0.2");
  assert_true(lines_answered(dropped, 30) <= 10);
  assert_string_equal(to_text(dropped.end()), to_text(End::reset));
}

void a_stream_over_a_limit_may_be_delayed(void** state) {
  Daemon& daemon = daemon_of(state);
  // The second is never in the way: what waits for the first must not use it up.
  daemon.start(
      service("{ count = 'messages', rate = '50/s', algorithm = 'sliding_window', over = 'delay' }, "
              "{ count = 'bytes', rate = '3kB/m', window = '1m' }"));
  std::string lines;
  for (int index = 0; index < 120; ++index) lines += fmt::format("line {}\n", index);
  Client client = client_from(daemon, "127.0.0.2");
  const Clock::time_point start = Clock::now();
  assert_string_equal(client.exchange(lines, lines.size()).c_str(), lines.c_str());
  const std::int64_t took = milliseconds_since(start);
  print_message("120 lines at 50/s took %ld ms\n", static_cast<long>(took));
  assert_true(took >= 1000);  // 100 within any second and a half
  // And the second one is: it refuses.
  client.send(std::string(2500, 'x') + "\n");
  client.receive(2501);
  assert_true(!answers(client));
  assert_true(daemon.wait_for_counter("echo", "refused_byte_rate", 1));
}

void datagrams_over_a_limit_are_dropped(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(service("{ count = 'messages', rate = '1/m', window = '20m', over = 'delay' }"));
  Client client(daemon.address("echo", "udp"));
  for (int i = 0; i < 60; ++i) assert_true(client.send("ping\n"));
  for (int i = 0; i < 20; ++i) assert_false(client.receive_datagram().empty());
  assert_true(daemon.wait_for_counter("echo", "refused_message_rate", 40));
  client.set_patience(Milliseconds(0));
  assert_true(client.receive_datagram().empty());
}

void bytes_that_are_only_passed_on_are_counted(void** state) {
  Daemon& daemon = daemon_of(state);
  const auto relay = [](const std::string& limit) {
    return fmt::format(
        "return {{ services = {{ {{ plugin = 'echo', name = 'behind', listen = 'unix://behind.sock', mode = 'raw' }},"
        " {{ plugin = 'relay', name = 'echo', listen = 'tcp://127.0.0.1:0', backends = 'unix://behind.sock',"
        " limits = {{ {} }} }} }} }}",
        limit);
  };
  daemon.start(relay("{ count = 'bytes', rate = '64KiB/m', window = '10m' }"));
  const std::string data(4 << 20, 'x');
  Client client = client_from(daemon, "127.0.0.2");
  // What is allowed, and what one turn overdraws.
  assert_true(client.exchange(data, data.size()).size() <= (640 << 10) + (1 << 20));
  assert_true(client.end() == End::closed || client.end() == End::reset);
  assert_true(daemon.wait_for_counter("echo", "refused_byte_rate", 1));

  daemon.configure(relay("{ count = 'bytes', rate = '2MB/s', over = 'delay' }"));
  assert_int_equal(daemon.command({"reload"}).code, 0);
  Client slow = client_from(daemon, "127.0.0.2");
  const Clock::time_point start = Clock::now();
  assert_true(slow.exchange(data, data.size()) == data);
  const std::int64_t took = milliseconds_since(start);
  print_message("4 MiB at 2 MB/s took %ld ms\n", static_cast<long>(took));
  assert_true(took >= 500);  // a second's worth at once, and a turn more
}

}  // namespace

int main() {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_daemon, end_daemon)
  const CMUnitTest tests[] = {
      TEST(sessions_of_a_client_are_refused_or_dropped), TEST(sessions_of_the_service_are_counted_together),
      TEST(a_message_too_many_ends_the_session),         TEST(a_stream_over_a_limit_may_be_delayed),
      TEST(datagrams_over_a_limit_are_dropped),          TEST(bytes_that_are_only_passed_on_are_counted),
  };
  return cmocka_run_group_tests_name("process.limit_rules", tests, nullptr, nullptr);
}
