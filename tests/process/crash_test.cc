// kill -9 under load, again and again: the file stays whole, and at most one flush interval of counters is missing.
#include "support/daemon.h"
#include "support/database.h"

#include <fmt/format.h>

#include <atomic>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/cmocka.h"  // last: it defines fail()

using namespace portolan::testing;

namespace {

constexpr Milliseconds kFlushEvery(200);
// For the transaction itself (two fsyncs on a slow card) and a thread that waits for its turn.
constexpr Milliseconds kSlack(300);
// A flush may come later than that when the machine, or its disk, stands still just before the kill: in one of so many of
// the rounds that last long enough to show it. A store that keeps to no interval is late in all of them.
constexpr int kRoundsForALateOne = 3;

// Asks and waits for the answer, until the daemon is gone; remembers when it had how many.
class Load {
 public:
  explicit Load(const std::string& address) : thread_([this, address] { run(address); }) {}
  ~Load() { join(); }
  void join() {
    if (thread_.joinable()) thread_.join();
  }
  long sent() const { return sent_; }  // after join
  long answered_at(Clock::time_point time) const {
    long count = 0;
    for (const auto& [when, answered] : history_) {
      if (when > time) break;
      count = answered;
    }
    return count;
  }

 private:
  void run(const std::string& address) {
    Client client(address);
    while (client.connected()) {
      ++sent_;
      if (!client.send("ping\n") || client.receive_line() != "PING\n") return;
      ++answered_;
      const Clock::time_point now = Clock::now();
      if (history_.empty() || now - history_.back().first > Milliseconds(2)) history_.emplace_back(now, answered_);
    }
  }

  long sent_ = 0;
  long answered_ = 0;
  std::vector<std::pair<Clock::time_point, long>> history_;
  std::thread thread_;
};

struct Fixture {
  Daemon daemon;
  std::vector<std::unique_ptr<Load>> loads;
};

int set_up(void** state) {
  *state = new Fixture;
  return 0;
}

int tear_down(void** state) {
  auto* fixture = static_cast<Fixture*>(*state);
  fixture->daemon.kill();
  fixture->loads.clear();
  delete fixture;
  return 0;
}

void fifty_kills_harm_nothing(void** state) {
  auto& fixture = *static_cast<Fixture*>(*state);
  Daemon& daemon = fixture.daemon;
  std::mt19937 random(20260101);
  std::uniform_int_distribution<int> shorter_ms(150, 500);
  std::uniform_int_distribution<int> longer_ms(700, 1000);  // than an interval and its slack
  const std::string total = "select coalesce(sum(messages), 0) from service_minutes where service = 'echo'";
  const int rounds = scaled(50, 10);
  long stored_before = 0;
  long worst_missing = 0;
  int judged = 0;
  int late = 0;
  for (int round = 0; round < rounds; ++round) {
    daemon.start(
        "return { store = { flush_every = '200ms' }, services = { { plugin = 'echo', name = 'echo', listen = "
        "'tcp://127.0.0.1:0', mode = 'lines', transform = 'upper' } } }");
    for (int index = 0; index < 3; ++index) fixture.loads.push_back(std::make_unique<Load>(daemon.address("echo")));
    let_pass(Milliseconds(round % 2 ? shorter_ms(random) : longer_ms(random)));
    const Clock::time_point killed_at = Clock::now();
    daemon.kill();
    long sent = 0;
    long answered = 0;
    long surely_stored = 0;
    for (const auto& load : fixture.loads) {
      load->join();
      sent += load->sent();
      answered += load->answered_at(killed_at);
      surely_stored += load->answered_at(killed_at - kFlushEvery - kSlack);
    }
    fixture.loads.clear();

    assert_string_equal(ask_database(daemon.store_path(), "pragma integrity_check").c_str(), "ok");
    const long stored = number_from_database(daemon.store_path(), total) - stored_before;
    worst_missing = std::max(worst_missing, answered - stored);
    if (stored < surely_stored || stored > sent) {
      print_message("round %d: %ld stored, but %ld were answered a flush interval before the kill, and %ld sent\n",
                    round, stored, surely_stored, sent);
    }
    judged += surely_stored > 0;
    late += stored < surely_stored;
    assert_in_range(stored, 0, sent);
    stored_before += stored;
  }
  print_message("%d kills, %ld messages stored, at most %ld missing after one; the flush was late in %d of %d\n",
                rounds, stored_before, worst_missing, late, judged);
  assert_true(stored_before > 0);
  assert_in_range(late, 0, judged / kRoundsForALateOne);
}

// What an orderly end promises: nothing is missing at all.
void a_stop_loses_nothing(void** state) {
  Daemon& daemon = static_cast<Fixture*>(*state)->daemon;
  daemon.start(
      "return { store = { flush_every = '1h' }, services = { { plugin = 'echo', name = 'echo', listen = "
      "'tcp://127.0.0.1:0', mode = 'lines' } } }");
  {
    Client client(daemon.address("echo"));
    for (int index = 0; index < 1234; ++index) {
      assert_true(client.send("x\n"));
      assert_string_equal(client.receive_line().c_str(), "x\n");
    }
  }
  assert_int_equal(daemon.stop(), 0);
  assert_int_equal(number_from_database(daemon.store_path(), "select sum(messages) from service_minutes"), 1234);
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(fifty_kills_harm_nothing, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_stop_loses_nothing, set_up, tear_down),
  };
  return cmocka_run_group_tests_name("process.crash", tests, nullptr, nullptr);
}
