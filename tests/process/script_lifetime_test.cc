// What scripts let go of while something still happens to it. Most of these are for AddressSanitizer to look at.
#include "support/daemon.h"
#include "support/script.h"
#include "support/server_socket.h"

#include <fmt/format.h>

#include <string>
#include <vector>

#include "support/cmocka.h"  // last: it defines fail()

using namespace portolan::testing;

namespace {

int count(const std::string& text, std::string_view part) {
  int found = 0;
  for (std::size_t at = 0; (at = text.find(part, at)) != std::string::npos; at += part.size()) ++found;
  return found;
}

// Released, forgotten and collected, all in the turn in which it was dialed.
void a_stream_is_released_at_once(void** state) {
  Daemon& daemon = daemon_of(state);
  ServerSocket server;
  daemon.start(serving(fmt::format(R"(
      for i = 1, 3 do
        assert(portolan.dial('{}', {{ pool = true }})):release()
        for n = 1, 20000 do local t = {{ {{}}, {{}} }} end
      end
      session:write('ok')
  )",
                                   server.address())));
  for (int round = 0; round < 3; ++round) {
    Client client(daemon.address("script"));
    assert_string_equal(client.receive_all().c_str(), "ok");
  }
  assert_int_equal(daemon.counter("script", "hook_failures"), 0);
}

// Two wait for a reader; the first whom it wakes ends the session, and the other with it.
void who_is_woken_ends_who_waits_beside(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(serving(R"(
      local function waits(text) portolan.spawn(function() portolan.sleep(0.01) print('waits') end) session:write(text) end
      session:write(('x'):rep(6000000))
      portolan.spawn(function() waits('late') end)
      waits('the end')
  )"));
  Client client(daemon.address("script"), {.receive_buffer = 4096});
  assert_true(wait_until([&] { return count(daemon.log(), "waits") == 2; }));
  const std::string all = client.receive_all();
  assert_true(all.size() >= 6'000'000);
  assert_true(daemon.wait_for_counter("script", "sessions", 1));
  assert_true(wait_until([&] { return daemon.counter("script", "sessions_open") == 0; }));
}

// Where C is as deep as it may be no finalizer runs: Lua gives it up, and frees its block.
void a_finalizer_that_is_lost_leaves_nothing_behind(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(serving(R"(
      local deep = 0
      local function f()
        deep = deep + 1
        if deep >= 193 then
          for i = 1, 20 do portolan.subscribe('topic/*') end
          for i = 1, 9000 do local t = { {} } end
        end
        return (('x'):gsub('x', f))
      end
      for round = 1, 5 do
        deep = 0
        pcall(f)
        for i = 1, 10000 do local t = { {} } end
        portolan.publish('topic/x', 'hello')
        portolan.sleep(0.01)
      end
      session:write('ok')
  )"));
  for (int round = 0; round < 2; ++round) {
    Client client(daemon.address("script"));
    assert_string_equal(client.receive_all().c_str(), "ok");
  }
  assert_int_equal(daemon.stop(), 0);
}

// What a hook has dialed, and keeps where all hooks find it, ends with the last session of its generation.
void a_kept_connection_ends_with_its_generation(void** state) {
  Daemon& daemon = daemon_of(state);
  ServerSocket server;
  const std::string configuration = fmt::format(
      "return {{ services = {{ {{ plugin = 'echo', name = 'echo', mode = 'lines', listen = 'tcp://127.0.0.1:0',\n"
      "on_line = function(line) UP = UP or portolan.dial('{}') UP:write(line, '\\n') return UP:read_line() end }} }} "
      "}}",
      server.address());
  daemon.start(configuration);
  Client client(daemon.address("echo"));
  assert_true(client.send("one\n"));
  Client upstream = server.accept();
  assert_string_equal(upstream.receive_line().c_str(), "one\n");
  assert_true(upstream.send("ONE\n"));
  assert_string_equal(client.receive_line().c_str(), "ONE\n");
  daemon.configure(configuration);
  assert_int_equal(daemon.command({"reload"}).code, 0);
  // The session goes on, and so does what its hook uses.
  assert_true(client.send("two\n"));
  assert_string_equal(upstream.receive_line().c_str(), "two\n");
  assert_true(upstream.send("TWO\n"));
  assert_string_equal(client.receive_line().c_str(), "TWO\n");
  client.close();
  upstream.receive_all();
  assert_string_equal(to_text(upstream.end()), to_text(End::closed));
}

// Keys of limits, and stacks of tasks that wait deep in calls, are the script's memory as tables are.
void what_lies_outside_of_lua_counts(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(serving(R"(
      local kept = {}
      local ok, why = pcall(function()
        for n = 1, 100 do
          local limit = portolan.limit(1e-6, { keys = 1000000 })
          kept[n] = limit
          for i = 1, 4000 do limit:take(('k'):rep(200) .. i) end
          portolan.sleep(0.001)
        end
      end)
      session:write(why:match('not enough memory'), '\n')
      kept = nil
      local begun = 0
      ok, why = pcall(function()
        for i = 1, 1000 do
          portolan.spawn(function()
            local n = 0
            local function f() n = n + 1 if n == 150 then portolan.sleep('1h') end return (('x'):gsub('x', f)) end
            local _, problem = pcall(f)
            if problem then error(problem, 0) end
          end)
          portolan.sleep(0.001)
          begun = i
        end
      end)
      session:write(tostring(begun < 1000 and why:match('memory')), '\n')
  )",
                       "", "script = { memory = '8MiB' },"));
  Client client(daemon.address("script"));
  assert_string_equal(client.receive_line().c_str(), "not enough memory\n");
  client.receive_all();
  assert_true(wait_until([&] { return daemon.log_has("script.memory is the limit"); }));
  // Its neighbours are served on.
  Client other(daemon.address("script"));
  assert_string_equal(other.receive_line().c_str(), "not enough memory\n");
}

}  // namespace

int main() {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_daemon, end_daemon)
  const CMUnitTest tests[] = {
      TEST(a_stream_is_released_at_once),
      TEST(who_is_woken_ends_who_waits_beside),
      TEST(a_finalizer_that_is_lost_leaves_nothing_behind),
      TEST(a_kept_connection_ends_with_its_generation),
      TEST(what_lies_outside_of_lua_counts),
  };
  return cmocka_run_group_tests_name("process.script_lifetime", tests, nullptr, nullptr);
}
