// Thousands of sessions at once: a new client is served in time all the same, and over the limit refusals are
// immediate and counted.
#include "support/crowd.h"
#include "support/daemon.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "support/cmocka.h"  // last: it defines fail()

using namespace portolan::testing;

namespace {

constexpr int kIdle = 15'000;
constexpr int kSlow = 500;

struct Fixture {
  Daemon daemon;
  std::unique_ptr<Crowd> idle;
  std::unique_ptr<Crowd> slow;
};

int set_up(void** state) {
  *state = new Fixture;
  return 0;
}

int tear_down(void** state) {
  auto* fixture = static_cast<Fixture*>(*state);
  if (fixture->idle) fixture->idle->close_all(true);
  if (fixture->slow) fixture->slow->close_all(true);
  const std::string wrong = fixture->daemon.end();
  if (!wrong.empty()) print_error("%s\n", wrong.c_str());
  delete fixture;
  return wrong.empty() ? 0 : -1;
}

// How long the slowest of some new clients waited for its answer, with the connect.
std::int64_t slowest_new_client_ms(const std::string& address, int clients) {
  std::int64_t slowest = 0;
  for (int index = 0; index < clients; ++index) {
    const Clock::time_point start = Clock::now();
    Client client(address);
    if (!client.send("new\n") || client.receive_line() != "NEW\n") return -1;
    slowest = std::max(slowest, milliseconds_since(start));
  }
  return slowest;
}

void a_new_client_is_served_beside_thousands(void** state) {
  auto& fixture = *static_cast<Fixture*>(*state);
  const auto limit = static_cast<int>(raise_descriptor_limit());
  int idle = scaled(kIdle, 1000);
  const int slow = scaled(kSlow, 50);
  if (limit < idle + slow + 200) {
    idle = limit - slow - 200;
    print_message("only %d descriptors are allowed here (ulimit -Hn): %d idle sessions\n", limit, idle);
  }
  const int room = 20;
  Daemon& daemon = fixture.daemon;
  daemon.start(
      fmt::format("return {{ services = {{ {{ plugin = 'echo', name = 'echo', listen = 'tcp://127.0.0.1:0', "
                  "mode = 'lines', transform = 'upper', max_sessions = {}, max_sessions_per_client = 0, "
                  "idle_timeout = '10m', first_message_timeout = '10m', backlog = 4096 }} }} }}",
                  idle + slow + room));
  const std::string address = daemon.address("echo");
  const long base_kib = daemon.facts().resident_kib;

  const Clock::time_point start = Clock::now();
  fixture.idle = std::make_unique<Crowd>(address);
  fixture.slow = std::make_unique<Crowd>(address);
  assert_int_equal(fixture.idle->open(static_cast<std::size_t>(idle), Milliseconds(20'000)), idle);
  assert_int_equal(fixture.slow->open(static_cast<std::size_t>(slow)), slow);
  assert_true(daemon.wait_for_counter("echo", "sessions_open", idle + slow));
  print_message("%d sessions opened in %ld ms; the daemon grew by %ld KiB\n", idle + slow,
                static_cast<long>(milliseconds_since(start)), daemon.facts().resident_kib - base_kib);

  // The slow ones send a byte every 200 ms and never end their line.
  for (int round = 0; round < 10; ++round) {
    const Clock::time_point next = Clock::now();
    assert_int_equal(fixture.slow->send_all("x"), slow);
    const std::int64_t slowest = slowest_new_client_ms(address, 10);
    if (slowest < 0 || slowest > 500) print_error("round %d: %ld ms\n", round, static_cast<long>(slowest));
    assert_in_range(slowest, 0, 500);
    let_pass(Milliseconds(std::max<std::int64_t>(0, 200 - milliseconds_since(next))));
  }
  const double cpu = daemon.facts().cpu_seconds;
  let_pass(Milliseconds(500));
  const double spent = daemon.facts().cpu_seconds - cpu;
  print_message("%.2f s of CPU in 0.5 s of idleness\n", spent);
  assert_true(spent < 0.1);

  // Fill it up, then knock.
  assert_int_equal(fixture.slow->open(room), room);
  assert_true(daemon.wait_for_counter("echo", "sessions_open", idle + slow + room));
  for (int index = 0; index < 50; ++index) {
    const Clock::time_point knock = Clock::now();
    Client outside(address);
    outside.send("let me in\n");
    assert_string_equal(outside.receive_all().c_str(), "");
    assert_true(outside.end() == End::closed || outside.end() == End::reset);
    assert_true(milliseconds_since(knock) < 500);
  }
  assert_true(daemon.wait_for_counter("echo", "refused_max_sessions", 50));
  assert_int_equal(fixture.idle->ended() + fixture.slow->ended(), 0);

  // Every one of them is a session that works.
  assert_int_equal(fixture.idle->ask_all("awake\n", "AWAKE\n", Milliseconds(20'000)), idle);

  // All leave at once, with resets, and the daemon is as new.
  fixture.idle->close_all(true);
  fixture.slow->close_all(true);
  assert_true(wait_until([&] { return daemon.counter("echo", "sessions_open") == 0; }));
  assert_in_range(slowest_new_client_ms(address, 10), 0, 500);
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(a_new_client_is_served_beside_thousands, set_up, tear_down),
  };
  return cmocka_run_group_tests_name("process.crowd", tests, nullptr, nullptr);
}
