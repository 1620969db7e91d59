// What the HTTP server bounds beyond evhttp: how many connections there are, and how long one takes.
#include "event/http_server.h"

#include "support/child_process.h"
#include "support/client.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <deque>
#include <new>
#include <optional>
#include <string>

#include "support/cmocka.h"

using namespace portolan;
using namespace std::chrono_literals;
using portolan::testing::Client;
using portolan::testing::Deadline;

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
          } else if (request.path == "/fails") {
            throw std::bad_alloc();
          } else if (request.path == "/keeps-it-and-fails") {
            later = reply;
            throw 42;  // not even an exception by type
          } else {
            reply.send(200, "text/plain", "ok\n");
          }
        },
        limits);
  }
  // Turns the loop for as long, and for longer only when the machine is slow. How much is done in it is the machine's
  // affair: for what must happen, turn until it has.
  void turn_for(Duration time) {
    bool over = false;
    LoopTimer end(loop, [&over] { over = true; });
    end.start(time);
    while (!over) loop.turn(true);
  }
  template <typename Condition>
  bool turn_until(Condition condition) {
    const Deadline deadline;
    while (!condition()) {
      if (deadline.passed()) return false;
      turn_for(5ms);
    }
    return true;
  }
  // All that the peer receives up to the end of its connection.
  std::string answer_to(const Client& client) {
    std::string heard;
    turn_until([&] {
      char block[4096];
      const ssize_t count = ::recv(client.descriptor(), block, sizeof block, MSG_DONTWAIT);
      if (count > 0) heard.append(block, static_cast<std::size_t>(count));
      return count == 0;
    });
    return heard;
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

long open_descriptors() { return portolan::testing::facts_of(::getpid()).descriptors; }

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
  assert_true(fixture.answer_to(fourth).ends_with("\r\n\r\nok\n"));
  assert_int_equal(fixture.requests, 1);
}

// An answer that comes piece by piece takes as long as it takes, and its connection is one of those that there may be.
void a_stream_outlives_the_time_for_a_connection(void** state) {
  Fixture& fixture = of(state);
  fixture.serve({.connections = 2, .connection_time = 300ms});
  const Client client(fixture.where);
  assert_true(::send(client.descriptor(), "GET /later HTTP/1.0\r\n\r\n", 23, MSG_NOSIGNAL) == 23);
  assert_true(fixture.turn_until([&] { return fixture.later.has_value(); }));
  bool gone = false;
  std::optional<HttpStream> stream = fixture.later->begin(200, "text/plain", [&gone] { gone = true; });
  stream->write("a");
  fixture.turn_for(1s);
  assert_false(gone);
  stream->write("b");
  // It was answered with this.
  fixture.later->send(500, "text/plain", "c");
  stream->end();
  assert_true(fixture.answer_to(client).ends_with("\r\n\r\nab"));
  stream->write("d");
  assert_int_equal(stream->unsent(), 0);
  assert_false(gone);
}

void connections_that_end_are_not_counted(void** state) {
  Fixture& fixture = of(state);
  fixture.serve({.connections = 2, .connection_time = 1h});
  fixture.turn_for(20ms);
  const long before = open_descriptors();
  for (int i = 1; i <= 40; ++i) {
    Client client(fixture.where);
    assert_true(client.send("GET / HTTP/1.0\r\n\r\n"));
    assert_true(fixture.turn_until([&] { return fixture.requests >= i; }));
  }
  assert_true(fixture.turn_until([&] { return open_descriptors() == before; }));
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
  fixture.serve({.connections = 8, .connection_time = 1s});
  Client patient(fixture.where);
  assert_true(patient.send("POST /later HTTP/1.0\r\nContent-Length: 0\r\n\r\n"));
  assert_true(fixture.turn_until([&] { return fixture.later.has_value(); }));
  fixture.turn_for(2500ms);
  fixture.later->send(200, "text/plain", "at last\n");
  assert_true(fixture.answer_to(patient).ends_with("\r\n\r\nat last\n"));
}

// evhttp is C: an exception that went through it would end the process.
void a_handler_that_throws_takes_nothing_down(void** state) {
  Fixture& fixture = of(state);
  fixture.serve({.connections = 8, .connection_time = 1h});
  for (const char* path : {"/fails", "/keeps-it-and-fails"}) {
    Client client(fixture.where);
    assert_true(client.send(fmt::format("GET {} HTTP/1.0\r\n\r\n", path)));
    assert_non_null(strstr(fixture.answer_to(client).c_str(), " 500 "));
  }
  // Answered already: a late answer goes nowhere.
  assert_true(fixture.later.has_value());
  fixture.later->send(200, "text/plain", "late\n");
  Client client(fixture.where);
  assert_true(client.send("GET / HTTP/1.0\r\n\r\n"));
  assert_true(fixture.answer_to(client).ends_with("\r\n\r\nok\n"));
}

}  // namespace

int main() {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
  const CMUnitTest tests[] = {
      TEST(more_connections_than_allowed_wait),      TEST(a_stream_outlives_the_time_for_a_connection),
      TEST(connections_that_end_are_not_counted),    TEST(a_trickling_peer_is_ended),
      TEST(a_peer_that_waits_for_our_answer_is_not), TEST(a_handler_that_throws_takes_nothing_down),
  };
  return cmocka_run_group_tests_name("core.event.http_server", tests, nullptr, nullptr);
}
