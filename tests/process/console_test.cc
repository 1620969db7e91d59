// `portolan console`: what a line of Lua is answered, in a whole daemon, and what it cannot do to it.
#include "support/console.h"
#include "support/daemon.h"

#include <fmt/format.h>

#include <cstring>
#include <string>
#include <vector>

#include "support/cmocka.h"  // last: it defines fail()

using namespace portolan::testing;

namespace {

// Two workers, of which the first has the service with functions, which is not the first one.
const char* const kServices =
    "visits = 0\n"
    "function answer(line) visits = visits + 1 return line:upper() end\n"
    "return { workers = 2, script = { instructions = 200000, memory = '4MiB' }, services = {\n"
    "  { plugin = 'binary', name = 'frames', listen = 'tcp://127.0.0.1:0' },\n"
    "  { plugin = 'echo', name = 'echo', mode = 'lines', listen = 'unix://echo.sock',\n"
    "    on_line = function(line) return answer(line) end } } }";
const char* const kOneWorker =
    "visits = 0\n"
    "function answer(line) visits = visits + 1 return line:upper() end\n"
    "return { script = { instructions = 200000, memory = '4MiB' }, services = {\n"
    "  { plugin = 'echo', name = 'echo', mode = 'lines', listen = 'unix://echo.sock',\n"
    "    on_line = function(line) return answer(line) end } } }";

void values_are_shown_as_luas_prompt_shows_them(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(kServices);
  expect_output(evaluate(daemon, {"1 + 1"}), "2\n");
  expect_output(evaluate(daemon, {"1, 'two', nil"}), "1\ttwo\tnil\n");
  expect_output(evaluate(daemon, {"nil"}), "nil\n");
  expect_output(evaluate(daemon, {"x = 1", "local y = 2", "x"}), "1\n");
  expect_output(evaluate(daemon, {"return 3"}), "3\n");
  expect_output(evaluate(daemon, {"{ 2, 1, b = { c = true }, a = 'text' }"}),
                "{ 2, 1, a = \"text\", b = { c = true } }\n");
  expect_output(evaluate(daemon, {"local t = {} t.t = t return t, 1"}), "{ t = <cycle> }\t1\n");
  expect_output(evaluate(daemon, {"print('a', 1, nil) return 'b'"}), "a\t1\tnil\nb\n");
  // Not rows: nobody looks.
  expect_output(evaluate(daemon, {"{ { a = 1 }, { a = 2 } }"}), "{ { a = 1 }, { a = 2 } }\n");
}

void failures_are_said_and_are_the_exit_code(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(kServices);
  expect_failure(evaluate(daemon, {"error('boom')"}), "error: console:1: boom");
  expect_failure(evaluate(daemon, {"error({})"}), "whose value is no text");
  expect_failure(evaluate(daemon, {"x = = 1"}), "unexpected symbol near '='");
  expect_failure(evaluate(daemon, {"nothing.at_all"}), "attempt to index a nil value (global 'nothing')");
  expect_failure(evaluate(daemon, {"function f("}), "in the middle of a statement");
  expect_failure(evaluate(daemon, {"\27Lua"}), "error:");
  // The others are evaluated all the same.
  const CommandResult result = evaluate(daemon, {"1", "error('boom')", "2"});
  assert_int_equal(result.code, 1);
  assert_string_equal(result.output.c_str(), "1\n2\n");
  // What a console fails in is not the services' failure, nor a line in the log.
  assert_int_equal(daemon.counter("echo", "hook_failures"), 0);
  assert_false(daemon.log_has("boom"));
}

void lines_from_a_pipe_are_a_script(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(kServices);
  expect_output(
      feed(daemon, "function double(n)\n  return n * 2\nend\n\ndouble(21)\nfor i = 1, 2 do\nprint(i)\nend\nx = 5\nx"),
      "42\n1\n2\n5\n");
  const CommandResult failing = feed(daemon, "1\nerror('boom')\n2\n");
  assert_int_equal(failing.code, 1);
  assert_string_equal(failing.output.c_str(), "1\n2\n");
  expect_failure(feed(daemon, "function f()\n"), "in the middle of a statement");
  expect_output(feed(daemon, ".exit\nerror('never')\n"), "");
  expect_output(feed(daemon, ""), "");
  expect_failure(feed(daemon, ".nothing\n"), "there is no command .nothing");
}

void what_it_sets_is_its_own(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(kOneWorker);
  Client client("unix://" + daemon.folder().file("echo.sock"));
  assert_true(client.send("one\n"));
  assert_string_equal(client.receive_line().c_str(), "ONE\n");
  Talk talk(daemon);
  // It sees what the services' functions have, and calls them; what it sets shadows, for itself.
  assert_string_equal(talk.say("visits").c_str(), "1");
  assert_string_equal(talk.say("answer('two')").c_str(), "TWO");
  assert_string_equal(talk.say("visits").c_str(), "2");
  talk.say("function answer() return 'broken' end visits = 100 _G.line = 'broken'");
  assert_string_equal(talk.say("answer() .. visits .. line").c_str(), "broken100broken");
  assert_true(client.send("three\n"));
  assert_string_equal(client.receive_line().c_str(), "THREE\n");
  // Another console has none of it.
  expect_output(evaluate(daemon, {"visits, line"}), "3\tnil\n");
  assert_int_equal(talk.end(), 0);
}

void what_waits_waits_alone(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(kOneWorker);
  const std::string address = "unix://" + daemon.folder().file("echo.sock");
  expect_output(
      evaluate(daemon, {"local c = portolan.clock() portolan.sleep(0.05) return portolan.clock() - c >= 0.05"}),
      "true\n");
  expect_output(evaluate(daemon, {"portolan.store.put('k', 7)", "portolan.store.get('k')", "portolan.service()"}),
                "true\n7\necho\n");
  expect_output(evaluate(daemon, {"portolan.query('select 1 as one')"}), "{ { one = 1 } }\tfalse\n");
  expect_output(evaluate(daemon, {fmt::format("local s = portolan.dial('{}') s:write('hello\\n') return s:read_line()",
                                              address)}),
                "HELLO\n");
  // While it waits, the one worker serves; and what was printed before is here before it is over.
  Talk talk(daemon);
  talk.send("print('begun') portolan.sleep(3600)\n");
  assert_string_equal(talk.line().c_str(), "begun");
  Client client(address);
  assert_true(client.send("meanwhile\n"));
  assert_string_equal(client.receive_line().c_str(), "MEANWHILE\n");
}

void harm_is_stopped(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(kOneWorker);
  Talk talk(daemon);
  const struct {
    const char* line;
    const char* said;
  } harms[] = {
      {"while true do end", "stopped after 200,000 instructions"},
      {"while true do pcall(function() while true do end end) end", "stopped after"},
      {"local t = {} while true do t[#t + 1] = ('x'):rep(1000) .. #t end", "stopped a"},
      {"('x'):rep(100000000)", "stopped a"},
      // To show it costs as well.
      {"local t = {} for i = 1, 15000 do t['k' .. i] = i end return t, t, t, t, t, t, t, t, t", "stopped after"},
      {"setmetatable({}, { __tostring = function() while true do end end })", "stopped after"},
      {"local function f() return f() + 1 end f()", "stopped at 4MiB of memory"},
      {"setmetatable({}, { __gc = function() end })", "__gc is not allowed"},
      {"os.execute('true')", "global 'os'"},
      {"local a = {} for i = 1, 300 do a = { a } end return a, load", "nil"},
  };
  for (const auto& [line, said] : harms) {
    const std::string heard = talk.say(line);
    if (heard.find(said) == std::string::npos) print_error("%s: %s\n", line, heard.c_str());
    assert_true(heard.find(said) != std::string::npos);
  }
  Client client("unix://" + daemon.folder().file("echo.sock"));
  assert_true(client.send("still\n"));
  assert_string_equal(client.receive_line().c_str(), "STILL\n");
  assert_int_equal(talk.end(), 1);
}

void a_line_has_its_time(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(kServices);
  expect_failure(console(daemon, {"--timeout", "100ms", "-e", "portolan.sleep(3600)"}), "(--timeout)");
  // Also one that does not want to hear of it.
  expect_failure(console(daemon, {"--timeout", "100ms", "-e", "while true do pcall(portolan.sleep, 3600) end"}),
                 "(--timeout)");
  expect_failure(console(daemon, {"--timeout", "2h", "-e", "1"}), "time is from 1ms to 1h");
}

void where_it_evaluates_is_chosen(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(kServices);
  expect_output(evaluate(daemon, {"portolan.service()"}), "echo\n");
  expect_output(console(daemon, {"--service", "frames", "-e", "portolan.service()"}), "frames\n");
  const CommandResult unknown = console(daemon, {"--service", "ecko", "-e", "1"});
  assert_int_equal(unknown.code, 4);
  assert_non_null(strstr(unknown.errors.c_str(), "did you mean \"echo\"?"));
  assert_int_equal(console(daemon, {"--worker", "2", "-e", "1"}).code, 4);
  assert_int_equal(console(daemon, {"--worker", "many", "-e", "1"}).code, 2);
  // Each worker has a state of its own.
  Talk first(daemon, {"--worker", "0"});
  Talk second(daemon, {"--worker", "1"});
  assert_string_equal(first.say("answer('x')").c_str(), "X");
  assert_string_equal(first.say("visits").c_str(), "1");
  assert_string_equal(second.say("visits").c_str(), "0");
}

void without_functions_there_is_a_neutral_place(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start("return { services = { { plugin = 'echo', name = 'echo', listen = 'tcp://127.0.0.1:0' } } }");
  expect_output(evaluate(daemon, {"portolan.service()"}), "console\n");
  expect_output(evaluate(daemon, {fmt::format("local s = portolan.dial('{}') s:write('x') return s:read(1)",
                                              daemon.address("echo"))}),
                "x\n");
}

void json_is_for_programs(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(kServices);
  const CommandResult values =
      console(daemon, {"--json", "-e", "print('for people') return { a = { 1, 2 } }, nil, 'x'", "-e", "y = 1"});
  assert_int_equal(values.code, 0);
  assert_string_equal(values.output.c_str(), "{\"a\":[1,2]}\nnull\n\"x\"\n");
  assert_string_equal(values.errors.c_str(), "for people\n");
  expect_failure(console(daemon, {"--json", "-e", "print"}), "JSON has no function");
  const CommandResult rows = console(daemon, {"--json", "-e", ".sql select 1 as a, null as b, 'x' as c"});
  assert_int_equal(rows.code, 0);
  assert_string_equal(rows.output.c_str(), "[{\"a\":1,\"b\":null,\"c\":\"x\"}]\n");
  const Json status = Json::parse(console(daemon, {"--json", "-e", ".services"}).output);
  assert_int_equal(status.at("generation").get<int>(), 1);
}

void dot_commands_ask_as_the_commands_do(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(kServices);
  const CommandResult asked = feed(daemon, ".services\n.sessions\n.sessions echo\n.stats\n.reload\n.help\n");
  assert_int_equal(asked.code, 0);
  for (const char* part : {"SERVICE", "no session is open", "generation 2 serves", ".sql SELECT"})
    assert_non_null(strstr(asked.output.c_str(), part));
  const CommandResult rows =
      evaluate(daemon, {".sql select 'b' as name, 10 as size union select 'a', null order by 1"});
  assert_int_equal(rows.code, 0);
  assert_string_equal(rows.output.c_str(), "name  size\na\nb       10\n");
  expect_output(evaluate(daemon, {".sql select 1 where 0"}), "1\n(no rows)\n");
  expect_failure(evaluate(daemon, {".sql delete from bans"}), "error:");
  expect_failure(evaluate(daemon, {".sql selec"}), "syntax error");
  expect_failure(evaluate(daemon, {".sql"}), ".sql what?");
  const CommandResult slow =
      console(daemon, {"--timeout", "100ms", "-e",
                       ".sql with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n"});
  assert_int_equal(slow.code, 1);
}

}  // namespace

int main() {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_daemon, end_daemon)
  const CMUnitTest tests[] = {
      TEST(values_are_shown_as_luas_prompt_shows_them),
      TEST(failures_are_said_and_are_the_exit_code),
      TEST(lines_from_a_pipe_are_a_script),
      TEST(what_it_sets_is_its_own),
      TEST(what_waits_waits_alone),
      TEST(harm_is_stopped),
      TEST(a_line_has_its_time),
      TEST(where_it_evaluates_is_chosen),
      TEST(without_functions_there_is_a_neutral_place),
      TEST(json_is_for_programs),
      TEST(dot_commands_ask_as_the_commands_do),
  };
  return cmocka_run_group_tests_name("process.console", tests, nullptr, nullptr);
}
