// Datagrams through the relay: whose they are, from where they are answered, how large, and for how long.
#include "support/backend_process.h"
#include "support/relay.h"
#include "support/server_socket.h"

#include <string>
#include <vector>

#include <sys/socket.h>
#include <unistd.h>

#include "support/cmocka.h"  // last: it defines fail()

using namespace portolan::testing;

namespace {

std::string configuration(const std::vector<std::string>& backends, const std::string& options = "",
                          const std::string& listen = "udp://127.0.0.1:0") {
  return relay_configuration({.backends = backends, .options = options, .listen = listen});
}

std::string ask(Client& client, const std::string& question) {
  return client.send(question) ? client.receive_datagram() : std::string();
}

void each_address_and_port_has_a_session(void** state) {
  Daemon& daemon = daemon_of(state);
  BackendProcess one({.name = "b1", .listen = "udp://127.0.0.1:0"});
  BackendProcess two({.name = "b2", .listen = "udp://127.0.0.1:0"});
  daemon.start(configuration({one.address(), two.address()}));
  std::vector<Client> clients;
  for (const char* source : {"127.0.0.1", "127.0.0.1", "127.0.0.3", "127.0.0.3"})
    clients.emplace_back(daemon.address("relay", "udp"), ClientOptions{.source = source});
  for (int round = 0; round < 3; ++round)
    for (std::size_t index = 0; index < clients.size(); ++index)
      assert_string_equal(ask(clients[index], fmt::format("{} {}", round, index)).c_str(),
                          fmt::format("b{} {} {}", 1 + index % 2, round, index).c_str());
  assert_int_equal(daemon.counter("relay", "sessions_open"), 4);
}

void the_answer_comes_from_the_address_that_was_asked(void** state) {
  Daemon& daemon = daemon_of(state);
  BackendProcess backend({.listen = "udp://127.0.0.1:0"});
  daemon.start(configuration({backend.address()}, "", "udp://0.0.0.0:0"));
  const std::string port = daemon.address("relay", "udp").substr(std::string("udp://0.0.0.0:").size());
  // A connected socket hears of no other address.
  for (const char* host : {"127.0.0.2", "127.0.0.1", "127.9.9.9"}) {
    Client client("udp://" + std::string(host) + ":" + port);
    assert_string_equal(ask(client, "hello").c_str(), "backend hello");
  }
}

void large_empty_and_v6_datagrams_pass(void** state) {
  Daemon& daemon = daemon_of(state);
  std::string loopback = "udp://[::1]:0";
  const int socket = bind_socket(loopback);
  const bool v6 = socket >= 0;  // a machine without IPv6 has no ::1
  if (v6) ::close(socket);
  BackendProcess backend({.conduct = Conduct::echo, .listen = v6 ? "udp://[::1]:0" : "udp://127.0.0.1:0"});
  daemon.start(configuration({backend.address()}, "", v6 ? "udp://[::1]:0" : "udp://127.0.0.1:0"));
  Client client(daemon.address("relay", "udp"));
  for (const std::size_t size : {1U, 1472U, 9000U, 65507U}) {
    const std::string data = noise(size, size);
    assert_true(ask(client, data) == data);
  }
  for (int round = 0; round < 3; ++round) {
    assert_int_equal(::send(client.descriptor(), "", 0, 0), 0);
    pollfd entry{.fd = client.descriptor(), .events = POLLIN, .revents = 0};
    assert_int_equal(::poll(&entry, 1, static_cast<int>(kPatience.count())), 1);
    char block[16];
    assert_int_equal(::recv(client.descriptor(), block, sizeof block, 0), 0);
  }
  assert_string_equal(ask(client, "and on").c_str(), "and on");
}

void a_quiet_session_is_forgotten(void** state) {
  Daemon& daemon = daemon_of(state);
  BackendProcess backend({.listen = "udp://127.0.0.1:0"});
  daemon.start(configuration({backend.address()}, "datagram_timeout = '500ms'"));
  Client client(daemon.address("relay", "udp"));
  assert_string_equal(ask(client, "a").c_str(), "backend a");
  assert_true(wait_until([&] { return daemon.counter("relay", "sessions_open") == 0; }));
  // By now the daemon has opened what it opens once. Four more sessions leave nothing behind.
  const long descriptors = daemon.facts().descriptors;
  Client others[3] = {Client(daemon.address("relay", "udp")), Client(daemon.address("relay", "udp")),
                      Client(daemon.address("relay", "udp"))};
  for (Client& other : others) assert_string_equal(ask(other, "b").c_str(), "backend b");
  assert_string_equal(ask(client, "b").c_str(), "backend b");
  assert_true(wait_until([&] { return daemon.counter("relay", "sessions_open") == 0; }));
  assert_true(wait_until([&] { return daemon.facts().descriptors <= descriptors; }));
}

void a_new_client_takes_the_place_of_the_quietest(void** state) {
  Daemon& daemon = daemon_of(state);
  BackendProcess backend({.listen = "udp://127.0.0.1:0"});
  daemon.start(configuration({backend.address()}, "max_sessions = 10, datagram_timeout = '600s'"));
  std::vector<Client> clients;
  for (int index = 0; index < 50; ++index) {
    clients.emplace_back(daemon.address("relay", "udp"));
    assert_string_equal(ask(clients.back(), "x").c_str(), "backend x");
    assert_in_range(daemon.counter("relay", "sessions_open"), 1, 10);
  }
  // The first ones are strangers again, and as welcome.
  assert_string_equal(ask(clients.front(), "y").c_str(), "backend y");
  assert_int_equal(daemon.counter("relay", "sessions_open"), 10);
}

void a_refused_client_goes_to_another_backend(void** state) {
  Daemon& daemon = daemon_of(state);
  BackendProcess dead({.name = "dead", .listen = "udp://127.0.0.1:0"});
  BackendProcess alive({.name = "alive", .listen = "udp://127.0.0.1:0"});
  daemon.start(configuration({dead.address(), alive.address()}, "passive = { failures = 3, base = '120s' }"));
  Client client(daemon.address("relay", "udp"), {.patience = Milliseconds(500)});
  assert_string_equal(ask(client, "first").c_str(), "dead first");
  dead.kill();
  // A datagram or two are lost to it; then the next begins a session elsewhere.
  assert_true(wait_until([&] { return ask(client, "x") == "alive x"; }));
  std::vector<Client> others;
  for (int index = 0; index < 12; ++index) {
    others.emplace_back(daemon.address("relay", "udp"), ClientOptions{.patience = Milliseconds(500)});
    assert_true(wait_until([&] { return ask(others.back(), "x") == "alive x"; }));
  }
  const Json status = backend_status(daemon, dead.address());
  assert_true(status.at("ejections").get<long>() == 1);
}

// The backend sees the same peer before and after: its session there goes on.
void a_session_keeps_its_port_over_a_reload(void** state) {
  Daemon& daemon = daemon_of(state);
  BackendProcess one({.name = "b1", .listen = "udp://127.0.0.1:0"});
  BackendProcess two({.name = "b2", .listen = "udp://127.0.0.1:0"});
  const auto with = [&](const std::string& backend) { return configuration({backend}, "datagram_timeout = '600s'"); };
  daemon.start(with(one.address()));
  Client old(daemon.address("relay", "udp"));
  assert_string_equal(ask(old, "a").c_str(), "b1 a");
  for (int round = 0; round < 3; ++round) {
    daemon.configure(with(round % 2 == 0 ? two.address() : one.address()));
    assert_int_equal(daemon.command({"reload"}).code, 0);
    assert_string_equal(ask(old, "still").c_str(), "b1 still");
  }
  Client fresh(daemon.address("relay", "udp"));
  assert_string_equal(ask(fresh, "b").c_str(), "b2 b");
}

}  // namespace

int main() {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_daemon, end_daemon)
  const CMUnitTest tests[] = {
      TEST(each_address_and_port_has_a_session),
      TEST(the_answer_comes_from_the_address_that_was_asked),
      TEST(large_empty_and_v6_datagrams_pass),
      TEST(a_quiet_session_is_forgotten),
      TEST(a_new_client_takes_the_place_of_the_quietest),
      TEST(a_refused_client_goes_to_another_backend),
      TEST(a_session_keeps_its_port_over_a_reload),
  };
  return cmocka_run_group_tests_name("process.relay_udp", tests, nullptr, nullptr);
}
