// Every limit that a service has, against a client that goes over it.
#include "support/certificates.h"
#include "support/daemon.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <utility>
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

// So that no timeout ends a session within a test's patience unless the test is about that one.
const std::string kNoTimeouts = "first_message_timeout = '120s', idle_timeout = '120s'";

// Turned away: the connection ends without a byte, and not by a timeout.
bool turned_away(Client& client) {
  client.send("hello\n");
  return client.receive_all().empty() && (client.end() == End::closed || client.end() == End::reset);
}

void a_full_service_refuses_at_once(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(service("mode = 'lines', max_sessions = 5, " + kNoTimeouts));
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
  daemon.start(service("mode = 'lines', max_sessions_per_client = 2, " + kNoTimeouts));
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
  assert_true(took >= 1200);  // 50 at once, 70 at 50/s: 1.4 s
}

void each_address_has_a_message_rate_of_its_own(void** state) {
  Daemon& daemon = daemon_of(state);
  // What the first one is still owed holds up a stop until drain_timeout.
  daemon.start(
      "return { drain_timeout = '1s', services = { { plugin = 'echo', name = 'echo', listen = 'tcp://127.0.0.1:0', "
      "mode "
      "= 'lines', message_rate = '1/m', " +
      kNoTimeouts + " } } }");
  Client first(daemon.address("echo"));
  assert_true(answers(first));
  assert_true(first.send("wait for a minute\n"));
  // By the first one's rate this would take a minute, which is more than the client's patience.
  Client other(daemon.address("echo"), {.source = "127.0.0.9"});
  assert_true(answers(other));
  first.set_patience(Milliseconds(100));
  assert_string_equal(first.receive_line().c_str(), "");
}

void datagrams_over_the_message_rate_are_dropped_and_counted(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(service("mode = 'raw', message_rate = '20/s'", "'udp://127.0.0.1:0'"));
  Client client(daemon.address("echo", "udp"));
  const Clock::time_point start = Clock::now();
  for (int index = 0; index < 100; ++index) assert_true(client.send("ping"));
  int answered = 0;
  // A second's worth for certain, and then whatever else comes.
  while (answered < 20 && !client.receive_datagram().empty()) ++answered;
  client.set_patience(Milliseconds(500));
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
  assert_true(took >= 1300);
}

// Talks every 100 ms for 2.5 s: whether the session lasted, and how long it was quiet at the most, as the client saw it.
bool lasts_while_it_talks(Client& client, std::int64_t& longest_quiet_ms) {
  longest_quiet_ms = 0;
  Clock::time_point last = Clock::now();
  for (const Deadline end(Milliseconds(2500)); !end.passed(); let_pass(Milliseconds(100))) {
    const bool answered = answers(client);
    longest_quiet_ms = std::max(longest_quiet_ms, milliseconds_since(last));
    if (!answered) return false;
    last = Clock::now();
  }
  return true;
}

void an_idle_session_is_ended_and_a_busy_one_is_not(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(service("mode = 'lines', idle_timeout = '1s'"));
  Client idle(daemon.address("echo"));
  assert_true(answers(idle));
  Client busy;
  assert_true(wait_until([&] {
    busy = Client(daemon.address("echo"));
    std::int64_t quiet_ms = 0;
    if (lasts_while_it_talks(busy, quiet_ms)) return true;
    // When the machine stood still it was not busy, and nothing can be said of it. The daemon's second of quiet may
    // have fallen into two of the client's measurements.
    print_message("a session was ended; it had been quiet for %ld ms\n", static_cast<long>(quiet_ms));
    assert_true(quiet_ms > 400);
    return false;
  }));
  idle.receive_all();
  assert_string_equal(to_text(idle.end()), to_text(End::closed));
  assert_true(daemon.wait_for_counter("echo", "refused_idle_timeout", 1));
  // Until its peer has closed too, the daemon waits a while.
  idle.close();
  busy.close();
  assert_true(wait_until([&] { return daemon.counter("echo", "sessions_open") == 0; }));
}

void a_first_message_that_trickles_in_is_not_waited_for(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(service("mode = 'lines', first_message_timeout = '1s', idle_timeout = '120s'"));
  // One that has had its first message: the timeout no longer concerns it. Not at the first attempt when the machine
  // stands still just then.
  Client good;
  assert_true(wait_until([&] {
    good = Client(daemon.address("echo"));
    return answers(good);
  }));
  const long before = daemon.counter("echo", "refused_first_message_timeout");
  const Clock::time_point start = Clock::now();
  Client slow(daemon.address("echo"));
  // A byte every 100 ms and never a newline: it is never idle, and still must go.
  bool ended = false;
  for (const Deadline deadline; !ended && !deadline.passed();) {
    pollfd entry{.fd = slow.descriptor(), .events = POLLIN, .revents = 0};
    ended = !slow.send("x") || ::poll(&entry, 1, 100) > 0;
  }
  assert_true(ended);
  assert_true(milliseconds_since(start) >= 800);
  assert_true(daemon.wait_for_counter("echo", "refused_first_message_timeout", before + 1));
  assert_true(answers(good));
}

void a_tls_client_that_never_says_hello_is_ended(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(
      service("mode = 'lines', first_message_timeout = '1s', idle_timeout = '120s', tls = { self_signed = true }",
              "'tls://127.0.0.1:0'"));
  const Clock::time_point start = Clock::now();
  Client silent(daemon.address("echo", "tls"), {.handshake = false});
  assert_true(silent.connected());
  silent.receive_all();
  assert_true(silent.end() == End::closed || silent.end() == End::reset);
  assert_true(milliseconds_since(start) >= 800);
  assert_true(daemon.wait_for_counter("echo", "refused_first_message_timeout", 1));
}

void answers_that_nobody_reads_are_bounded(void** state) {
  Daemon& daemon = daemon_of(state);
  // Each line of two bytes makes an answer of 64 KiB.
  daemon.start(service("mode = 'lines', output_limit = '256KiB', on_line = function() return ('x'):rep(65536) end"));
  Client client(daemon.address("echo"), {.receive_buffer = 16384});
  assert_true(client.connected());
  const long before = daemon.facts().resident_kib;
  const auto count = static_cast<std::size_t>(scaled(5000, 500));
  std::string lines;
  for (std::size_t index = 0; index < count; ++index) lines += "a\n";
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
  // The kernel takes a few MB of it; all answers would be 320 MB, or 32.
  print_message("%ld answers made for nobody\n", messages_at_rest);
  assert_in_range(messages_at_rest, 1, count / 2);
  assert_true(daemon.facts().resident_kib - before < (test_scale() < 1 ? 64 * 1024 : 8 * 1024));
  // Now it is read after all: everything comes.
  client.set_patience(Milliseconds(120'000));
  assert_true(client.receive(count * 65537U).size() == count * 65537U);
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
      TEST(each_address_has_a_message_rate_of_its_own),
      TEST(datagrams_over_the_message_rate_are_dropped_and_counted),
      TEST(bytes_over_the_byte_rate_are_slowed),
      TEST(an_idle_session_is_ended_and_a_busy_one_is_not),
      TEST(a_first_message_that_trickles_in_is_not_waited_for),
      TEST(a_tls_client_that_never_says_hello_is_ended),
      TEST(answers_that_nobody_reads_are_bounded),
  };
  return cmocka_run_group_tests_name("process.limits", tests, nullptr, nullptr);
}
