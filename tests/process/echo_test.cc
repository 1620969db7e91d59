// The echo service over every transport, as a client sees it.
#include "support/certificates.h"
#include "support/cpu_use.h"
#include "support/daemon.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "support/cmocka.h"  // last: it defines fail()

using namespace portolan::testing;

namespace {

std::string service(const std::string& listen, const std::string& options) {
  return fmt::format("return {{ services = {{ {{ plugin = 'echo', name = 'echo', listen = {}, {} }} }} }}\n", listen,
                     options);
}

const std::string kTcp = "'tcp://127.0.0.1:0'";

// What a session may cost: its buffers, and what the allocator rounds them up to. Sanitizers keep freed memory.
// Far below what would pile up; above what a kernel moves in and out of a resident set by itself.
const long kMemoryBoundKib = test_scale() < 1 ? 32 * 1024 : 8192;

// Bytes in which a lost, doubled or swapped block shows.
std::string pattern(std::size_t size) {
  std::string text(size, '\0');
  std::uint32_t state = 12345;
  for (char& byte : text) {
    state = state * 1664525U + 1013904223U;
    byte = static_cast<char>(state >> 24U);
  }
  return text;
}

void lines_are_answered_in_capitals_over_every_transport(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(fmt::format(R"(return {{ services = {{
      {{ plugin = 'echo', name = 'echo', mode = 'lines', transform = 'upper',
         listen = {{ 'tcp://127.0.0.1:0', 'udp://127.0.0.1:0', 'tls://127.0.0.1:0', 'unix://{}/echo.sock',
                     'tcp://[::1]:0' }},
         tls = {{ self_signed = true }} }} }} }})",
                           daemon.folder().path()));
  assert_int_equal(daemon.listening().size(), 5);
  const ClientTls tls;
  for (const Listening& listening : daemon.listening()) {
    if (listening.address.starts_with("udp://")) continue;
    Client client(listening.address, {.tls = tls});
    if (!client.connected()) print_error("%s: %s\n", listening.address.c_str(), client.error().c_str());
    assert_true(client.connected());
    assert_true(client.send("hello\nquit\n"));
    assert_string_equal(client.receive_all().c_str(), "HELLO\n");
    assert_string_equal(to_text(client.end()), to_text(End::closed));
  }
  Client client(daemon.address("echo", "udp"));
  assert_true(client.send("hello"));
  assert_string_equal(client.receive_datagram().c_str(), "HELLO");
  assert_true(daemon.wait_for_counter("echo", "messages", 5));
}

void quit_ends_the_session_and_what_came_before_is_answered(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(service(kTcp, "mode = 'lines', transform = 'upper'"));
  Client client(daemon.address("echo"));
  assert_true(client.send("one\ntwo\r\nquit\r\nthree\n"));
  const std::string answer = client.receive_all();
  assert_true(answer.starts_with("ONE\nTWO"));
  assert_null(strstr(answer.c_str(), "THREE"));
  assert_string_equal(to_text(client.end()), to_text(End::closed));
}

void a_prefix_stands_before_every_line(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(service(kTcp, "mode = 'lines', transform = 'prefix', prefix = 'Echo: '"));
  Client client(daemon.address("echo"));
  assert_true(client.send("a\n\nb\n"));
  assert_string_equal(client.receive(std::string("Echo: a\nEcho: \nEcho: b\n").size()).c_str(),
                      "Echo: a\nEcho: \nEcho: b\n");
}

void a_hook_answers_a_line(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(service(kTcp,
                       "mode = 'lines', on_line = function(line, session) "
                       "return '<' .. line:reverse() .. ' ' .. session.transport .. '>' end"));
  Client client(daemon.address("echo"));
  assert_true(client.send("abc\n"));
  assert_string_equal(client.receive_line().c_str(), "<cba tcp>\n");
  assert_true(daemon.wait_for_counter("echo", "hook_calls", 1));
  assert_int_equal(daemon.counter("echo", "hook_failures"), 0);
}

void a_hook_that_fails_or_never_ends_leaves_the_default(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(service(kTcp,
                       "mode = 'lines', on_line = function(line) "
                       "if line == 'loop' then while true do end end "
                       "if line == 'eat' then local t = {} while true do t[#t + 1] = ('x'):rep(1000) .. #t end end "
                       "if line == 'fail' then error('on purpose') end "
                       "return 'good' end"));
  Client client(daemon.address("echo"));
  for (const char* line : {"fail", "loop", "eat", "fine"}) {
    assert_true(client.send(std::string(line) + "\n"));
    // The default is the line as it came.
    const std::string answer = line == std::string_view("fine") ? "good" : line;
    assert_string_equal(client.receive_line().c_str(), (answer + "\n").c_str());
  }
  assert_true(daemon.wait_for_counter("echo", "hook_failures", 3));
  assert_true(daemon.log_has("on purpose"));
}

void a_line_too_long_is_told_so_before_the_close(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(service(kTcp, "mode = 'lines', max_line = '1KiB'"));
  // A client that goes on sending must not lose the error to a reset: 20 of them, since it is a race by nature. One that
  // does not read for seconds, because the machine stands still, may lose it: the daemon waits for 5 s.
  constexpr std::int64_t kInTimeMs = 2500;
  for (int round = 0; round < 20; ++round) {
    const Clock::time_point start = Clock::now();
    Client client(daemon.address("echo"));
    assert_true(client.send("short\n" + std::string(1500, 'x')));
    for (int more = 0; more < 20; ++more) client.send_what_fits(std::string(8000, 'y'));
    assert_string_equal(client.receive_line().c_str(), "short\n");
    const std::string error = client.receive_all();
    if (milliseconds_since(start) > kInTimeMs) continue;
    if (error.find("longer than 1024 bytes") == std::string::npos || client.end() != End::closed) {
      print_error("round %d: got \"%s\", then %s\n", round, error.c_str(), client.error().c_str());
    }
    assert_non_null(strstr(error.c_str(), "longer than 1024 bytes"));
    assert_int_equal(client.end(), End::closed);
  }
  assert_true(daemon.wait_for_counter("echo", "refused_message_too_long", 20));
}

void the_longest_line_allowed_is_answered(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(service(kTcp, "mode = 'lines', max_line = '1KiB'"));
  Client client(daemon.address("echo"));
  const std::string line = std::string(1024, 'x') + "\n";
  assert_true(client.send(line));
  assert_string_equal(client.receive_line().c_str(), line.c_str());
}

void what_was_received_before_a_half_close_comes_back(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(service("{ 'tcp://127.0.0.1:0', 'unix://" + daemon.folder().file("echo.sock") + "' }", "mode = 'raw'"));
  const std::string data = pattern(1U << 20U);
  for (const Listening& listening : daemon.listening()) {
    Client client(listening.address);
    std::string back = client.exchange(data, data.size() / 2);
    assert_true(client.finish_sending());
    back += client.receive_all();
    assert_string_equal(to_text(client.end()), to_text(End::closed));
    assert_int_equal(back.size(), data.size());
    assert_true(back == data);
  }
}

void a_last_line_without_its_end_is_answered_at_a_half_close(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(service(kTcp, "mode = 'lines', transform = 'upper'"));
  Client client(daemon.address("echo"));
  assert_true(client.send("whole\npart"));
  assert_true(client.finish_sending());
  const std::string answer = client.receive_all();
  assert_true(answer.starts_with("WHOLE\nPART"));
  assert_string_equal(to_text(client.end()), to_text(End::closed));
}

void a_slow_reader_gets_all_and_costs_little_memory(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(service(kTcp, "mode = 'raw', output_limit = '64KiB'"));
  const std::string data = pattern(8U << 20U);
  Client client(daemon.address("echo"), {.receive_buffer = 16384, .patience = Milliseconds(60'000)});
  assert_true(client.connected());
  const long before = daemon.facts().resident_kib;
  long most = before;
  std::string_view unsent = data;
  std::string back;
  // Sends as fast as it can, and reads 16 KiB only when nothing more goes out.
  while (back.size() < data.size() && client.end() == End::none) {
    const std::size_t sent = client.send_what_fits(unsent);
    unsent.remove_prefix(sent);
    if (sent > 0) continue;
    back += client.receive(std::min<std::size_t>(16384, data.size() - back.size()));
    if (back.size() % (1U << 20U) == 0) most = std::max(most, daemon.facts().resident_kib);
  }
  assert_true(back == data);
  print_message("resident set grew by %ld KiB\n", most - before);
  assert_true(most - before < kMemoryBoundKib);
}

void a_peer_that_never_reads_is_not_read_either(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(service(kTcp, "mode = 'raw', output_limit = '64KiB'"));
  Client client(daemon.address("echo"), {.receive_buffer = 16384});
  const long before = daemon.facts().resident_kib;
  const std::string block(65536, 'x');
  std::size_t taken = 0;
  // Until nothing more goes in for half a second: the daemon has stopped reading. Kernel buffers take some MB.
  Clock::time_point last = Clock::now();
  while (milliseconds_since(last) < 500 && taken < (64U << 20U)) {
    const std::size_t sent = client.send_what_fits(block);
    taken += sent;
    if (sent > 0) last = Clock::now();
    if (sent == 0) let_pass(Milliseconds(10));
  }
  assert_string_equal(to_text(client.end()), to_text(End::none));
  assert_true(taken < (64U << 20U));
  assert_true(daemon.facts().resident_kib - before < kMemoryBoundKib);
  const double share = cpu_share(daemon.pid());
  print_message("%.2f s of CPU in a second\n", share);
  assert_true(share < kIdleCpuShare);
  Client other(daemon.address("echo"));
  assert_true(other.send("still here"));
  assert_string_equal(other.receive(10).c_str(), "still here");
}

void pipelined_lines_are_answered_in_order(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(service(kTcp, "mode = 'lines', transform = 'upper'"));
  std::string sent;
  std::string expected;
  for (int line = 0; line < 50'000; ++line) {
    sent += fmt::format("line {}\n", line);
    expected += fmt::format("LINE {}\n", line);
  }
  Client client(daemon.address("echo"));
  assert_true(client.exchange(sent, expected.size()) == expected);
  assert_true(daemon.wait_for_counter("echo", "messages", 50'000));
}

void an_empty_and_a_large_datagram_come_back(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(service("'udp://127.0.0.1:0'", "mode = 'raw'"));
  Client client(daemon.address("echo", "udp"));
  const std::string large = pattern(8192);
  for (int count = 0; count < 50; ++count) {
    assert_true(client.send(large));
    assert_true(client.receive_datagram() == large);
  }
}

void a_reset_ends_a_session_and_nothing_else(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(service(kTcp, "mode = 'raw'"));
  for (int round = 0; round < 20; ++round) {
    Client client(daemon.address("echo"));
    assert_true(client.send(std::string(100'000, 'x')));
    client.close_with_reset();
  }
  assert_true(wait_until([&] { return daemon.counter("echo", "sessions_open") == 0; }));
  Client client(daemon.address("echo"));
  assert_true(client.send("hello"));
  assert_string_equal(client.receive(5).c_str(), "hello");
}

}  // namespace

int main() {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_daemon, end_daemon)
  const CMUnitTest tests[] = {
      TEST(lines_are_answered_in_capitals_over_every_transport),
      TEST(quit_ends_the_session_and_what_came_before_is_answered),
      TEST(a_prefix_stands_before_every_line),
      TEST(a_hook_answers_a_line),
      TEST(a_hook_that_fails_or_never_ends_leaves_the_default),
      TEST(a_line_too_long_is_told_so_before_the_close),
      TEST(the_longest_line_allowed_is_answered),
      TEST(what_was_received_before_a_half_close_comes_back),
      TEST(a_last_line_without_its_end_is_answered_at_a_half_close),
      TEST(a_slow_reader_gets_all_and_costs_little_memory),
      TEST(a_peer_that_never_reads_is_not_read_either),
      TEST(pipelined_lines_are_answered_in_order),
      TEST(an_empty_and_a_large_datagram_come_back),
      TEST(a_reset_ends_a_session_and_nothing_else),
  };
  return cmocka_run_group_tests_name("process.echo", tests, nullptr, nullptr);
}
