// TCP in, rudp across, TCP out: two daemons with a relay each, and services that listen on rudp:// themselves.
#include "support/backend_process.h"
#include "support/relay.h"
#include "support/server_socket.h"

#include <memory>
#include <cstdlib>
#include <string>
#include <thread>

#include "support/cmocka.h"  // last: it defines fail()

using namespace portolan::testing;

namespace {

constexpr const char* kKey = "correct horse battery staple forever";

// near: tcp to rudp. far: rudp to tcp, or whatever the test has it serve.
struct Bridge {
  Daemon near, far;
  ServerSocket backend;
};

int set_up(void** state) {
  *state = new Bridge;
  return 0;
}

int tear_down(void** state) {
  auto* bridge = static_cast<Bridge*>(*state);
  std::string wrong = bridge->near.end();
  wrong += bridge->far.end();
  if (!wrong.empty()) print_error("%s\n", wrong.c_str());
  delete bridge;
  return wrong.empty() ? 0 : -1;
}

Bridge& bridge_of(void** state) { return *static_cast<Bridge*>(*state); }

std::string rudp_key(const std::string& key) {
  return key.empty() ? std::string() : fmt::format("rudp = {{ key = '{}' }}, ", key);
}

std::string far_configuration(const Bridge& bridge, const std::string& options = "", const std::string& key = kKey) {
  return relay_configuration(
      {.backends = {bridge.backend.address()}, .options = rudp_key(key) + options, .listen = "rudp://127.0.0.1:0"});
}

std::string near_configuration(Bridge& bridge, const std::string& options = "", const std::string& key = kKey,
                               const std::string& service = "relay") {
  return relay_configuration(
      {.backends = {fmt::format("{{ address = '{}', {} }}", bridge.far.address(service, "rudp"), rudp_key(key))},
       .options = options});
}

void start(Bridge& bridge) {
  bridge.far.start(far_configuration(bridge));
  bridge.near.start(near_configuration(bridge));
}

// One more session through both.
void open(Bridge& bridge, Client& client, Client& backend) {
  client = Client(bridge.near.address("relay"));
  assert_true(client.connected());
  backend = bridge.backend.accept();
  if (!backend.connected()) print_error("the backend: %s\n", backend.error().c_str());
  assert_true(backend.connected());
}

bool no_session_left(Bridge& bridge) {
  return wait_until([&] {
    return bridge.near.counter("relay", "sessions_open") == 0 && bridge.far.counter("relay", "sessions_open") == 0;
  });
}

long descriptors_of(Daemon& daemon) { return static_cast<long>(daemon.facts().descriptors); }

// ---- Bytes, ends and resets ----------------------------------------------------------------------------------

void every_byte_crosses_in_both_directions(void** state) {
  Bridge& bridge = bridge_of(state);
  start(bridge);
  const std::size_t size = static_cast<std::size_t>(scaled(100 * 1024, 2048)) * 1024;
  Client client, backend;
  open(bridge, client, backend);
  for (Client* each : {&client, &backend}) each->set_patience(Milliseconds(120'000));
  std::size_t at_client = 0;
  std::thread other([&] { at_client = swap_noise(client, 1, 2, size); });
  const std::size_t at_backend = swap_noise(backend, 2, 1, size);
  other.join();
  assert_int_equal(at_client, size);
  assert_int_equal(at_backend, size);
  client.close();
  backend.close();
  assert_true(no_session_left(bridge));
  // As for other streams: on the session's side of each relay.
  assert_true(bridge.far.counter("relay", "bytes_in") >= static_cast<long>(size));
  assert_true(bridge.far.counter("relay", "bytes_out") >= static_cast<long>(size));
}

void an_end_is_passed_on_and_the_answer_comes_back(void** state) {
  Bridge& bridge = bridge_of(state);
  start(bridge);
  talk_with_half_closes([&](Client& client, Client& backend) { open(bridge, client, backend); });
  assert_true(no_session_left(bridge));
}

void a_reset_is_passed_on_as_a_reset(void** state) {
  Bridge& bridge = bridge_of(state);
  start(bridge);
  for (const bool client_resets : {true, false}) {
    Client client, backend;
    open(bridge, client, backend);
    Client& resetting = client_resets ? client : backend;
    Client& other = client_resets ? backend : client;
    assert_true(other.send("hello"));
    assert_string_equal(resetting.receive(5).c_str(), "hello");
    resetting.close_with_reset();
    assert_string_equal(other.receive_all().c_str(), "");
    assert_string_equal(to_text(other.end()), to_text(End::reset));
  }
  assert_true(no_session_left(bridge));
}

void who_does_not_read_holds_back_who_sends_and_nobody_else(void** state) {
  Bridge& bridge = bridge_of(state);
  start(bridge);
  Client client, backend;
  open(bridge, client, backend);
  // Until nothing more is taken: what is held lies in a window, and in buffers that have a bound.
  const std::string block = noise(64 * 1024, 3);
  std::string sent;
  Clock::time_point last = Clock::now();
  while (milliseconds_since(last) < 1000 && sent.size() < 256U << 20U) {
    const std::size_t taken = client.send_what_fits(block);
    sent.append(block, 0, taken);
    if (taken) last = Clock::now();
    if (taken < block.size()) let_pass(Milliseconds(1));
  }
  assert_true(sent.size() < 64U << 20U);
  // Another one passes by meanwhile.
  Client second, its_backend;
  open(bridge, second, its_backend);
  const std::string question = noise(100'000, 4);
  std::thread sender([&] { second.send(question); });
  assert_true(its_backend.receive(question.size()) == question);
  sender.join();
  std::thread finisher([&] { client.finish_sending(); });
  assert_true(backend.receive_all() == sent);
  finisher.join();
}

void many_who_do_not_read_hold_back_nobody_else(void** state) {
  Bridge& bridge = bridge_of(state);
  start(bridge);
  const std::string block = noise(64 * 1024, 3);
  const auto many = static_cast<std::size_t>(scaled(10, 3));
  std::vector<Client> clients(many), backends(many);
  for (std::size_t index = 0; index < clients.size(); ++index) {
    open(bridge, clients[index], backends[index]);
    Clock::time_point last = Clock::now();
    while (milliseconds_since(last) < 500) {
      if (clients[index].send_what_fits(block) > 0)
        last = Clock::now();
      else
        let_pass(Milliseconds(1));
    }
  }
  Client second, its_backend;
  open(bridge, second, its_backend);
  // More than they leave of the connection's window, so that it has to be renewed.
  const std::string question = noise(static_cast<std::size_t>(scaled(40'000, 12'000)) * 1000, 4);
  std::thread sender([&] { second.send(question); });
  const std::string heard = its_backend.receive(question.size());
  sender.join();
  assert_true(heard == question);
}

void a_server_that_speaks_first_is_heard(void** state) {
  Bridge& bridge = bridge_of(state);
  start(bridge);
  Client client, backend;
  open(bridge, client, backend);
  assert_true(backend.send("220 welcome\r\n"));
  assert_string_equal(client.receive_line().c_str(), "220 welcome\r\n");
}

// ---- Who is let in -------------------------------------------------------------------------------------------

void another_key_is_told_and_lets_nobody_in(void** state) {
  Bridge& bridge = bridge_of(state);
  bridge.far.start(far_configuration(bridge));
  bridge.near.start(near_configuration(bridge, "attempts = 1, connect_timeout = '60s', ", "some other passphrase"));
  Client client(bridge.near.address("relay"));
  assert_string_equal(client.receive_all().c_str(), "");
  assert_true(wait_until([&] { return bridge.near.log_has("key"); }));
  assert_int_equal(bridge.far.counter("relay", "sessions"), 0);
  // And who has none.
  bridge.near.configure(near_configuration(bridge, "attempts = 1, connect_timeout = '60s', ", ""));
  assert_int_equal(bridge.near.command({"reload"}).code, 0);
  Client second(bridge.near.address("relay"));
  assert_string_equal(second.receive_all().c_str(), "");
  assert_int_equal(bridge.far.counter("relay", "sessions"), 0);
  // Both agree again once the other side has been told: a listener takes the key of the latest configuration.
  bridge.near.configure(near_configuration(bridge, "", "some other passphrase"));
  bridge.far.configure(far_configuration(bridge, "", "some other passphrase"));
  assert_int_equal(bridge.near.command({"reload"}).code, 0);
  assert_int_equal(bridge.far.command({"reload"}).code, 0);
  Client third, backend;
  open(bridge, third, backend);
}

void nobody_there_is_refused_at_once(void** state) {
  // QEMU hands no errors of the network to the programs that it runs.
  if (std::getenv("PORTOLAN_EMULATOR")) skip();
  Bridge& bridge = bridge_of(state);
  std::string address = "udp://127.0.0.1:0";
  ::close(bind_socket(address));
  bridge.near.start(relay_configuration(
      {.backends = {"rudp" + address.substr(3)}, .options = "attempts = 1, connect_timeout = '60s', "}));
  // Not after the 10 s that a handshake may take.
  const Clock::time_point start = Clock::now();
  Client client(bridge.near.address("relay"));
  assert_string_equal(client.receive_all().c_str(), "");
  assert_true(milliseconds_since(start) < 8'000);
  assert_true(wait_until([&] { return bridge.near.log_has("refused"); }));
}

void a_backend_that_is_down_resets_the_client(void** state) {
  Bridge& bridge = bridge_of(state);
  start(bridge);
  bridge.backend.close();
  Client client(bridge.near.address("relay"));
  assert_string_equal(client.receive_all().c_str(), "");
  assert_true(client.end() == End::reset || client.end() == End::closed);
  assert_true(no_session_left(bridge));
}

void the_limits_of_a_service_hold(void** state) {
  Bridge& bridge = bridge_of(state);
  bridge.far.start(far_configuration(bridge, "max_sessions = 2, "));
  bridge.near.start(near_configuration(bridge, "attempts = 1, "));
  Client clients[2], backends[2];
  for (int index = 0; index < 2; ++index) open(bridge, clients[index], backends[index]);
  Client third(bridge.near.address("relay"));
  assert_string_equal(third.receive_all().c_str(), "");
  assert_true(bridge.far.wait_for_counter("relay", "refused_max_sessions", 1));
  assert_true(bridge.near.log_has("takes no more sessions"));
  clients[0].close();
  backends[0].close();
  assert_true(wait_until([&] { return bridge.far.counter("relay", "sessions_open") == 1; }));
  open(bridge, clients[0], backends[0]);
}

// ---- Reloads and the end -------------------------------------------------------------------------------------

void reloads_break_no_stream_and_leak_nothing(void** state) {
  Bridge& bridge = bridge_of(state);
  start(bridge);
  Client client, backend;
  open(bridge, client, backend);
  const std::size_t size = static_cast<std::size_t>(scaled(32 * 1024, 2048)) * 1024;
  for (Client* each : {&client, &backend}) each->set_patience(Milliseconds(120'000));
  std::size_t at_client = 0;
  std::size_t at_backend = 0;
  std::thread first([&] { at_client = swap_noise(client, 5, 6, size); });
  std::thread second([&] { at_backend = swap_noise(backend, 6, 5, size); });
  const long near_before = descriptors_of(bridge.near);
  const long far_before = descriptors_of(bridge.far);
  for (int round = 0; round < 20; ++round) {
    bridge.near.configure(near_configuration(bridge, fmt::format("max_sessions = {}, ", 1000 + round)));
    bridge.far.configure(far_configuration(bridge, fmt::format("max_sessions = {}, ", 1000 + round)));
    const bool fine = bridge.near.command({"reload"}).code == 0 && bridge.far.command({"reload"}).code == 0;
    if (!fine) print_error("a reload was refused\n");
    Client another(bridge.near.address("relay"));
    Client its_backend = bridge.backend.accept();
    if (!its_backend.send("hello") || another.receive(5) != "hello") print_error("a session after a reload failed\n");
  }
  first.join();
  second.join();
  assert_int_equal(at_client, size);
  assert_int_equal(at_backend, size);
  client.close();
  backend.close();
  assert_true(no_session_left(bridge));
  // The two sessions' sockets have gone.
  assert_true(wait_until([&] { return descriptors_of(bridge.near) <= near_before; }));
  assert_true(wait_until([&] { return descriptors_of(bridge.far) <= far_before; }));
}

void a_listener_that_goes_keeps_its_streams_to_their_end(void** state) {
  Bridge& bridge = bridge_of(state);
  start(bridge);
  Client client, backend;
  open(bridge, client, backend);
  const long before = descriptors_of(bridge.far);
  bridge.far.configure(relay_configuration({.backends = {bridge.backend.address()}, .listen = "tcp://127.0.0.1:0"}));
  assert_int_equal(bridge.far.command({"reload"}).code, 0);
  assert_true(client.send("still there"));
  assert_string_equal(backend.receive(11).c_str(), "still there");
  client.close();
  assert_string_equal(backend.receive_all().c_str(), "");
  backend.close();
  // The session's two sockets and those of the listener; a listener has come instead.
  assert_true(wait_until([&] { return descriptors_of(bridge.far) < before; }));
}

void what_was_written_is_delivered_before_a_daemon_stops(void** state) {
  Bridge& bridge = bridge_of(state);
  bridge.far.start(
      fmt::format("return {{ services = {{ {{ plugin = 'echo', name = 'relay', listen = "
                  "'rudp://127.0.0.1:0', {} }} }} }}",
                  rudp_key(kKey)));
  bridge.near.start(near_configuration(bridge));
  Client client(bridge.near.address("relay"));
  const std::string text = noise(3'000'000, 9);
  std::thread sender([&] { client.send(text) && client.finish_sending(); });
  assert_true(bridge.far.wait_for_counter("relay", "bytes_in", 1'000'000));
  std::thread stopper([&] { bridge.far.stop(); });
  const std::string answer = client.receive_all();
  stopper.join();
  sender.join();
  assert_int_equal(answer.size(), text.size());
  assert_true(answer == text);
}

// ---- Services of their own, and scripts ----------------------------------------------------------------------

void services_listen_and_scripts_dial(void** state) {
  Bridge& bridge = bridge_of(state);
  bridge.far.start(
      fmt::format("return {{ services = {{ {{ plugin = 'echo', name = 'echo', listen = "
                  "'rudp://127.0.0.1:0', mode = 'lines', transform = 'upper', {} }} }} }}",
                  rudp_key(kKey)));
  bridge.near.start(
      fmt::format("return {{ services = {{ {{ plugin = 'script', name = 'ask', listen = 'tcp://127.0.0.1:0', "
                  "on_session = function(stream) "
                  "local far, why = portolan.dial('{}', {{ rudp = {{ key = '{}', max_rate = 1e8 }} }}) "
                  "if not far then return stream:write('no: ' .. why .. '\\n') end "
                  "far:write('hello over there\\n') stream:write(far:read_line() .. '\\n') "
                  "local other, reason = portolan.dial('{}', {{ rudp = {{ key = 'wrong' }} }}) "
                  "stream:write(tostring(other) .. ': ' .. tostring(reason) .. '\\n') "
                  "stream:read(1) end }} }} }}",
                  bridge.far.address("echo", "rudp"), kKey, bridge.far.address("echo", "rudp")));
  Client client(bridge.near.address("ask"));
  assert_string_equal(client.receive_line().c_str(), "HELLO OVER THERE\n");
  const Json sessions = bridge.far.query({"sessions"}).at("sessions");
  assert_int_equal(sessions.size(), 1);
  assert_string_equal(sessions[0].at("transport").get<std::string>().c_str(), "rudp");
  assert_true(sessions[0].at("bytes_in").get<int>() == 17);
  const std::string refused = client.receive_line();
  if (refused.find("nil: ") != 0 || refused.find("key") == std::string::npos) print_error("%s", refused.c_str());
  assert_true(refused.find("nil: ") == 0 && refused.find("key") != std::string::npos);
}

}  // namespace

int main() {
#define BRIDGE_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
  const CMUnitTest tests[] = {
      BRIDGE_TEST(every_byte_crosses_in_both_directions),
      BRIDGE_TEST(an_end_is_passed_on_and_the_answer_comes_back),
      BRIDGE_TEST(a_reset_is_passed_on_as_a_reset),
      BRIDGE_TEST(who_does_not_read_holds_back_who_sends_and_nobody_else),
      BRIDGE_TEST(many_who_do_not_read_hold_back_nobody_else),
      BRIDGE_TEST(a_server_that_speaks_first_is_heard),
      BRIDGE_TEST(another_key_is_told_and_lets_nobody_in),
      BRIDGE_TEST(nobody_there_is_refused_at_once),
      BRIDGE_TEST(a_backend_that_is_down_resets_the_client),
      BRIDGE_TEST(the_limits_of_a_service_hold),
      BRIDGE_TEST(reloads_break_no_stream_and_leak_nothing),
      BRIDGE_TEST(a_listener_that_goes_keeps_its_streams_to_their_end),
      BRIDGE_TEST(what_was_written_is_delivered_before_a_daemon_stops),
      BRIDGE_TEST(services_listen_and_scripts_dial),
  };
#undef BRIDGE_TEST
  return cmocka_run_group_tests_name("process.rudp", tests, nullptr, nullptr);
}
