// Scripts that connect to others: what dial answers, how it ends, and connections that are used again.
#include "support/daemon.h"
#include "support/script.h"
#include "support/server_socket.h"

#include <fmt/format.h>

#include <string>
#include <vector>

#include "support/cmocka.h"  // last: it defines fail()

using namespace portolan::testing;

namespace {

void a_dial_talks_and_fails(void** state) {
  Daemon& daemon = daemon_of(state);
  ServerSocket server;
  ServerSocket gone;
  const std::string nobody = gone.address();
  gone.close();
  daemon.start(serving(fmt::format(R"(
      local stream, why = portolan.dial('{}')
      session:write(tostring(stream), ' ', why, '\n')
      stream = portolan.dial('{}')
      stream:write('question\n')
      session:write(stream:read_line(), '\n', tostring(stream:read_line()), '\n')
      stream:close()
      session:write(tostring(stream:write('x')), ' ', select(2, stream:read_line()), '\n')
      session:write(tostring(pcall(portolan.dial, 'nonsense')), '\n')
  )",
                                   nobody, server.address())));
  Client client(daemon.address("script"));
  Client answerer = server.accept();
  assert_string_equal(answerer.receive_line().c_str(), "question\n");
  assert_true(answerer.send("answer\n") && answerer.finish_sending());
  const std::string all = client.receive_all();
  assert_string_equal(all.c_str(), "nil Connection refused\nanswer\nnil\nnil closed\ntrue\n");
  answerer.receive_all();
  assert_string_equal(to_text(answerer.end()), to_text(End::closed));
}

void a_dialed_stream_that_is_forgotten_closes(void** state) {
  Daemon& daemon = daemon_of(state);
  ServerSocket server;
  daemon.start(serving(
      fmt::format("for i = 1, 20 do assert(portolan.dial('{}')) end "
                  "for i = 1, 200 do local t = {{}} for j = 1, 500 do t[j] = {{}} end portolan.sleep(0.001) end",
                  server.address())));
  const long descriptors = daemon.facts().descriptors;
  Client client(daemon.address("script"));
  std::vector<Client> accepted(20);
  for (Client& one : accepted) one = server.accept();
  client.receive_all();
  for (Client& one : accepted) {
    one.receive_all();
    assert_string_equal(to_text(one.end()), to_text(End::closed));
  }
  client.close();
  assert_true(wait_until([&] { return daemon.facts().descriptors <= descriptors; }));
}

// One connection for one exchange after the other, also of several sessions; what is of no use is not handed out again.
void a_released_stream_is_dialed_again(void** state) {
  Daemon& daemon = daemon_of(state);
  ServerSocket server;
  daemon.start(serving(fmt::format(R"(
      for line in session:lines() do
        local stream = assert(portolan.dial('{}', {{ pool = {{ max = 2, idle = 1 }} }}))
        stream:write(line, '\n')
        local answer = stream:read_line()
        if line == 'close' then stream:close() else session:write(tostring(stream:release()), ' ') end
        session:write(tostring(stream.reused), ' ', answer, ' ', tostring(stream:write('x')), '\n')
        if line == 'again' then session:write(tostring(stream:release()), '\n') end
        if line == 'bad' then session:write(tostring(pcall(session.release, session)), '\n') end
      end
  )",
                                   server.address())));
  Client one(daemon.address("script"));
  Client two(daemon.address("script"));
  const auto ask = [](Client& client, Client& answerer, const std::string& line, const std::string& expected) {
    assert_true(client.send(line + "\n"));
    if (!answerer.connected()) return;
    assert_string_equal(answerer.receive_line().c_str(), (line + "\n").c_str());
    assert_true(answerer.send("to " + line + "\n"));
    assert_string_equal(client.receive_line().c_str(), expected.c_str());
  };
  assert_true(one.send("first\n"));
  Client answerer = server.accept();
  assert_string_equal(answerer.receive_line().c_str(), "first\n");
  assert_true(answerer.send("to first\n"));
  assert_string_equal(one.receive_line().c_str(), "true false to first nil\n");
  ask(two, answerer, "second", "true true to second nil\n");
  ask(one, answerer, "again", "true true to again nil\n");
  assert_string_equal(one.receive_line().c_str(), "false\n");
  ask(one, answerer, "bad", "true true to bad nil\n");
  assert_string_equal(one.receive_line().c_str(), "false\n");
  ask(two, answerer, "close", "true to close nil\n");
  answerer.receive_all();
  // A new one, since that is gone.
  assert_true(two.send("new\n"));
  answerer = server.accept();
  assert_string_equal(answerer.receive_line().c_str(), "new\n");
  assert_true(answerer.send("to new\n"));
  assert_string_equal(two.receive_line().c_str(), "true false to new nil\n");
  // Spoken unasked: of no use to the next.
  assert_true(answerer.send("unasked\n"));
  answerer.receive_all();
  assert_true(one.send("last\n"));
  answerer = server.accept();
  assert_string_equal(answerer.receive_line().c_str(), "last\n");
  assert_int_equal(daemon.counter("script", "hook_failures"), 0);
}

// What a session has dialed ends with it, also when its task fails.
void what_a_session_dialed_ends_with_it(void** state) {
  Daemon& daemon = daemon_of(state);
  ServerSocket server;
  daemon.start(serving(fmt::format(
      "local up = portolan.dial('{}') session:write('x') if session:read_line() == 'fail' then error('x') end "
      "portolan.sleep('1h')",
      server.address())));
  for (const bool fails : {true, false}) {
    Client client(daemon.address("script"));
    Client upstream = server.accept();
    assert_string_equal(client.receive(1).c_str(), "x");
    assert_true(client.send(fails ? "fail\n" : "wait\n"));
    if (!fails) client.close_with_reset();
    upstream.receive_all();
    assert_string_equal(to_text(upstream.end()), to_text(End::closed));
  }
}

}  // namespace

int main() {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_daemon, end_daemon)
  const CMUnitTest tests[] = {
      TEST(a_dial_talks_and_fails),
      TEST(a_dialed_stream_that_is_forgotten_closes),
      TEST(a_released_stream_is_dialed_again),
      TEST(what_a_session_dialed_ends_with_it),
  };
  return cmocka_run_group_tests_name("process.script_dial", tests, nullptr, nullptr);
}
