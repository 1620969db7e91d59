// Thousands of sessions at once: a new client is served in time all the same, and over the limit refusals are
// immediate and counted.
#include "support/cpu_use.h"
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

// How long each of some new clients waited for its answer, with the connect.
void time_new_clients(const std::string& address, int clients, std::vector<std::int64_t>& waited_ms) {
  for (int index = 0; index < clients; ++index) {
    const Clock::time_point start = Clock::now();
    Client client(address);
    assert_true(client.send("new\n"));
    assert_string_equal(client.receive_line().c_str(), "NEW\n");
    waited_ms.push_back(milliseconds_since(start));
  }
}

// The usual one: a machine that stands still for a while delays a few, a daemon that looks at every session delays all.
std::int64_t median(std::vector<std::int64_t> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
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
  assert_int_equal(fixture.idle->open(static_cast<std::size_t>(idle), Milliseconds(60'000)), idle);
  assert_int_equal(fixture.slow->open(static_cast<std::size_t>(slow)), slow);
  assert_true(daemon.wait_for_counter("echo", "sessions_open", idle + slow));
  print_message("%d sessions opened in %ld ms; the daemon grew by %ld KiB\n", idle + slow,
                static_cast<long>(milliseconds_since(start)), daemon.facts().resident_kib - base_kib);

  // The slow ones send a byte every 200 ms and never end their line.
  std::vector<std::int64_t> waited_ms;
  for (int round = 0; round < 10; ++round) {
    const Clock::time_point next = Clock::now();
    assert_int_equal(fixture.slow->send_all("x"), slow);
    time_new_clients(address, 10, waited_ms);
    let_pass(Milliseconds(std::max<std::int64_t>(0, 200 - milliseconds_since(next))));
  }
  print_message("a new client waits for %ld ms\n", static_cast<long>(median(waited_ms)));
  assert_in_range(median(waited_ms), 0, 500);
  const double share = cpu_share(daemon.pid());
  print_message("%.2f s of CPU in a second of idleness\n", share);
  assert_true(share < kIdleCpuShare);

  // Fill it up, then knock.
  assert_int_equal(fixture.slow->open(room), room);
  assert_true(daemon.wait_for_counter("echo", "sessions_open", idle + slow + room));
  for (int index = 0; index < 50; ++index) {
    Client outside(address);
    outside.send("let me in\n");
    assert_string_equal(outside.receive_all().c_str(), "");
    assert_true(outside.end() == End::closed || outside.end() == End::reset);  // by no timeout: they are longer
  }
  assert_true(daemon.wait_for_counter("echo", "refused_max_sessions", 50));
  assert_int_equal(fixture.idle->ended() + fixture.slow->ended(), 0);

  // Every one of them is a session that works.
  assert_int_equal(fixture.idle->ask_all("awake\n", "AWAKE\n", Milliseconds(60'000)), idle);

  // All leave at once, with resets, and the daemon is as new.
  fixture.idle->close_all(true);
  fixture.slow->close_all(true);
  assert_true(wait_until([&] { return daemon.counter("echo", "sessions_open") == 0; }));
  waited_ms.clear();
  time_new_clients(address, 10, waited_ms);
  assert_in_range(median(waited_ms), 0, 500);
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(a_new_client_is_served_beside_thousands, set_up, tear_down),
  };
  return cmocka_run_group_tests_name("process.crowd", tests, nullptr, nullptr);
}
