// Scripts that mean harm, and crowds that vanish: the daemon serves on, and nothing stays behind.
#include "support/daemon.h"
#include "support/script.h"

#include <fmt/format.h>

#include <string>
#include <vector>

#include "support/cmocka.h"  // last: it defines fail()

using namespace portolan::testing;

namespace {

// A client that is told "too long" again and again keeps nobody else waiting; nor does one whose lines take their time.
void one_session_does_not_stop_the_others(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(R"(return { services = {
      { plugin = 'script', name = 'stubborn', listen = 'tcp://127.0.0.1:0',
        on_session = function(session) while session:is_open() do session:read_line({ max = 100 }) end end },
      { plugin = 'script', name = 'slow', listen = 'tcp://127.0.0.1:0',
        on_session = function(session) for line in session:lines() do for i = 1, 100000 do end end end },
      { plugin = 'script', name = 'good', listen = 'tcp://127.0.0.1:0',
        on_session = function(session) for line in session:lines() do session:write(line, '\n') end end },
  } })");
  Client stubborn(daemon.address("stubborn"));
  assert_true(stubborn.send(std::string(5000, 'x')));
  Client slow(daemon.address("slow"));
  slow.send_what_fits(std::string(60'000, '\n'));
  Client good(daemon.address("good"));
  for (int turn = 0; turn < 20; ++turn) {
    assert_true(good.send("hello\n"));
    assert_string_equal(good.receive_line().c_str(), "hello\n");
  }
  slow.close_with_reset();
  stubborn.close_with_reset();
  assert_true(wait_until([&] { return daemon.counter("stubborn", "sessions_open") == 0; }));
}

void too_many_hooks_that_wait_are_done_without(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(
      "return { script = { tasks = 10 }, services = { { plugin = 'echo', name = 'echo', mode = 'lines', "
      "listen = 'tcp://127.0.0.1:0', on_line = function(line) portolan.sleep('100ms') return line:upper() end } } }");
  std::vector<Client> clients(60);
  for (Client& client : clients) {
    client = Client(daemon.address("echo"));
    assert_true(client.send("a\n"));
  }
  int upper = 0;
  for (Client& client : clients) upper += client.receive_line() == "A\n" ? 1 : 0;
  assert_in_range(upper, 10, 59);
  assert_true(wait_until([&] { return daemon.log_has("tasks are alive already"); }));
}

struct Harm {
  const char* body;
  const char* logged;
};

// Each is stopped, said in the log with its line, and nobody else notices.
void harm_is_stopped(void** state) {
  static constexpr Harm kHarms[] = {
      {"while true do end", "stopped after"},
      {"while true do pcall(function() while true do end end) end", "stopped after"},
      {"local function f() return f() end f()", "stopped after"},
      {"local function f() f() end f()", "stack overflow|memory"},
      {"local function f() pcall(f) end f() error('done')", "done|stopped after|memory"},
      {"local s = ('x'):rep(1000000000)", "memory|stopped after"},
      {"local t = {} while true do t[#t + 1] = ('x'):rep(10000) end", "memory|stopped after"},
      {"local s = 'x' while true do s = s .. s end", "memory|stopped after"},
      {"string.find(('a'):rep(5000), ('a*'):rep(20) .. 'b')", "stopped after|too complex"},
      {"error({})", "whose value is no text"},
      {"error(nil)", "whose value is no text"},
      {"error(setmetatable({}, { __tostring = function() while true do end end }))", "whose value is no text"},
      {"setmetatable({}, { __gc = function() end })", "__gc is not allowed"},
      {"getmetatable(session).__gc()", "attempt to|no value"},
      {"getmetatable(session).__index = nil", "attempt to|index"},
      {"session.write(nil, 'x')", "bad argument"},
      {"session.read({})", "bad argument"},
      {"while true do portolan.spawn(function() portolan.sleep(100) end) end",
       "tasks are alive|memory|stopped after|can be started"},
      {"local function f() portolan.spawn(f) portolan.spawn(f) end f() portolan.sleep(0.2) error('done')",
       "tasks are alive|memory|done|can be started"},
      {"getmetatable(portolan.json.array()).__gc = function() end", "attempt to index"},
      {"portolan.spawn(pcall, function() while true do end end) portolan.sleep(0.5) error('done')", "stopped after"},
      {"local e, t = {}, {} for i = 1, 20000 do e[i] = i end for i = 1, 20000 do e[i] = nil end "
       "for i = 1, 20000 do t[i] = e end portolan.json.encode(t) error('done')",
       "stopped after|done"},
      {"local up = portolan.dial('tcp://127.0.0.1:1') or session portolan.sleep(0.01) "
       "up:read(nil, setmetatable({}, { __index = function() up:reset() end })) error('done')",
       "done|has ended"},
      {"local s, t = ('a'):rep(1 << 20), {} for i = 1, 3000 do t[i] = s .. (i % 2) end table.sort(t)",
       "stopped after|memory"},
      {"while true do string.packsize(('b'):rep(100000)) end", "stopped after|too long|too large|memory"},
      {"portolan.json.encode((function() local t = {} t[1] = t return t end)())", "nested deeper"},
      {"portolan.json.decode(('['):rep(100000)) error('done')", "done"},
      {"portolan.sleep(-1)", "not negative"},
      {"portolan.sleep(0/0)", "not negative"},
      {"portolan.sleep('soon')", "bad argument"},
      {"session:read(0)", "read takes from 1"},
      {"session:read(1e12)", "read takes from 1"},
      {"session:close() session:close() session:reset() session:write('x') session:finish() error('done')", "done"},
      {"session:reset() session:read_line() error('done')", "done"},
      {"portolan.spawn(function() session:read(1000) end) portolan.sleep(0.01) session:read_line()",
       "another task reads"},
      {"portolan.every('1us', function() end)", "at least 1 ms"},
      {"portolan.subscribe('')", "from 1 to 256"},
      {"portolan.publish('x', function() end)", "JSON has no function"},
      {"coroutine.wrap(function() end)()", "attempt to index"},
      {"os.execute('true')", "attempt to index"},
      {"io.open('/etc/passwd')", "attempt to index"},
      {"load('return 1')()", "attempt to call"},
      {"require('os')", "attempt to call"},
      {"local t <close> = setmetatable({}, { __close = function() while true do end end })", "stopped after"},
      {"local t <close> = setmetatable({}, { __close = function() portolan.sleep(0.01) end }) error('done')", "done"},
      {"session:write(('x'):rep(100000)) session:close() portolan.sleep(0.05) session:write('y') error('done')",
       "done|has ended"},
  };
  Daemon& daemon = daemon_of(state);
  std::string services;
  std::size_t index = 0;
  for (const Harm& harm : kHarms) {
    services += fmt::format(
        "{{ plugin = 'script', name = 'harm{}', listen = 'tcp://127.0.0.1:0', on_session = function(session) {} end "
        "}},\n",
        index++, harm.body);
  }
  daemon.start("return { script = { memory = '4MiB', tasks = 2000 }, services = {\n" + services +
               "{ plugin = 'script', name = 'good', listen = 'tcp://127.0.0.1:0', on_session = function(session) "
               "for line in session:lines() do session:write(line, '\\n') end end } } }\n");
  Client good(daemon.address("good"));
  index = 0;
  for (const Harm& harm : kHarms) {
    const std::string name = fmt::format("harm{}", index++);
    const std::size_t seen = daemon.log().size();
    Client client(daemon.address(name));
    client.send("hello\n");
    client.receive_all();
    const auto said = [&] {
      const std::string log = daemon.log().substr(seen);
      std::string_view any = harm.logged;
      while (!any.empty()) {
        const std::size_t bar = any.find('|');
        const std::string_view part = any.substr(0, bar);
        if (log.find(part) != std::string::npos && log.find("portolan.lua:") != std::string::npos) return true;
        any = bar == std::string_view::npos ? std::string_view() : any.substr(bar + 1);
      }
      return false;
    };
    if (!wait_until(said, Milliseconds(5000))) {
      print_error("%s\nexpected: %s\nsaid: %s\n", harm.body, harm.logged, daemon.log().substr(seen).c_str());
      fail();
    }
    assert_true(good.send("still here\n"));
    assert_string_equal(good.receive_line().c_str(), "still here\n");
  }
  assert_int_equal(daemon.counter("good", "hook_failures"), 0);
}

// Clients that come, talk, and vanish at any moment: nothing stays behind.
void a_crowd_leaves_nothing(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(serving(R"(
      local news <close> = portolan.subscribe('news')
      portolan.spawn(function() for text in news:messages() do session:write('*', text, '\n') end end)
      for line in session:lines() do
        portolan.publish('news', line)
        portolan.sleep(0.001)
        session:write(line, '\n')
      end
  )",
                       "max_sessions_per_client = 0,", "workers = 2,"));
  const ProcessFacts before = daemon.facts();
  for (int round = 0; round < scaled(20, 4); ++round) {
    std::vector<Client> clients(50);
    for (Client& client : clients) client = Client(daemon.address("script"));
    for (std::size_t index = 0; index < clients.size(); ++index) {
      clients[index].send(fmt::format("{} {}\nhalf a li", round, index));
      if (index % 3 == 0) clients[index].close_with_reset();
      if (index % 3 == 1) clients[index].close();
    }
    for (std::size_t index = 2; index < clients.size(); index += 3) {
      clients[index].finish_sending();
      clients[index].receive_all();
    }
  }
  assert_true(wait_until([&] { return daemon.counter("script", "sessions_open") == 0; }));
  assert_int_equal(daemon.counter("script", "hook_failures"), 0);
  assert_true(wait_until([&] { return daemon.facts().descriptors <= before.descriptors; }));
}

}  // namespace

int main() {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_daemon, end_daemon)
  const CMUnitTest tests[] = {
      TEST(harm_is_stopped),
      TEST(one_session_does_not_stop_the_others),
      TEST(too_many_hooks_that_wait_are_done_without),
      TEST(a_crowd_leaves_nothing),
  };
  return cmocka_run_group_tests_name("process.script_harm", tests, nullptr, nullptr);
}
