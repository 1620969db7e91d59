// What the HTTP server bounds beyond evhttp: how many connections there are, and how long one takes.
#include "event/http_server.h"

#include "support/client.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <deque>
#include <optional>
#include <string>

#include "support/cmocka.h"

using namespace portolan;
using namespace std::chrono_literals;
using portolan::testing::Client;

namespace {

struct Fixture {
  Fixture() {
    listening = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ::bind(listening, reinterpret_cast<const sockaddr*>(&address), sizeof address);
    ::listen(listening, 64);
    socklen_t size = sizeof address;
    ::getsockname(listening, reinterpret_cast<sockaddr*>(&address), &size);
    where = fmt::format("tcp://127.0.0.1:{}", ntohs(address.sin_port));
  }
  ~Fixture() {
    clients.clear();
    server.reset();
    ::close(listening);
  }
  void serve(HttpLimits limits) {
    server = std::make_unique<HttpServer>(
        loop, listening,
        [this](const HttpRequest& request, const HttpReply& reply) {
          ++requests;
          if (request.path == "/later") {
            later = reply;
          } else {
            reply.send(200, "text/plain", "ok\n");
          }
        },
        limits);
  }
  // Turns the loop for as long, and for longer only when the machine is slow.
  void turn_for(Duration time) {
    bool over = false;
    LoopTimer end(loop, [&over] { over = true; });
    end.start(time);
    while (!over) loop.turn(true);
  }

  Loop loop;
  int listening = -1;
  std::string where;
  int requests = 0;
  std::optional<HttpReply> later;
  std::unique_ptr<HttpServer> server;
  std::deque<Client> clients;
};

int set_up(void** state) {
  ::signal(SIGPIPE, SIG_IGN);
  *state = new Fixture;
  return 0;
}
int tear_down(void** state) {
  delete static_cast<Fixture*>(*state);
  return 0;
}
Fixture& of(void** state) { return *static_cast<Fixture*>(*state); }

int next_descriptor() {
  const int descriptor = ::dup(0);
  ::close(descriptor);
  return descriptor;
}

void more_connections_than_allowed_wait(void** state) {
  Fixture& fixture = of(state);
  fixture.serve({.connections = 3, .connection_time = 1h});
  for (int i = 0; i < 3; ++i) fixture.clients.emplace_back(fixture.where);
  fixture.turn_for(50ms);
  Client fourth(fixture.where);
  assert_true(fourth.send("GET / HTTP/1.0\r\n\r\n"));
  fixture.turn_for(200ms);
  assert_int_equal(fixture.requests, 0);
  fixture.clients.pop_back();
  while (fixture.requests == 0) fixture.loop.turn(true);
  assert_int_equal(fixture.requests, 1);
  fixture.turn_for(50ms);
  assert_true(fourth.receive_all().ends_with("\r\n\r\nok\n"));
}

void connections_that_end_are_not_counted(void** state) {
  Fixture& fixture = of(state);
  fixture.serve({.connections = 2, .connection_time = 1h});
  fixture.turn_for(20ms);
  const int before = next_descriptor();
  for (int i = 1; i <= 40; ++i) {
    Client client(fixture.where);
    assert_true(client.send("GET / HTTP/1.0\r\n\r\n"));
    while (fixture.requests < i) fixture.loop.turn(true);
  }
  fixture.turn_for(500ms);
  assert_int_equal(next_descriptor(), before);
}

void a_trickling_peer_is_ended(void** state) {
  Fixture& fixture = of(state);
  fixture.serve({.connections = 8, .connection_time = 1500ms});
  Client slow(fixture.where);
  bool sent = slow.send("GET / HTTP/1.1\r\nX: ");
  const Duration start = Loop::now();
  while (sent && Loop::now() - start < 20s) {
    fixture.turn_for(100ms);
    sent = slow.send("x");
  }
  assert_false(sent);
  assert_int_equal(fixture.requests, 0);
}

void a_peer_that_waits_for_our_answer_is_not(void** state) {
  Fixture& fixture = of(state);
  fixture.serve({.connections = 8, .connection_time = 300ms});
  Client patient(fixture.where);
  assert_true(patient.send("POST /later HTTP/1.0\r\nContent-Length: 0\r\n\r\n"));
  while (!fixture.later) fixture.loop.turn(true);
  fixture.turn_for(1200ms);
  fixture.later->send(200, "text/plain", "at last\n");
  fixture.turn_for(50ms);
  assert_true(patient.receive_all().ends_with("\r\n\r\nat last\n"));
}

}  // namespace

int main() {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
  const CMUnitTest tests[] = {
      TEST(more_connections_than_allowed_wait),
      TEST(connections_that_end_are_not_counted),
      TEST(a_trickling_peer_is_ended),
      TEST(a_peer_that_waits_for_our_answer_is_not),
  };
  return cmocka_run_group_tests_name("core.event.http_server", tests, nullptr, nullptr);
}
