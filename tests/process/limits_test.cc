// Every limit that a service has, against a client that goes over it.
#include "support/certificates.h"
#include "support/daemon.h"

#include <fmt/format.h>

#include <string>
#include <vector>

#include "support/cmocka.h"  // last: it defines fail()

using namespace portolan::testing;

namespace {

std::string service(const std::string& options, const std::string& listen = "'tcp://127.0.0.1:0'") {
  return fmt::format("return {{ services = {{ {{ plugin = 'echo', name = 'echo', listen = {}, {} }} }} }}\n", listen,
                     options);
}

bool answers(Client& client, const std::string& text = "hello\n") {
  return client.send(text) && client.receive(text.size()) == text;
}

// Turned away: the connection ends without a byte, and at once.
bool turned_away(Client& client) {
  const Clock::time_point start = Clock::now();
  client.send("hello\n");
  const bool empty = client.receive_all().empty();
  return empty && (client.end() == End::closed || client.end() == End::reset) && milliseconds_since(start) < 1000;
}

void a_full_service_refuses_at_once(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(service("mode = 'lines', max_sessions = 5"));
  std::vector<Client> inside;
  for (int index = 0; index < 5; ++index) {
    inside.emplace_back(daemon.address("echo"));
    assert_true(answers(inside.back()));
  }
  for (int index = 0; index < 20; ++index) {
    Client outside(daemon.address("echo"));
    assert_true(turned_away(outside));
  }
  assert_true(daemon.wait_for_counter("echo", "refused_max_sessions", 20));
  assert_int_equal(daemon.counter("echo", "sessions_open"), 5);
  for (Client& client : inside) assert_true(answers(client));
  inside.pop_back();
  // The place becomes free when the daemon has seen the close.
  assert_true(wait_until([&] {
    Client next(daemon.address("echo"));
    return answers(next);
  }));
}

void the_limit_holds_over_all_workers_together(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(
      "return { workers = 2, services = { { plugin = 'echo', name = 'echo', listen = 'tcp://127.0.0.1:0', "
      "mode = 'lines', max_sessions = 10 } } }");
  std::vector<Client> clients;
  int served = 0;
  for (int index = 0; index < 30; ++index) {
    clients.emplace_back(daemon.address("echo"));
    served += answers(clients.back());
  }
  assert_int_equal(served, 10);
  assert_true(daemon.wait_for_counter("echo", "refused_max_sessions", 20));
}

void one_client_cannot_take_all_sessions(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(service("mode = 'lines', max_sessions_per_client = 2"));
  std::vector<Client> clients;
  for (const char* source : {"127.0.0.2", "127.0.0.2", "127.0.0.3", "127.0.0.3", "127.0.0.4"}) {
    clients.emplace_back(daemon.address("echo"), ClientOptions{.source = source});
    assert_true(answers(clients.back()));
  }
  Client third(daemon.address("echo"), {.source = "127.0.0.2"});
  assert_true(turned_away(third));
  Client second(daemon.address("echo"), {.source = "127.0.0.4"});
  assert_true(answers(second));
  assert_true(daemon.wait_for_counter("echo", "refused_max_sessions_per_client", 1));
}

void new_sessions_come_no_faster_than_the_accept_rate(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(service("mode = 'lines', accept_rate = '10/s'"));
  const Clock::time_point start = Clock::now();
  int served = 0;
  for (int index = 0; index < 100; ++index) {
    Client client(daemon.address("echo"));
    served += answers(client);
  }
  // A second's worth at once, then what the time since then allows.
  const auto allowed = 10 + milliseconds_since(start) / 100 + 2;
  print_message("%d of 100 served\n", served);
  assert_in_range(served, 10, static_cast<std::uintmax_t>(allowed));
  assert_true(daemon.wait_for_counter("echo", "refused_accept_rate", 100 - allowed));
  assert_true(wait_until([&] {
    Client later(daemon.address("echo"));
    return answers(later);
  }));
}

void a_stream_over_the_message_rate_is_slowed_and_loses_nothing(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(service("mode = 'lines', message_rate = '50/s'"));
  std::string lines;
  for (int index = 0; index < 120; ++index) lines += fmt::format("line {}\n", index);
  Client client(daemon.address("echo"));
  const Clock::time_point start = Clock::now();
  assert_string_equal(client.exchange(lines, lines.size()).c_str(), lines.c_str());
  const std::int64_t took = milliseconds_since(start);
  print_message("120 lines at 50/s took %ld ms\n", static_cast<long>(took));
  assert_in_range(took, 1200, 4000);  // 50 at once, 70 at 50/s: 1.4 s
  // Another address has a rate of its own.
  Client other(daemon.address("echo"), {.source = "127.0.0.9"});
  const Clock::time_point again = Clock::now();
  assert_true(answers(other));
  assert_true(milliseconds_since(again) < 500);
}

void datagrams_over_the_message_rate_are_dropped_and_counted(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(service("mode = 'raw', message_rate = '20/s'", "'udp://127.0.0.1:0'"));
  Client client(daemon.address("echo", "udp"), {.patience = Milliseconds(500)});
  const Clock::time_point start = Clock::now();
  for (int index = 0; index < 100; ++index) assert_true(client.send("ping"));
  int answered = 0;
  while (!client.receive_datagram().empty()) ++answered;
  const auto allowed = 20 + milliseconds_since(start) / 50 + 1;
  assert_in_range(answered, 20, static_cast<std::uintmax_t>(allowed));
  assert_true(daemon.wait_for_counter("echo", "refused_message_rate", 100 - allowed));
}

void bytes_over_the_byte_rate_are_slowed(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(service("mode = 'raw', byte_rate = '200kB/s'"));
  Client client(daemon.address("echo"));
  const std::string data(600'000, 'x');
  const Clock::time_point start = Clock::now();
  assert_true(client.exchange(data, data.size()) == data);
  const std::int64_t took = milliseconds_since(start);
  print_message("600 kB at 200 kB/s took %ld ms\n", static_cast<long>(took));
  // A second's worth at once, and what is read in one go may overdraw: 1.5 s at least, 2 s by the book.
  assert_in_range(took, 1300, 5000);
}

void an_idle_session_is_ended_and_a_busy_one_is_not(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(service("mode = 'lines', idle_timeout = '1s'"));
  Client idle(daemon.address("echo"));
  Client busy(daemon.address("echo"));
  assert_true(answers(idle));
  const Clock::time_point start = Clock::now();
  while (milliseconds_since(start) < 2500) {
    assert_true(answers(busy));
    let_pass(Milliseconds(100));
  }
  idle.set_patience(Milliseconds(100));
  idle.receive_all();
  assert_string_equal(to_text(idle.end()), to_text(End::closed));
  assert_int_equal(daemon.counter("echo", "refused_idle_timeout"), 1);
  idle.close();  // until then the daemon waits a while for the peer's end of it
  assert_true(wait_until([&] { return daemon.counter("echo", "sessions_open") == 1; }));
}

void a_first_message_that_trickles_in_is_not_waited_for(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(service("mode = 'lines', first_message_timeout = '1s', idle_timeout = '30s'"));
  Client slow(daemon.address("echo"));
  Client good(daemon.address("echo"));
  assert_true(answers(good));
  const Clock::time_point start = Clock::now();
  // A byte every 100 ms and never a newline: it is never idle, and still must go.
  while (slow.send("x") && milliseconds_since(start) < 5000) {
    slow.set_patience(Milliseconds(100));
    pollfd entry{.fd = slow.descriptor(), .events = POLLIN, .revents = 0};
    if (::poll(&entry, 1, 100) > 0) break;
  }
  const std::int64_t took = milliseconds_since(start);
  assert_in_range(took, 800, 3000);
  assert_true(daemon.wait_for_counter("echo", "refused_first_message_timeout", 1));
  assert_true(answers(good));  // had its first message: the timeout no longer concerns it
}

void a_tls_client_that_never_says_hello_is_ended(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(
      service("mode = 'lines', first_message_timeout = '1s', tls = { self_signed = true }", "'tls://127.0.0.1:0'"));
  const Clock::time_point start = Clock::now();
  Client silent(daemon.address("echo", "tls"), {.handshake = false});
  assert_true(silent.connected());
  silent.receive_all();
  assert_true(silent.end() == End::closed || silent.end() == End::reset);
  assert_in_range(milliseconds_since(start), 800, 3000);
  assert_true(daemon.wait_for_counter("echo", "refused_first_message_timeout", 1));
}

void answers_that_nobody_reads_are_bounded(void** state) {
  Daemon& daemon = daemon_of(state);
  // Each line of two bytes makes an answer of 64 KiB.
  daemon.start(service("mode = 'lines', output_limit = '256KiB', on_line = function() return ('x'):rep(65536) end"));
  Client client(daemon.address("echo"), {.receive_buffer = 16384});
  assert_true(client.connected());
  const long before = daemon.facts().resident_kib;
  std::string lines;
  for (int index = 0; index < 5000; ++index) lines += "a\n";
  client.send_what_fits(lines);
  const long messages_at_rest = [&] {
    long last = -1;
    wait_until([&] {
      const long now = daemon.counter("echo", "messages");
      let_pass(Milliseconds(100));
      return now > 0 && std::exchange(last, now) == now;
    });
    return last;
  }();
  // The kernel takes a few MB of it; 5,000 answers would be 320 MB.
  print_message("%ld answers made for nobody\n", messages_at_rest);
  assert_in_range(messages_at_rest, 1, 1000);
  assert_true(daemon.facts().resident_kib - before < (test_scale() < 1 ? 64 * 1024 : 8 * 1024));
  // Now it is read after all: everything comes.
  client.set_patience(Milliseconds(60'000));
  assert_true(client.receive(5000U * 65537U).size() == 5000U * 65537U);
}

}  // namespace

int main() {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_daemon, end_daemon)
  const CMUnitTest tests[] = {
      TEST(a_full_service_refuses_at_once),
      TEST(the_limit_holds_over_all_workers_together),
      TEST(one_client_cannot_take_all_sessions),
      TEST(new_sessions_come_no_faster_than_the_accept_rate),
      TEST(a_stream_over_the_message_rate_is_slowed_and_loses_nothing),
      TEST(datagrams_over_the_message_rate_are_dropped_and_counted),
      TEST(bytes_over_the_byte_rate_are_slowed),
      TEST(an_idle_session_is_ended_and_a_busy_one_is_not),
      TEST(a_first_message_that_trickles_in_is_not_waited_for),
      TEST(a_tls_client_that_never_says_hello_is_ended),
      TEST(answers_that_nobody_reads_are_bounded),
  };
  return cmocka_run_group_tests_name("process.limits", tests, nullptr, nullptr);
}
