// What befalls a rudp:// connection between two daemons: its client moves, its server begins anew, goes and comes back, bans.
#include "support/backend_process.h"
#include "support/relay.h"
#include "support/server_socket.h"
#include "support/udp_wire.h"

#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <string>

#include "support/cmocka.h"  // last: it defines fail()

using namespace portolan::testing;

namespace {

// near: tcp to rudp. far: whatever the test has it serve; again: the same once it was killed.
struct Pair {
  Daemon near, far, again;
  ServerSocket backend;
  std::unique_ptr<UdpWire> wire;
};

int set_up(void** state) {
  *state = new Pair;
  return 0;
}

int tear_down(void** state) {
  auto* pair = static_cast<Pair*>(*state);
  const std::string wrong = pair->near.end() + pair->far.end() + pair->again.end();
  if (!wrong.empty()) print_error("%s\n", wrong.c_str());
  delete pair;
  return wrong.empty() ? 0 : -1;
}

Pair& pair_of(void** state) { return *static_cast<Pair*>(*state); }

constexpr const char* kKey = "rudp = { key = 'correct horse battery staple forever' }";

std::string echo(const std::string& listen, const std::string& core = "", const std::string& key = kKey) {
  return fmt::format(
      "return {{ {} services = {{ {{ plugin = 'echo', name = 'echo', listen = '{}', mode = 'lines', max_line = 4096, "
      "{} }} }} }}",
      core, listen, key);
}

void start_near(Pair& pair, const std::string& address, const std::string& options = "",
                const std::string& key = kKey) {
  pair.near.start(relay_configuration(
      {.backends = {fmt::format("{{ address = '{}', name = 'far', {} }}", address, key)}, .options = options}));
}

bool comes(Daemon& daemon, const std::string& text) {
  const bool came = wait_until([&] { return daemon.log_has(text); });
  if (!came) print_error("not in the log: %s\n", text.c_str());
  return came;
}

std::string ask(Client& client, const std::string& line) { return client.send(line) ? client.receive_line() : ""; }

void a_client_that_moves_keeps_its_worker(void** state) {
  if (std::getenv("PORTOLAN_EMULATOR")) skip();  // QEMU's user mode hands on no programs of BPF
  Pair& pair = pair_of(state);
  pair.far.start(echo("rudp://127.0.0.1:0", "workers = 4,"));
  const std::string far = pair.far.address("echo", "rudp");
  pair.wire = std::make_unique<UdpWire>(static_cast<std::uint16_t>(std::stoi(far.substr(far.rfind(':') + 1))));
  start_near(pair, "rudp://" + pair.wire->address());
  Client client(pair.near.address("relay"));
  // The kernel alone would bring each to one of four workers, three of which know nothing of it.
  for (int move = 0; move < 8; ++move) {
    const std::string line = fmt::format("after {} moves\n", move);
    assert_string_equal(ask(client, line).c_str(), line.c_str());
    pair.wire->move();
  }
  assert_int_equal(pair.far.counter("echo", "sessions"), 1);
}

void who_begins_anew_says_so(void** state) {
  Pair& pair = pair_of(state);
  for (const std::string key : {kKey, ""}) {
    pair.far.start(echo("rudp://127.0.0.1:0", "", key));
    const std::string far = pair.far.address("echo", "rudp");
    start_near(pair, far, "", key);
    Client client(pair.near.address("relay"));
    assert_string_equal(ask(client, "hello\n").c_str(), "hello\n");
    pair.far.kill();
    // Without a program of BPF it may come to a worker that does not answer for the other's connections.
    pair.again.start(echo(far, std::getenv("PORTOLAN_EMULATOR") ? "" : "workers = 2,", key));
    // Not after the 30 s of silence that a connection bears.
    const Clock::time_point start = Clock::now();
    client.send("anybody?\n");  // unless it has been told already
    assert_string_equal(client.receive_all().c_str(), "");
    assert_true(milliseconds_since(start) < 20'000);
    Client second(pair.near.address("relay"));
    assert_string_equal(ask(second, "hello again\n").c_str(), "hello again\n");
    assert_int_equal(pair.near.stop(), 0);
    assert_int_equal(pair.again.stop(), 0);
  }
}

void a_backend_that_goes_is_down_and_comes_back(void** state) {
  Pair& pair = pair_of(state);
  pair.far.start(echo("rudp://127.0.0.1:0"));
  const std::string far = pair.far.address("echo", "rudp");
  start_near(pair, far,
             "health = { every = '30ms', every_down = '30ms', timeout = '2s', check = 'send', send = 'ping\\n', expect "
             "= 'ping' }, ");
  assert_true(comes(pair.near, "far is up (1 check passed)"));
  pair.far.kill();
  assert_true(comes(pair.near, "far is down"));
  pair.again.start(echo(far));
  assert_true(comes(pair.near, "far is up (2 checks passed)"));
  Client client(pair.near.address("relay"));
  assert_string_equal(ask(client, "hello\n").c_str(), "hello\n");
}

void who_is_banned_gets_no_stream(void** state) {
  Pair& pair = pair_of(state);
  pair.far.start(echo("rudp://127.0.0.1:0", "bans = { violations = 3, within = '1m', time = '1h', never = {} },"));
  start_near(pair, pair.far.address("echo", "rudp"), "attempts = 1, ");
  for (int violation = 0; violation < 3; ++violation) {
    Client client(pair.near.address("relay"));
    client.send(std::string(10'000, 'x') + "\n");
    client.receive_all();
  }
  assert_true(wait_until([&] { return pair.far.query({"bans"})["bans"].size() == 1; }));
  assert_string_equal(pair.far.query({"bans"})["bans"][0]["address"].get<std::string>().c_str(), "127.0.0.1");
  Client refused(pair.near.address("relay"));
  assert_string_equal(refused.receive_all().c_str(), "");
  assert_true(pair.far.wait_for_counter("echo", "refused_banned", 1));
  assert_int_equal(pair.far.command({"bans", "lift", "127.0.0.1"}).code, 0);
  Client client(pair.near.address("relay"));
  assert_string_equal(ask(client, "hello\n").c_str(), "hello\n");
}

void an_address_does_not_change_what_it_speaks(void** state) {
  Pair& pair = pair_of(state);
  std::string before = "udp://127.0.0.1:0";
  ::close(bind_socket(before));  // a port that the file names, as port 0 is never the same socket
  pair.far.start(echo(before, "", ""));
  pair.far.configure(echo("r" + before, "", ""));
  const CommandResult reload = pair.far.command({"reload"});
  assert_int_not_equal(reload.code, 0);
  if (reload.errors.find("is served as udp:// by now: restart the daemon, or choose another port") == std::string::npos)
    fail_msg("%s", reload.errors.c_str());
  Client client(before);
  assert_true(client.send("still udp\n"));
  assert_string_equal(client.receive_datagram().c_str(), "still udp\n");
}

void a_proxy_header_crosses(void** state) {
  Pair& pair = pair_of(state);
  pair.far.start(relay_configuration(
      {.backends = {pair.backend.address()}, .options = std::string(kKey) + ", ", .listen = "rudp://127.0.0.1:0"}));
  start_near(pair, pair.far.address("relay", "rudp"), "send_proxy = 'v1', ");
  Client client(pair.near.address("relay"));
  assert_true(client.send("hello\n"));
  Client backend = pair.backend.accept();
  const std::string header = backend.receive_line();
  if (!header.starts_with("PROXY TCP4 127.0.0.1 127.0.0.1 ")) print_error("%s\n", header.c_str());
  assert_true(header.starts_with("PROXY TCP4 127.0.0.1 127.0.0.1 "));
  assert_string_equal(backend.receive_line().c_str(), "hello\n");
}

}  // namespace

int main() {
#define PAIR_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
  const CMUnitTest tests[] = {
      PAIR_TEST(a_client_that_moves_keeps_its_worker),       PAIR_TEST(who_begins_anew_says_so),
      PAIR_TEST(a_backend_that_goes_is_down_and_comes_back), PAIR_TEST(who_is_banned_gets_no_stream),
      PAIR_TEST(an_address_does_not_change_what_it_speaks),  PAIR_TEST(a_proxy_header_crosses),
  };
#undef PAIR_TEST
  return cmocka_run_group_tests_name("process.rudp_life", tests, nullptr, nullptr);
}
