// Each fault as a client measures it, from the configuration and at run time; and that nothing of it stays behind.
#include "support/backend_process.h"
#include "support/relay.h"
#include "support/server_socket.h"

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

#include "support/cmocka.h"  // last: it defines fail()

using namespace portolan::testing;

namespace {

std::string faults(const std::string& list) { return fmt::format("faults = {{ {} }},", list); }

void order(Daemon& daemon, std::vector<std::string> words) {
  words.insert(words.begin(), "fault");
  const CommandResult result = daemon.command(words);
  if (result.code != 0) print_error("%s\n", result.errors.c_str());
  assert_int_equal(result.code, 0);
}

// In ms, how long `count` questions took, each from its sending to its answer; sorted.
std::vector<std::int64_t> round_trips(Client& client, int count) {
  std::vector<std::int64_t> took;
  for (int index = 0; index < count; ++index) {
    const Clock::time_point start = Clock::now();
    assert_true(client.send("?") && client.receive(1) == "?");
    took.push_back(milliseconds_since(start));
  }
  std::ranges::sort(took);
  return took;
}

void latency_is_at_least_what_was_asked(void** state) {
  Daemon& daemon = daemon_of(state);
  BackendProcess backend({.conduct = Conduct::echo});
  daemon.start(relay_configuration(
      {.backends = {backend.address()},
       .options =
           faults("{ kind = 'latency', latency = '60ms', jitter = '20ms', direction = 'to_client', seed = 3 }")}));
  Client client(daemon.address("relay"));
  const auto took = round_trips(client, 15);
  print_message("60 ms give or take 20: %ld to %ld ms\n", static_cast<long>(took.front()),
                static_cast<long>(took.back()));
  assert_true(took.front() >= 39);
  assert_true(took.back() - took.front() >= 4);
  assert_true(took[7] < 1000);
}

// On running sessions: joined, then with faults, then joined again, and every byte as it was all the while.
void faults_come_and_go_on_running_streams(void** state) {
  Daemon& daemon = daemon_of(state);
  BackendProcess backend({.conduct = Conduct::echo});
  daemon.start(relay_configuration({.backends = {backend.address()}}));
  const long base_pipes = pipes_of(daemon.pid());
  Client client(daemon.address("relay"));
  assert_true(round_trips(client, 5)[2] < 100);
  order(daemon, {"add", "relay", "latency", "latency=120ms", "name=slow"});
  // Every worker has heard of it when it looks next.
  assert_true(wait_until([&] { return round_trips(client, 1)[0] >= 240; }));
  order(daemon, {"remove", "relay", "slow"});
  assert_true(wait_until([&] { return round_trips(client, 1)[0] < 120; }));

  const std::size_t total = static_cast<std::size_t>(scaled(24, 4)) * 1024 * 1024;
  const std::string data = noise(total, 21);
  std::string got;
  std::thread flow([&] {
    client.set_patience(Milliseconds(120'000));
    got = client.exchange(data, total);
  });
  for (int round = 0; round < 6; ++round) {
    order(daemon, {"add", "relay", "slicer", "size=700", "variation=300", "delay=100us"});
    order(daemon, {"add", "relay", "latency", "latency=5ms", "jitter=5ms"});
    order(daemon, {"remove", "relay", "all"});
  }
  flow.join();
  assert_int_equal(got.size(), total);
  assert_true(got == data);
  // Joined again, bulk goes through pipes, which the worker keeps.
  const long pipes = pipes_of(daemon.pid());
  assert_true(wait_until([&] {
    assert_true(client.exchange(std::string_view(data).substr(0, total / 4), total / 4) == data.substr(0, total / 4));
    return pipes_of(daemon.pid()) > pipes || pipes > base_pipes;
  }));
  client.close();
  assert_true(wait_until([&] { return daemon.counter("relay", "sessions_open") == 0; }));
}

// One side has ended before the faults come: the end of the other ends the pair.
void a_half_open_pair_with_new_faults_ends(void** state) {
  Daemon& daemon = daemon_of(state);
  ServerSocket server;
  daemon.start(relay_configuration({.backends = {server.address()}, .options = "half_open_timeout = '600s'"}));
  for (const bool client_first : {true, false}) {
    Client client(daemon.address("relay"));
    Client backend = server.accept();
    Client& first = client_first ? client : backend;
    Client& second = client_first ? backend : client;
    assert_true(first.send("question") && first.finish_sending());
    assert_string_equal(second.receive_all().c_str(), "question");
    order(daemon, {"add", "relay", "latency", "latency=20ms"});
    assert_true(second.send("answer") && second.finish_sending());
    assert_string_equal(first.receive_all().c_str(), "answer");
    assert_string_equal(to_text(first.end()), to_text(End::closed));
    client.close();
    backend.close();
    assert_true(wait_until([&] { return daemon.counter("relay", "sessions_open") == 0; }));
    order(daemon, {"remove", "relay", "all"});
  }
}

// Through faults, with a peer that reads slowly and little room for what it has not taken: all of it, then the end.
void nothing_is_lost_at_the_end_behind_a_slow_reader(void** state) {
  Daemon& daemon = daemon_of(state);
  ServerSocket server("tcp://127.0.0.1:0", {.receive_buffer = 8192});
  daemon.start(
      relay_configuration({.backends = {server.address()},
                           .options = faults("{ kind = 'latency', latency = '1ms' }") + "output_limit = '8KiB'"}));
  const std::string data = noise(static_cast<std::size_t>(scaled(4096, 400)) * 1024, 22);
  for (const bool to_backend : {true, false}) {
    Client client(daemon.address("relay"), {.receive_buffer = 8192});
    Client backend = server.accept();
    Client& sender = to_backend ? client : backend;
    Client& receiver = to_backend ? backend : client;
    // The receiver has said all that it will: when the sender ends, both have.
    assert_true(receiver.send("go") && receiver.finish_sending());
    assert_string_equal(sender.receive(2).c_str(), "go");
    std::thread sending([&] {
      sender.set_patience(Milliseconds(60'000));
      if (sender.send(data)) sender.finish_sending();
    });
    std::string got;
    while (got.size() < data.size()) {
      const std::string some = receiver.receive(std::min<std::size_t>(4096, data.size() - got.size()));
      if (some.empty()) break;
      got += some;
    }
    const bool whole = got == data;
    receiver.receive_all();
    sending.join();
    if (!whole) print_error("%zu of %zu bytes, then %s\n", got.size(), data.size(), receiver.error().c_str());
    assert_true(whole);
    assert_string_equal(to_text(receiver.end()), to_text(End::closed));
  }
}

// A peer that says all before it reads: what waits for it must not keep it from being read.
void a_way_that_is_full_does_not_stop_the_other(void** state) {
  Daemon& daemon = daemon_of(state);
  ServerSocket server("tcp://127.0.0.1:0", {.receive_buffer = 8192});
  daemon.start(relay_configuration({.backends = {server.address()}, .options = "output_limit = '8KiB'"}));
  const std::string block = noise(64 * 1024, 27);
  for (const bool joined_before : {true, false}) {
    if (!joined_before) order(daemon, {"add", "relay", "latency", "latency=1ms"});
    Client client(daemon.address("relay"));
    Client backend = server.accept();
    assert_true(backend.send("go") && client.receive(2) == "go");
    std::string question;
    for (int quiet = 0; quiet < 5; ++quiet) {
      while (const std::size_t sent = client.send_what_fits(block)) {
        question += block.substr(0, sent);
        quiet = 0;
      }
      let_pass(Milliseconds(20));
    }
    if (joined_before) order(daemon, {"add", "relay", "latency", "latency=1ms"});
    const std::string answer = noise(100'000, 28);
    assert_true(backend.send(answer) && client.receive(answer.size()) == answer);
    assert_true(client.finish_sending() && backend.receive_all() == question);
    order(daemon, {"remove", "relay", "all"});
  }
}

// Small pieces that come due at once do not go over the limit of what waits for a peer.
void many_pieces_fit_a_small_output_limit(void** state) {
  Daemon& daemon = daemon_of(state);
  ServerSocket server;
  daemon.start(
      relay_configuration({.backends = {server.address()},
                           .options = faults("{ kind = 'latency', latency = '150ms' }") + "output_limit = '2KiB'"}));
  Client client(daemon.address("relay"));
  Client backend = server.accept();
  std::string all;
  for (int piece = 0; piece < 30; ++piece) {
    all += noise(700, static_cast<std::uint64_t>(piece));
    assert_true(client.send(std::string_view(all).substr(all.size() - 700)));
    let_pass(Milliseconds(1));
  }
  assert_true(backend.receive(all.size()) == all);
}

void bandwidth_is_kept(void** state) {
  Daemon& daemon = daemon_of(state);
  BackendProcess backend({.conduct = Conduct::echo});
  daemon.start(
      relay_configuration({.backends = {backend.address()},
                           .options = faults("{ kind = 'bandwidth', rate = '500kB/s', direction = 'to_backend' }")}));
  Client client(daemon.address("relay"));
  const std::string data = noise(750'000, 23);
  const Clock::time_point start = Clock::now();
  assert_true(client.exchange(data, data.size()) == data);
  const std::int64_t took = milliseconds_since(start);
  print_message("750 kB at 500 kB/s took %ld ms\n", static_cast<long>(took));
  assert_in_range(took, 1200, 10'000);
}

void corrupt_changes_a_byte_in_each_block(void** state) {
  Daemon& daemon = daemon_of(state);
  BackendProcess backend({.conduct = Conduct::echo});
  daemon.start(relay_configuration(
      {.backends = {backend.address()},
       .options = faults("{ kind = 'corrupt', block = '1KiB', direction = 'to_backend', seed = 5 }")}));
  Client client(daemon.address("relay"));
  const std::string data = noise(256 * 1024, 24);
  const std::string got = client.exchange(data, data.size());
  assert_int_equal(got.size(), data.size());
  for (std::size_t block = 0; block < data.size(); block += 1024) {
    int changed = 0;
    for (std::size_t at = block; at < block + 1024; ++at) changed += got[at] != data[at];
    assert_int_equal(changed, 1);
  }
}

void slices_arrive_one_by_one(void** state) {
  Daemon& daemon = daemon_of(state);
  ServerSocket server;
  daemon.start(relay_configuration(
      {.backends = {server.address()},
       .options = faults("{ kind = 'slicer', size = 100, delay = '5ms', direction = 'to_backend' }")}));
  Client client(daemon.address("relay"));
  Client backend = server.accept();
  const std::string data = noise(2000, 25);
  assert_true(client.send(data));
  std::string got;
  int reads = 0;
  for (const Deadline deadline; got.size() < data.size() && !deadline.passed();) {
    pollfd entry{.fd = backend.descriptor(), .events = POLLIN, .revents = 0};
    ::poll(&entry, 1, deadline.left_ms());
    char block[4096];
    const ssize_t count = ::recv(backend.descriptor(), block, sizeof block, 0);
    if (count <= 0) continue;
    // As far as they are seen one by one: a machine that stands still brings several at once.
    assert_int_equal(count % 100, 0);
    got.append(block, static_cast<std::size_t>(count));
    ++reads;
  }
  assert_true(got == data);
  print_message("20 slices in %d reads\n", reads);
  assert_true(reads > 1);
}

void cuts_cut_where_they_should(void** state) {
  Daemon& daemon = daemon_of(state);
  ServerSocket server;
  daemon.start(
      relay_configuration({.backends = {server.address()},
                           .options = faults("{ kind = 'reset', after_bytes = 1000, direction = 'to_client' }")}));
  const std::string data = noise(5000, 26);
  {
    Client client(daemon.address("relay"));
    Client backend = server.accept();
    assert_true(client.send("ask") && backend.receive(3) == "ask");
    assert_true(backend.send(data));
    assert_true(client.receive_all() == data.substr(0, 1000));
    assert_string_equal(to_text(client.end()), to_text(End::reset));
    backend.receive_all();
    assert_string_equal(to_text(backend.end()), to_text(End::reset));
  }
  order(daemon, {"remove", "relay", "all"});
  order(daemon, {"add", "relay", "close_after", "after_bytes=1000", "direction=to_client"});
  Client client(daemon.address("relay"));
  Client backend = server.accept();
  assert_true(backend.send(data));
  assert_true(client.receive_all() == data.substr(0, 1000));
  assert_string_equal(to_text(client.end()), to_text(End::closed));
  order(daemon, {"remove", "relay", "all"});
  order(daemon, {"add", "relay", "black_hole", "after_bytes=1000", "direction=to_client"});
  Client patient(daemon.address("relay"), {.patience = Milliseconds(700)});
  Client talker = server.accept();
  assert_true(talker.send(data));
  // The other way goes on.
  assert_true(patient.send("hello"));
  assert_string_equal(talker.receive(5).c_str(), "hello");
  assert_true(patient.receive(5000) == data.substr(0, 1000));
  assert_string_equal(to_text(patient.end()), to_text(End::timed_out));
}

void a_slow_close_is_late(void** state) {
  Daemon& daemon = daemon_of(state);
  ServerSocket server;
  daemon.start(relay_configuration(
      {.backends = {server.address()}, .options = faults("{ kind = 'slow_close', delay = '700ms' }")}));
  Client client(daemon.address("relay"));
  Client backend = server.accept();
  const Clock::time_point start = Clock::now();
  assert_true(client.send("bye") && client.finish_sending());
  assert_string_equal(backend.receive(3).c_str(), "bye");
  backend.receive_all();
  assert_string_equal(to_text(backend.end()), to_text(End::closed));
  assert_true(milliseconds_since(start) >= 690);
}

// Datagrams that came back, in order: each is four digits.
std::vector<int> numbers_back(Client& client, int count, int expected) {
  std::vector<int> got;
  for (int number = 0; number < count; ++number) {
    assert_true(client.send(fmt::format("{:04}", number)));
    if (number % 20 != 19) continue;
    // No more under way than sockets hold.
    client.set_patience(Milliseconds(2));
    for (std::string one; !(one = client.receive_datagram()).empty();) got.push_back(std::atoi(one.c_str()));
  }
  client.set_patience(Milliseconds(300));
  const Deadline deadline(Milliseconds(20'000));
  for (std::string one; !deadline.passed();) {
    one = client.receive_datagram();
    if (one.empty() && static_cast<int>(got.size()) >= expected) break;
    if (!one.empty()) got.push_back(std::atoi(one.c_str()));
    if (one.empty() && expected > count) break;
  }
  return got;
}

void datagrams_are_lost_doubled_and_reordered(void** state) {
  Daemon& daemon = daemon_of(state);
  BackendProcess backend({.conduct = Conduct::echo, .listen = "udp://127.0.0.1:0"});
  constexpr int kCount = 600;
  daemon.start(relay_configuration(
      {.backends = {backend.address()},
       .options = faults("{ kind = 'loss', probability = 0.3, seed = 7, direction = 'to_backend' }"),
       .listen = "udp://127.0.0.1:0"}));
  const std::string address = daemon.address("relay", "udp");
  {
    Client client(address);
    const auto got = numbers_back(client, kCount, kCount * 6 / 10);
    print_message("30 %% of loss: %zu of %d came\n", got.size(), kCount);
    // 420, and more than six standard deviations (11) of it.
    assert_in_range(got.size(), 350, 490);
    assert_true(std::ranges::is_sorted(got));
  }
  order(daemon, {"remove", "relay", "all"});
  order(daemon, {"add", "relay", "duplicate", "copies=1", "direction=to_client"});
  {
    Client client(address);
    const auto got = numbers_back(client, 100, 200);
    assert_int_equal(got.size(), 200);
    for (int number = 0; number < 100; ++number) assert_int_equal(std::ranges::count(got, number), 2);
  }
  order(daemon, {"remove", "relay", "all"});
  order(daemon,
        {"add", "relay", "reorder", "gap=3", "probability=0.2", "delay=200ms", "direction=to_backend", "seed=9"});
  {
    Client client(address);
    auto got = numbers_back(client, 200, 200);
    assert_int_equal(got.size(), 200);
    assert_false(std::ranges::is_sorted(got));
    std::ranges::sort(got);
    for (int number = 0; number < 200; ++number) assert_int_equal(got[static_cast<std::size_t>(number)], number);
  }
  order(daemon, {"remove", "relay", "all"});
  Client client(address);
  const auto got = numbers_back(client, 100, 100);
  assert_int_equal(got.size(), 100);
  assert_true(std::ranges::is_sorted(got));
}

}  // namespace

int main() {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_daemon, end_daemon)
  const CMUnitTest tests[] = {
      TEST(latency_is_at_least_what_was_asked),
      TEST(faults_come_and_go_on_running_streams),
      TEST(a_half_open_pair_with_new_faults_ends),
      TEST(nothing_is_lost_at_the_end_behind_a_slow_reader),
      TEST(a_way_that_is_full_does_not_stop_the_other),
      TEST(many_pieces_fit_a_small_output_limit),
      TEST(bandwidth_is_kept),
      TEST(corrupt_changes_a_byte_in_each_block),
      TEST(slices_arrive_one_by_one),
      TEST(cuts_cut_where_they_should),
      TEST(a_slow_close_is_late),
      TEST(datagrams_are_lost_doubled_and_reordered),
  };
  return cmocka_run_group_tests_name("process.relay_faults", tests, nullptr, nullptr);
}
