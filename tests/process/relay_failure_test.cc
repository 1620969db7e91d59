// Backends that die, stop, stall, reset and are full, under requests that each wait for their answer: what is lost, who
// is chosen instead, who waits for whom.
#include "support/backend_process.h"
#include "support/relay.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "support/cmocka.h"  // last: it defines fail()

using namespace portolan::testing;

namespace {

using Backends = std::vector<std::unique_ptr<BackendProcess>>;

Backends make_backends(std::size_t count, const BackendOptions& options = {}) {
  Backends backends;
  for (std::size_t index = 0; index < count; ++index) {
    BackendOptions one = options;
    one.name = fmt::format("b{}", index + 1);
    backends.push_back(std::make_unique<BackendProcess>(one));
  }
  return backends;
}

std::vector<std::string> addresses_of(const Backends& backends) {
  std::vector<std::string> addresses;
  for (const auto& backend : backends) addresses.push_back(backend->address());
  return addresses;
}

std::string with_places(const BackendProcess& backend, int places) {
  return fmt::format("{{ address = '{}', max_sessions = {} }}", backend.address(), places);
}

// The name of the backend that answers one request over a connection of its own; empty when none does.
std::string ask(const std::string& address, const std::string& tag = "who") {
  Client client(address);
  if (!client.send(tag + "\n")) return {};
  const std::string line = client.receive_line();
  return line.ends_with(" " + tag + "\n") ? line.substr(0, line.find(' ')) : std::string();
}

// Who answers over and over: each thread asks, waits, asks again, over one connection as long as it lasts.
class Load {
 public:
  Load(std::string address, int threads, int requests_a_connection) : address_(std::move(address)) {
    for (int index = 0; index < threads; ++index)
      threads_.emplace_back([this, index, requests_a_connection] { run(index, requests_a_connection); });
  }
  ~Load() { stop(); }
  void stop() {
    stopping_ = true;
    for (std::thread& thread : threads_)
      if (thread.joinable()) thread.join();
  }
  long answered() const { return answered_; }
  long lost() const { return lost_; }
  long wrong() const { return wrong_; }
  std::int64_t slowest_ms() const { return slowest_ms_; }
  std::string last_loss() {
    const std::lock_guard lock(mutex_);
    return last_loss_;
  }
  // So many more answers from now on.
  bool goes_on(long more) {
    const long before = answered_;
    return wait_until([&] { return answered_ >= before + more; });
  }

 private:
  void run(int thread, int requests) {
    for (long number = 0; !stopping_;) {
      Client client(address_);
      for (int request = 0; request < requests && !stopping_; ++request) {
        const std::string tag = fmt::format("{}-{}", thread, number++);
        const Clock::time_point start = Clock::now();
        const bool sent = client.send(tag + "\n");
        const std::string line = sent ? client.receive_line() : std::string();
        if (line.empty()) {
          ++lost_;
          const std::lock_guard lock(mutex_);
          last_loss_ = fmt::format("{}: {} ({})", tag, to_text(client.end()), client.error());
          break;
        }
        line.ends_with(" " + tag + "\n") ? ++answered_ : ++wrong_;
        std::int64_t slowest = slowest_ms_;
        const std::int64_t took = milliseconds_since(start);
        while (took > slowest && !slowest_ms_.compare_exchange_weak(slowest, took)) {
        }
      }
    }
  }

  const std::string address_;
  std::atomic<bool> stopping_ = false;
  std::atomic<long> answered_ = 0, lost_ = 0, wrong_ = 0;
  std::atomic<std::int64_t> slowest_ms_ = 0;
  std::mutex mutex_;
  std::string last_loss_;
  std::vector<std::thread> threads_;
};

struct Fixture {
  Daemon daemon;
  Backends backends;
  std::unique_ptr<Load> load;
};

int set_up(void** state) {
  *state = new Fixture;
  return 0;
}

int tear_down(void** state) {
  auto* fixture = static_cast<Fixture*>(*state);
  fixture->load.reset();
  const std::string wrong = fixture->daemon.end();
  if (!wrong.empty()) print_error("%s\n", wrong.c_str());
  delete fixture;
  return wrong.empty() ? 0 : -1;
}

Fixture& fixture_of(void** state) { return *static_cast<Fixture*>(*state); }

void a_killed_backend_takes_only_what_it_was_answering(void** state) {
  Fixture& fixture = fixture_of(state);
  fixture.backends = make_backends(3);
  fixture.daemon.start(relay_configuration({.backends = addresses_of(fixture.backends)}));
  constexpr int kThreads = 12;
  fixture.load = std::make_unique<Load>(fixture.daemon.address("relay"), kThreads, 20);
  Load& load = *fixture.load;
  assert_true(load.goes_on(500));
  assert_int_equal(load.lost(), 0);
  fixture.backends[1]->kill();
  assert_true(load.goes_on(2000));
  load.stop();
  print_message("%ld answered, %ld lost\n", load.answered(), load.lost());
  if (load.lost() > kThreads) print_error("%s\n", load.last_loss().c_str());
  // One for each client that was with it, and none beyond: who dials a dead one is sent to another.
  assert_in_range(load.lost(), 0, kThreads);
  assert_int_equal(load.wrong(), 0);
  const Json dead = backend_status(fixture.daemon, fixture.backends[1]->address());
  assert_true(dead.at("ejections").get<long>() >= 1);
}

void a_stopped_backend_holds_up_nobody_else(void** state) {
  Fixture& fixture = fixture_of(state);
  fixture.backends = make_backends(3);
  fixture.daemon.start(relay_configuration({.backends = addresses_of(fixture.backends)}));
  fixture.backends[0]->stop();
  // The kernel still accepts for it; its sessions wait.
  std::vector<Client> waiting;
  int served = 0;
  for (int index = 0; index < 30; ++index) {
    Client client(fixture.daemon.address("relay"), {.patience = Milliseconds(20'000)});
    assert_true(client.send(fmt::format("{}\n", index)));
    // Every third goes to the stopped one.
    if (index % 3 == 0) {
      waiting.push_back(std::move(client));
      continue;
    }
    assert_string_not_equal(client.receive_line().c_str(), "");
    ++served;
  }
  assert_int_equal(served, 20);
  fixture.backends[0]->go_on();
  for (Client& client : waiting) assert_string_equal(client.receive_line().substr(0, 3).c_str(), "b1 ");
}

void a_backend_that_resets_is_left_out_and_comes_back(void** state) {
  Fixture& fixture = fixture_of(state);
  fixture.backends = make_backends(3);
  BackendProcess& bad = *fixture.backends[2];
  bad.behave(Conduct::reset);
  fixture.daemon.start(relay_configuration(
      {.backends = addresses_of(fixture.backends), .options = "passive = { failures = 4, base = '2s', max = '2s' }"}));
  const std::string address = fixture.daemon.address("relay");
  int lost = 0;
  for (int index = 0; index < 60; ++index) lost += ask(address).empty();
  const Json status = backend_status(fixture.daemon, bad.address());
  const long ejections = status.at("ejections").get<long>();
  print_message("%d of 60 lost, ejected %ld times\n", lost, ejections);
  assert_true(ejections >= 1);
  // A reset that comes before the relay has seen the connection is a failed attempt, and loses nothing.
  assert_in_range(lost, 0, 4 * ejections + 4);
  bad.behave(Conduct::lines);
  assert_true(wait_until([&] { return ask(address) == "b3"; }));
  int from_it = 0;
  for (int index = 0; index < 12; ++index) from_it += ask(address) == "b3";
  assert_int_equal(from_it, 4);
  assert_true(
      wait_until([&] { return fixture.daemon.log_has("is ejected for") && fixture.daemon.log_has("chosen again"); }));
}

void the_last_backend_is_never_left_out(void** state) {
  Fixture& fixture = fixture_of(state);
  fixture.backends = make_backends(2, {.conduct = Conduct::close});
  fixture.daemon.start(
      relay_configuration({.backends = addresses_of(fixture.backends),
                           .options = "passive = { failures = 2, base = '120s', max = '120s', max_share = 100 }"}));
  const std::string address = fixture.daemon.address("relay");
  for (int index = 0; index < 20; ++index) assert_string_equal(ask(address).c_str(), "");
  int ejected = 0;
  BackendProcess* last = nullptr;
  for (const auto& backend : fixture.backends) {
    const bool out = backend_status(fixture.daemon, backend->address()).at("state") == "ejected";
    ejected += out;
    if (!out) last = backend.get();
  }
  assert_int_equal(ejected, 1);
  last->behave(Conduct::lines);
  for (int index = 0; index < 5; ++index) assert_string_equal(ask(address).c_str(), last->name().c_str());
}

void a_slow_backend_holds_up_no_other(void** state) {
  Fixture& fixture = fixture_of(state);
  fixture.backends = make_backends(2);
  fixture.backends[0]->answer_after(1500);
  fixture.daemon.start(relay_configuration({.backends = addresses_of(fixture.backends)}));
  const std::string address = fixture.daemon.address("relay");
  std::vector<Client> slow;
  std::vector<std::int64_t> took;
  for (int index = 0; index < 20; ++index) {
    Client client(address);
    const Clock::time_point start = Clock::now();
    assert_true(client.send("x\n"));
    if (index % 2 == 0) {
      slow.push_back(std::move(client));
      continue;
    }
    assert_string_equal(client.receive_line().c_str(), "b2 x\n");
    took.push_back(milliseconds_since(start));
  }
  std::ranges::sort(took);
  assert_true(took[took.size() / 2] < 1000);
  for (Client& client : slow) assert_string_equal(client.receive_line().c_str(), "b1 x\n");
}

void silence_and_half_a_handshake_hold_up_no_other(void** state) {
  Fixture& fixture = fixture_of(state);
  fixture.backends = make_backends(3);
  fixture.backends[0]->behave(Conduct::half_handshake);
  fixture.backends[1]->behave(Conduct::silent);
  std::vector<std::string> addresses = addresses_of(fixture.backends);
  addresses[0] = fmt::format("{{ address = 'tls{}', tls = {{ verify = false }} }}", addresses[0].substr(3));
  fixture.daemon.start(relay_configuration({.backends = addresses, .options = "connect_timeout = '600ms'"}));
  const std::string address = fixture.daemon.address("relay");
  std::vector<Client> clients;
  for (int index = 0; index < 30; ++index) {
    clients.emplace_back(address);
    assert_true(clients.back().send("x\n"));
  }
  // Who is with the silent one waits; all others are answered, those that began at the half handshake after its timeout.
  const BackendProcess& silent = *fixture.backends[1];
  const BackendProcess& good = *fixture.backends[2];
  assert_true(wait_until([&] { return silent.accepted() + good.answered() == 30; }));
  assert_in_range(good.answered(), 10, 25);
  assert_true(wait_until([&] {
    return std::ranges::count_if(clients, [](const Client& client) {
             pollfd entry{.fd = client.descriptor(), .events = POLLIN, .revents = 0};
             return ::poll(&entry, 1, 0) > 0;
           }) == good.answered();
  }));
  assert_true(fixture.daemon.counter("relay", "dials_failed") >= 5);
  assert_int_equal(fixture.daemon.counter("relay", "no_backend"), 0);
}

void connect_timeout_goes_to_the_next(void** state) {
  Fixture& fixture = fixture_of(state);
  // A backlog that is full: the SYN gets no answer.
  fixture.backends.push_back(
      std::make_unique<BackendProcess>(BackendOptions{.name = "full", .conduct = Conduct::keep_waiting, .backlog = 0}));
  fixture.backends.push_back(std::make_unique<BackendProcess>(BackendOptions{.name = "good"}));
  std::vector<Client> filling;
  for (int index = 0; index < 4; ++index)
    filling.emplace_back(fixture.backends[0]->address(), ClientOptions{.patience = Milliseconds(200)});
  assert_false(filling.back().connected());
  fixture.daemon.start(relay_configuration({.backends = addresses_of(fixture.backends),
                                            .options = "balance = 'first', connect_timeout = '400ms', passive = { "
                                                       "failures = 0 }"}));
  const Clock::time_point start = Clock::now();
  assert_string_equal(ask(fixture.daemon.address("relay")).c_str(), "good");
  assert_true(milliseconds_since(start) >= 350);
  assert_int_equal(fixture.daemon.counter("relay", "retries"), 1);
}

void retries_go_elsewhere_until_the_budget_is_spent(void** state) {
  Fixture& fixture = fixture_of(state);
  fixture.backends = make_backends(3);
  fixture.backends[0]->kill();
  fixture.backends[1]->kill();
  fixture.daemon.start(
      relay_configuration({.backends = addresses_of(fixture.backends),
                           .options = "balance = 'first', passive = { failures = 0 }, retry = { budget "
                                      "= 0, min_per_second = 2 }"}));
  const std::string address = fixture.daemon.address("relay");
  // Two retries a session, 20 in ten seconds.
  const Clock::time_point start = Clock::now();
  int good = 0;
  for (int index = 0; index < 30; ++index) good += ask(address) == "b3";
  const std::int64_t took = milliseconds_since(start);
  print_message("%d of 30 were retried to the end in %ld ms\n", good, static_cast<long>(took));
  assert_in_range(good, 9, static_cast<std::uintmax_t>(10 + took / 1000));
  assert_in_range(fixture.daemon.counter("relay", "retries"), 19, static_cast<std::uintmax_t>(20 + 2 * took / 1000));
}

void who_waits_is_served_in_order_or_told_in_time(void** state) {
  Fixture& fixture = fixture_of(state);
  fixture.backends = make_backends(2);
  fixture.daemon.start(
      relay_configuration({.backends = {with_places(*fixture.backends[0], 1), with_places(*fixture.backends[1], 1)},
                           .options = "queue = { max = 5, timeout = '120s' }"}));
  const std::string address = fixture.daemon.address("relay");
  std::vector<Client> inside;
  for (int index = 0; index < 2; ++index) {
    inside.emplace_back(address);
    assert_true(inside.back().send("in\n"));
    assert_string_not_equal(inside.back().receive_line().c_str(), "");
  }
  std::vector<Client> waiting;
  for (int index = 0; index < 5; ++index) {
    waiting.emplace_back(address);
    assert_true(waiting.back().send(fmt::format("{}\n", index)));
    assert_true(fixture.daemon.wait_for_counter("relay", "queued", index + 1));
  }
  // The queue is full as well.
  Client sixth(address);
  sixth.receive_all();
  assert_string_equal(to_text(sixth.end()), to_text(End::reset));
  // One leaves, the first of the queue comes in, and so on.
  inside.erase(inside.begin());
  for (int index = 0; index < 5; ++index) {
    assert_true(waiting[index].receive_line().ends_with(fmt::format(" {}\n", index)));
    for (int later = index + 1; later < 5; ++later) {
      pollfd entry{.fd = waiting[later].descriptor(), .events = POLLIN, .revents = 0};
      assert_int_equal(::poll(&entry, 1, 0), 0);
    }
    waiting[index].close();
  }
}

void who_waits_too_long_is_reset(void** state) {
  Fixture& fixture = fixture_of(state);
  fixture.backends = make_backends(1);
  fixture.daemon.start(relay_configuration(
      {.backends = {with_places(*fixture.backends[0], 1)}, .options = "queue = { timeout = '500ms' }"}));
  const std::string address = fixture.daemon.address("relay");
  Client inside(address);
  assert_true(inside.send("in\n"));
  assert_string_equal(inside.receive_line().c_str(), "b1 in\n");
  const Clock::time_point start = Clock::now();
  Client waiting(address);
  waiting.receive_all();
  assert_string_equal(to_text(waiting.end()), to_text(End::reset));
  assert_true(milliseconds_since(start) >= 450);
  assert_true(fixture.daemon.wait_for_counter("relay", "queue_timeouts", 1));
  assert_true(inside.send("still\n"));
  assert_string_equal(inside.receive_line().c_str(), "b1 still\n");
}

// Those that leave the queue give up their place in it, and nobody waits for them.
void who_leaves_the_queue_is_not_waited_for(void** state) {
  Fixture& fixture = fixture_of(state);
  fixture.backends = make_backends(1);
  fixture.daemon.start(relay_configuration(
      {.backends = {with_places(*fixture.backends[0], 1)}, .options = "queue = { timeout = '120s' }"}));
  const std::string address = fixture.daemon.address("relay");
  Client inside(address);
  assert_true(inside.send("in\n"));
  assert_string_equal(inside.receive_line().c_str(), "b1 in\n");
  for (int index = 0; index < 10; ++index) {
    Client leaving(address);
    leaving.send("gone\n");
    assert_true(fixture.daemon.wait_for_counter("relay", "queued", index + 1));
    leaving.close_with_reset();
  }
  Client staying(address);
  assert_true(staying.send("here\n"));
  assert_true(fixture.daemon.wait_for_counter("relay", "queued", 11));
  inside.close();
  assert_string_equal(staying.receive_line().c_str(), "b1 here\n");
  staying.close();
  assert_true(wait_until([&] { return fixture.daemon.counter("relay", "sessions_open") == 0; }));
}

}  // namespace

int main() {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
  const CMUnitTest tests[] = {
      TEST(a_killed_backend_takes_only_what_it_was_answering),
      TEST(a_stopped_backend_holds_up_nobody_else),
      TEST(a_backend_that_resets_is_left_out_and_comes_back),
      TEST(the_last_backend_is_never_left_out),
      TEST(a_slow_backend_holds_up_no_other),
      TEST(silence_and_half_a_handshake_hold_up_no_other),
      TEST(connect_timeout_goes_to_the_next),
      TEST(retries_go_elsewhere_until_the_budget_is_spent),
      TEST(who_waits_is_served_in_order_or_told_in_time),
      TEST(who_waits_too_long_is_reset),
      TEST(who_leaves_the_queue_is_not_waited_for),
  };
  return cmocka_run_group_tests_name("process.relay_failure", tests, nullptr, nullptr);
}
