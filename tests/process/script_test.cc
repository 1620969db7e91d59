// Scripts with tasks, as clients see them: waiting, timeouts, back-pressure, reloads.
#include "support/daemon.h"
#include "support/script.h"
#include "support/server_socket.h"

#include <fmt/format.h>

#include <string>
#include <thread>
#include <vector>

#include "support/cmocka.h"  // last: it defines fail()

using namespace portolan::testing;

namespace {

void sessions_wait_side_by_side(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(serving("session:write('a') portolan.sleep('300ms') session:write('b')"));
  const Clock::time_point start = Clock::now();
  std::vector<Client> clients(40);
  for (Client& client : clients) client = Client(daemon.address("script"));
  for (Client& client : clients) assert_string_equal(client.receive_all().c_str(), "ab");
  const std::int64_t took = milliseconds_since(start);
  assert_true(took >= 290);
  assert_true(took < 40 * 300);
}

void input_is_read_in_every_way(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(serving(R"(
      session:write(session:read_line(), '|', session:read(3), '|', session:read_until('--'), '|',
                    session:read_frame({ header = 2 }), '|', tostring(session:read_line({ max = 3 })), '|')
      local nothing, why, rest = session:read_line()
      session:write(tostring(nothing), ' ', why, ' ', rest, '\n')
      session:write_frame('x', { header = 1 })
  )"));
  const std::string input = "line\r\nabcuntil--" + std::string("\0\3xyz", 5) + "1234567";
  const std::string expected = "line|abc|until|xyz|nil|nil closed 1234567\n\1x";
  {
    Client client(daemon.address("script"));
    assert_true(client.send(input) && client.finish_sending());
    assert_string_equal(client.receive_all().c_str(), expected.c_str());
  }
  // Byte by byte.
  Client client(daemon.address("script"));
  for (const char byte : input) {
    assert_true(client.send(std::string(1, byte)));
    let_pass(Milliseconds(1));
  }
  assert_true(client.finish_sending());
  assert_string_equal(client.receive_all().c_str(), expected.c_str());
}

void a_read_times_out_and_goes_on(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(serving(R"(
      local _, why = session:read_line({ timeout = '50ms' })
      session:write(why, '\n')
      session:write(session:read_line(), '\n')
  )"));
  Client client(daemon.address("script"));
  assert_true(client.send("ear"));
  assert_string_equal(client.receive_line().c_str(), "timed out\n");
  assert_true(client.send("ly\n"));
  assert_string_equal(client.receive_all().c_str(), "early\n");
}

// A peer that does not read holds back who writes to it, in a turn and outside of one; all comes in the end.
void a_slow_reader_holds_back_its_writer(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(serving(R"(
      session:read_line()
      local block = ('x'):rep(10000)
      for i = 1, 2000 do
        if not session:write(block) then return portolan.log('closed at ' .. i) end
      end
      session:write('end\n')
  )",
                       "output_limit = '64KiB',"));
  Client client(daemon.address("script"), {.receive_buffer = 16384});
  assert_true(client.send("go\n"));
  let_pass(Milliseconds(100));
  const long before = daemon.facts().resident_kib;
  const std::string all = client.receive_all();
  assert_int_equal(all.size(), 2000 * 10000 + 4);
  assert_true(all.ends_with("xend\n"));
  // Sanitizers keep freed memory.
  assert_true(daemon.facts().resident_kib < before + (test_scale() < 1 ? 256 : 8) * 1024);
  // One that leaves ends it.
  Client leaves(daemon.address("script"), {.receive_buffer = 16384});
  assert_true(leaves.send("go\n") && leaves.receive(1000).size() == 1000);
  leaves.close_with_reset();
  assert_true(wait_until([&] { return daemon.log_has("closed at"); }));
  assert_true(wait_until([&] { return daemon.counter("script", "sessions_open") == 0; }));
}

void what_is_not_read_holds_back_the_peer(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(
      serving("portolan.sleep('300ms') local n = 0 while true do local part = session:read_some() "
              "if not part then break end n = n + #part end session:write(n, '\\n')"));
  Client client(daemon.address("script"));
  const std::string data(3'000'000, 'y');
  std::thread sender([&] {
    if (client.send(data)) client.finish_sending();
  });
  sender.join();
  assert_string_equal(client.receive_all().c_str(), "3000000\n");
}

// What scripts count is among the statistics of their service; what they limit is limited for each key.
void a_script_counts_and_limits(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(serving(R"(
      local function say(...) session:write(table.concat({ ... }, ' '), '\n') end
      portolan.count('orders')
      portolan.count('orders', 41)
      portolan.count('zero', 0)
      say(tostring(select(2, pcall(portolan.count, 'No'))))
      say(tostring(select(2, pcall(portolan.count, 'orders', -1))))
      for i = 1, 98 do portolan.count('n' .. i) end
      say(tostring(select(2, pcall(portolan.count, 'one_more'))))
      local limit = portolan.limit('2/h', { window = '1h', keys = 2 })
      say(tostring(limit:take('a')), tostring(limit:take('a')), tostring(limit:take('a')), tostring(limit:take('b')))
      local may, seconds = limit:take('a')
      say(tostring(may), tostring(seconds > 1000 and seconds <= 3600), tostring((limit:take('third'))))
      local fast = portolan.limit(1000, { keys = 1 })
      fast:take('x')
      portolan.sleep('20ms')
      say(tostring((fast:take('y', 3))), tostring((fast:take('y'))))
      for _, bad in ipairs({ { 0 }, { 'often' }, { 1, { window = 0 } }, { 1, { keys = 0 } }, { 1, { algorithm = 'x' } } }) do
        say(tostring(select(2, pcall(portolan.limit, table.unpack(bad)))))
      end
  )"));
  Client client(daemon.address("script"));
  const std::string said = client.receive_all();
  assert_string_equal(said.c_str(),
                      R"x(bad argument #1 to '?' (the name of a counter is lower-case letters, digits and _, at most 40)
bad argument #2 to '?' (a counter only grows)
bad argument #1 to '?' (the service has 100 counters already, and no more)
true true false true
false true false
true true
bad argument #1 to '?' (a rate above 0: "5/s", "100/m", or a number for each second)
bad argument #1 to '?' (a rate above 0: "5/s", "100/m", or a number for each second)
window is at least 1 ms
keys is from 1 to 1000000
algorithm is "token_bucket", "fixed_window" or "sliding_window"
)x");
  assert_true(daemon.wait_for_counter("script", "orders", 42));
}

// In the middle of what Lua does in C: nothing of it has to know.
void a_task_waits_wherever_it_stands(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(serving(R"(
      local function ask(what) session:write(what, '?\n') return session:read_line() end
      local order = { 'b', 'a' }
      table.sort(order, function(a, b) return ask(a .. '<' .. b) == 'yes' end)
      session:write(table.concat(order), '\n')
      session:write((('x-y'):gsub('%a', ask)), '\n')
      local asking = setmetatable({}, { __index = function(_, key) return ask(key) end,
                                        __concat = function(_, text) return ask('.') .. text end,
                                        __tostring = function() return ask('text') end })
      session:write(asking.field, asking .. '!', tostring(asking), '\n')
      for line in function() local line = ask('next') return line ~= 'end' and line or nil end do
        session:write('[', line, ']')
      end
      session:write(tostring(select(2, pcall(function() error(ask('why'), 0) end))), '\n')
      do
        local closing <close> = setmetatable({}, { __close = function() ask('close') end })
      end
      session:write('done\n')
  )"));
  // Two whose stacks lie open at once.
  std::vector<Client> clients;
  for (int index = 0; index < 2; ++index) clients.emplace_back(daemon.address("script"));
  const auto say = [&](const std::string& expected, const char* answer) {
    for (Client& client : clients) {
      assert_string_equal(client.receive(expected.size()).c_str(), expected.c_str());
      if (answer) assert_true(client.send(answer));
    }
  };
  say("a<b?\n", "yes\n");
  say("ab\nx?\n", "1\n");
  say("y?\n", "22\n");
  say("1-22\nfield?\n", "f\n");
  say(".?\n", "c\n");
  say("text?\n", "t\n");
  say("fc!t\nnext?\n", "one\n");
  say("[one]next?\n", "end\n");
  say("why?\n", "because\n");
  say("because\nclose?\n", "\n");
  say("done\n", nullptr);
  assert_int_equal(daemon.counter("script", "hook_failures"), 0);
}

// Hooks that wait deep in C and in pcall are dropped with their sessions: nothing of theirs runs any more, and nothing is
// left of them.
void what_is_dropped_runs_no_further(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(R"(
    local waits = {
      sleep = function() portolan.sleep('1h') end,
      receive = function() portolan.subscribe('t'):receive() end,
      query = function() portolan.query('select 1') portolan.sleep('1h') end,
    }
    return { drain_timeout = '100ms', services = { { plugin = 'echo', listen = 'tcp://127.0.0.1:0', mode = 'lines',
      on_line = function(line)
        print('began')
        repeat
          local ok = pcall(string.gsub, 'x', 'x', function()
            local closing <close> = setmetatable({}, { __close = function() print('went on') end })
            table.sort({ 2, 1 }, waits[line])
          end)
          print('went on')
        until ok
      end } } })");
  std::vector<Client> clients;
  for (const char* line : {"sleep\n", "receive\n", "query\n"}) {
    clients.emplace_back(daemon.address("echo"));
    assert_true(clients.back().send(line));
  }
  assert_true(wait_until([&] {
    const std::string log = daemon.log();
    std::size_t count = 0;
    for (std::size_t at = 0; (at = log.find("began", at)) != std::string::npos; ++at) ++count;
    return count == clients.size();
  }));
  assert_int_equal(daemon.stop(), 0);
  assert_false(daemon.log_has("went on"));
}

// When a session ends, so does all that it had begun.
void tasks_end_with_their_session(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(serving(R"(
      portolan.spawn(function()
        local ok, why = pcall(portolan.sleep, 100)
        portolan.log('spawned: ' .. tostring(why))
        portolan.sleep(100)
        portolan.log('never')
      end)
      portolan.every('10s', function() end)
      session:write('go')
      session:read_line()
      local _, why = session:read_line()
      portolan.log('leader: ' .. why)
      portolan.sleep(100)
      portolan.log('never')
  )"));
  Client client(daemon.address("script"));
  assert_string_equal(client.receive(2).c_str(), "go");
  assert_true(client.send("x\n"));
  client.close_with_reset();
  assert_true(wait_until([&] {
    return daemon.log_has("spawned: ") && daemon.log_has("the session has ended") &&
           daemon.log_has("leader: connection reset");
  }));
  assert_true(wait_until([&] { return daemon.counter("script", "sessions_open") == 0; }));
  assert_false(daemon.log_has("never"));
  assert_int_equal(daemon.counter("script", "hook_failures"), 0);
}

// New functions for new sessions; those that are open, and their tasks, go on with theirs.
void a_reload_drops_no_session(void** state) {
  Daemon& daemon = daemon_of(state);
  const auto version = [](const char* mark) {
    return serving(
        fmt::format("portolan.spawn(function() while true do portolan.sleep(0.02) session:write('{0}') end end)\n"
                    "for line in session:lines() do session:write('<', line, '{0}>') end",
                    mark),
        fmt::format("on_start = function() while true do portolan.sleep('20ms') "
                    "portolan.log('start {}') end end,",
                    mark));
  };
  daemon.start(version("a"));
  std::vector<Client> old(20);
  for (Client& client : old) {
    client = Client(daemon.address("script"));
    assert_string_equal(client.receive(1).c_str(), "a");
  }
  daemon.configure(version("b"));
  assert_int_equal(daemon.command({"reload"}).code, 0);
  Client young(daemon.address("script"));
  assert_string_equal(young.receive(1).c_str(), "b");
  const auto until = [](Client& client, const std::string& end) {
    std::string all;
    while (!all.ends_with(end)) {
      const std::string byte = client.receive(1);
      if (byte.empty()) return false;
      all += byte;
    }
    return true;
  };
  for (Client& client : old) assert_true(client.send("hello\n") && until(client, "<helloa>"));
  assert_true(young.send("hello\n") && until(young, "<hellob>"));
  // What belonged to no session has ended with its generation.
  const auto count = [&](const char* text) {
    const std::string log = daemon.log();
    int found = 0;
    for (std::size_t at = 0; (at = log.find(text, at)) != std::string::npos; ++at) ++found;
    return found;
  };
  const int before = count("start a");
  assert_true(wait_until([&] { return count("start b") >= 3; }));
  assert_int_equal(count("start a"), before);
  assert_int_equal(daemon.counter("script", "hook_failures"), 0);
}

void a_stop_ends_tasks(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(serving("session:write('x') portolan.sleep('1h')", "on_start = function() portolan.sleep('1h') end,"));
  Client client(daemon.address("script"));
  assert_string_equal(client.receive(1).c_str(), "x");
  assert_int_equal(daemon.stop(), 0);
}

// A hook of another plugin may wait: its session stands still meanwhile, in order, and no other.
void a_hook_waits_for_its_session_alone(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(
      R"(return { script = { hook_timeout = '600ms' }, services = { { plugin = 'echo', name = 'echo', mode = 'lines', listen = 'tcp://127.0.0.1:0',
      on_line = function(line)
        if line == 'slow' then portolan.sleep('300ms') return 'late' end
        if line == 'never' then portolan.sleep('1h') end
        if line == 'fails' then portolan.sleep('10ms') error('oops') end
        if line == 'spawns' then portolan.spawn(function() portolan.sleep('10ms') print('spawned') end) end
        return line:upper()
      end } } })");
  Client slow(daemon.address("echo"));
  Client other(daemon.address("echo"));
  const Clock::time_point start = Clock::now();
  assert_true(slow.send("a\nslow\nb\nfails\nspawns\nc\nslow"));
  assert_string_equal(slow.receive_line().c_str(), "A\n");
  assert_true(other.send("quick\n"));
  assert_string_equal(other.receive_line().c_str(), "QUICK\n");
  assert_true(milliseconds_since(start) < 290 || test_scale() < 1);
  // The last line has no end: it comes once, and a hook that waits then is done without.
  assert_true(slow.finish_sending());
  assert_string_equal(slow.receive_all().c_str(), "late\nB\nfails\nSPAWNS\nC\nslow");
  assert_true(milliseconds_since(start) >= 290);
  assert_true(wait_until([&] { return daemon.log_has("spawned") && daemon.log_has("oops"); }));
  // Each was one message, however often it came.
  assert_int_equal(daemon.counter("echo", "messages"), 8);
  assert_int_equal(daemon.counter("echo", "hook_failures"), 2);
  // It does not wait for ever.
  assert_true(other.send("never\nquick\n"));
  assert_string_equal(other.receive_line().c_str(), "never\n");
  assert_string_equal(other.receive_line().c_str(), "QUICK\n");
  assert_true(daemon.log_has("script.hook_timeout"));
  // One that is cut while its hook waits takes the hook with it.
  Client cut(daemon.address("echo"));
  assert_true(cut.send("never\n"));
  assert_true(wait_until([&] { return daemon.counter("echo", "hook_calls") == 11; }));
  cut.close_with_reset();
  assert_true(wait_until([&] { return daemon.counter("echo", "sessions_open") == 1; }));
}

void a_script_runs_without_a_daemon(void**) {
  const TemporaryFolder folder;
  const std::string file = folder.write("probe.lua",
                                        "#!/usr/bin/env -S portolan script\n"
                                        "local a, b = ...\n"
                                        "portolan.spawn(function() portolan.sleep(0.02) print('later') end)\n"
                                        "print(a, b)\n"
                                        "if b then portolan.sleep(0.01) error('bad ' .. b) end\n");
  const CommandResult good = run_portolan({"script", file, "x\"y"});
  assert_int_equal(good.code, 0);
  assert_string_equal(good.output.c_str(), "x\"y nil\nlater\n");
  const CommandResult bad = run_portolan({"script", file, "1", "2"});
  assert_int_equal(bad.code, 1);
  assert_string_equal(bad.output.c_str(), "1 2\nlater\n");
  assert_true(bad.errors.find("probe.lua:5: bad 2") != std::string::npos);
  const CommandResult none = run_portolan({"script", file + ".none"});
  assert_int_equal(none.code, 1);
  assert_true(none.errors.find("cannot read") != std::string::npos);
  assert_int_equal(run_portolan({"script"}).code, 2);
}

// What a script has put is there for all workers at once, and for the next run of the daemon; SQL sees what was flushed.
void values_outlive_the_daemon(void** state) {
  Daemon& daemon = daemon_of(state);
  const std::string configuration = serving(R"(
      local store, word = portolan.store, session:read_line()
      if word == 'visit' then session:write(store.increment('visits'), '\n') end
      if word == 'name' then
        session:write(tostring(store.put('name', session:read_line())), ' ', store.get('name'), '\n')
        store.put('gone', 1, { expires = '1ms' })
        portolan.sleep('5ms')
        session:write(tostring(store.get('gone')), '\n')
      end
      if word == 'ask' then
        local rows, why = portolan.query('SELECT key, value FROM script_data WHERE service = ?1 ORDER BY key', session.service)
        session:write(rows and portolan.json.encode(rows) or why, '\n')
        session:write(select(2, portolan.query('DELETE FROM script_values')), '\n')
      end
  )",
                                            "", "workers = 2, store = { flush_every = '200ms' },");
  daemon.start(configuration);
  const auto told = [&](const std::string& words) {
    Client client(daemon.address("script"));
    assert_true(client.send(words));
    return client.receive_all();
  };
  for (int visit = 1; visit <= 8; ++visit)
    assert_string_equal(told("visit\n").c_str(), fmt::format("{}\n", visit).c_str());
  assert_string_equal(told("name\nPortolan\n").c_str(), "true Portolan\nnil\n");
  assert_true(wait_until([&] {
    const std::string said = told("ask\n");
    return said.find("\"visits\"") != std::string::npos && said.find("Portolan") != std::string::npos &&
           said.find("only what reads") != std::string::npos;
  }));
  assert_int_equal(daemon.stop(), 0);
  daemon.start(configuration);
  assert_string_equal(told("visit\n").c_str(), "9\n");
}

void a_script_bans(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(serving(
      "local line = session:read_line() session:write(tostring(select(-1, portolan.ban(line, '1h', 'rude'))), '\\n') "
      "portolan.sleep('10s')",
      "", "bans = { never = {} },"));
  Client client(daemon.address("script"));
  assert_true(client.send("nobody\n"));
  assert_true(client.receive_line().find("is a name, not an address") != std::string::npos);
  Client rude(daemon.address("script"));
  assert_true(rude.send("127.0.0.1\n"));
  rude.receive_all();
  assert_true(wait_until([&] { return Client(daemon.address("script")).receive_all().empty(); }));
  assert_true(daemon.command({"bans"}).output.find("rude") != std::string::npos);
}

// What is larger than the limit of what may wait is sent whole, from wherever it is written.
void a_large_frame_arrives_whole(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(
      serving("portolan.sleep('20ms') assert(session:write_frame(('x'):rep(2 << 20))) "
              "assert(session:write(('y'):rep(1 << 20), '\\n')) session:finish() "
              "assert(not session:write('z'))"));
  Client client(daemon.address("script"));
  const std::string all = client.receive_all();
  assert_int_equal(all.size(), 4 + (2 << 20) + (1 << 20) + 1);
  assert_true(all.ends_with("y\n"));
  assert_int_equal(daemon.counter("script", "hook_failures"), 0);
}

// Lines that were sent at once, to a script that writes more than its peer reads: each is answered.
void pipelined_lines_wait_for_a_slow_reader(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(serving("for line in session:lines() do session:write(('x'):rep(3 << 20)) session:write('END\\n') end",
                       "output_limit = '64KiB',"));
  Client client(daemon.address("script"), {.receive_buffer = 16384});
  assert_true(client.send("1\n2\n3\n"));
  let_pass(Milliseconds(200));
  for (int line = 0; line < 3; ++line) {
    assert_int_equal(client.receive(3 << 20).size(), 3 << 20);
    assert_string_equal(client.receive(4).c_str(), "END\n");
  }
}

// More than a script may read at once waits for it, and is not lost.
void a_small_max_message_loses_nothing(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(serving("for line in session:lines() do portolan.sleep('1ms') session:write(line, '\\n') end",
                       "max_message = '1KiB',"));
  Client client(daemon.address("script"));
  std::string all;
  for (int line = 0; line < 200; ++line) all += fmt::format("{:050}\n", line);
  assert_true(client.exchange(all, all.size()) == all);
}

void datagrams_are_answered_late(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(
      "return { services = { { plugin = 'script', name = 'script', listen = 'udp://127.0.0.1:0', "
      "on_datagram = function(datagram) for i = 1, 3 do portolan.spawn(function() end) end "
      "portolan.sleep('30ms') datagram:reply(datagram.data .. '!') end } } }");
  std::vector<Client> clients(20);
  for (Client& client : clients) {
    client = Client(daemon.address("script", "udp"));
    assert_true(client.send("hello"));
  }
  for (Client& client : clients) assert_string_equal(client.receive_datagram().c_str(), "hello!");
}

}  // namespace

int main() {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_daemon, end_daemon)
  const CMUnitTest tests[] = {
      TEST(sessions_wait_side_by_side),
      TEST(input_is_read_in_every_way),
      TEST(a_read_times_out_and_goes_on),
      TEST(a_slow_reader_holds_back_its_writer),
      TEST(what_is_not_read_holds_back_the_peer),
      TEST(a_script_counts_and_limits),
      TEST(a_task_waits_wherever_it_stands),
      TEST(what_is_dropped_runs_no_further),
      TEST(tasks_end_with_their_session),
      TEST(a_reload_drops_no_session),
      TEST(a_stop_ends_tasks),
      TEST(a_script_bans),
      TEST(a_large_frame_arrives_whole),
      TEST(pipelined_lines_wait_for_a_slow_reader),
      TEST(a_small_max_message_loses_nothing),
      TEST(datagrams_are_answered_late),
      TEST(values_outlive_the_daemon),
      TEST(a_hook_waits_for_its_session_alone),
      cmocka_unit_test(a_script_runs_without_a_daemon),
  };
  return cmocka_run_group_tests_name("process.script", tests, nullptr, nullptr);
}
