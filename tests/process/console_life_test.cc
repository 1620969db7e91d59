// How sessions of `portolan console` begin and end, who gets one, and how much of the daemon they may take.
#include "support/console.h"
#include "support/daemon.h"
#include "support/database.h"
#include "support/terminal.h"

#include <fmt/format.h>

#include <csignal>
#include <cstring>
#include <deque>
#include <string>
#include <vector>

#include <sys/stat.h>

#include "support/cmocka.h"  // last: it defines fail()

using namespace portolan::testing;

namespace {

// `extra` is of the file, beside its services.
std::string configuration(const std::string& extra = "") {
  return fmt::format(
      "marker = 'first'\nreturn {{ {} services = {{ {{ plugin = 'echo', name = 'echo', mode = 'lines', "
      "listen = 'tcp://127.0.0.1:0', on_line = function(line) return line:upper() end }} }} }}",
      extra);
}

// Says when it has begun, and leaves in the store why it had to end.
const char* const kWaiting =
    "print('begun') local done, why = pcall(portolan.sleep, 3600) portolan.store.put('ended', why) error(why, 0)";

std::string stored(Daemon& daemon, const std::string& key) {
  return evaluate(daemon, {fmt::format("portolan.store.get('{}')", key)}).output;
}
bool is_stored(Daemon& daemon, const std::string& key, const std::string& part) {
  std::string last;
  const bool found = wait_until([&] {
    last = stored(daemon, key);
    return last.find(part) != std::string::npos;
  });
  if (!found) print_error("%s is %s\n", key.c_str(), last.c_str());
  return found;
}

// The number of sockets and files, which a console must not leave behind.
bool comes_back_to(Daemon& daemon, long descriptors) {
  return wait_until([&] { return daemon.facts().descriptors <= descriptors; });
}

void ctrl_c_cancels_a_line(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(configuration());
  Talk talk(daemon, {"-e", kWaiting});
  assert_string_equal(talk.line().c_str(), "begun");
  assert_true(talk.process().signal(SIGINT));
  assert_string_equal(talk.line().c_str(), "error: cancelled");
  assert_int_equal(talk.end(), 1);
  assert_true(is_stored(daemon, "ended", "cancelled"));
}

void ctrl_c_cancels_a_question(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(configuration());
  Talk talk(daemon, {"-e", "print('begun')", "-e",
                     ".sql with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n"});
  assert_string_equal(talk.line().c_str(), "begun");
  // It may come before the question, which then is not asked, or meanwhile.
  assert_true(talk.process().signal(SIGINT));
  assert_int_equal(talk.end(), 1);
}

void a_client_that_goes_takes_its_line_along(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(configuration());
  evaluate(daemon, {"1"});
  const long before = daemon.facts().descriptors;
  Talk talk(daemon, {"-e", kWaiting});
  assert_string_equal(talk.line().c_str(), "begun");
  talk.process().kill();
  assert_true(is_stored(daemon, "ended", "the console has gone"));

  // And all that it has begun: tasks, connections, sockets.
  Talk busy(daemon);
  const std::string begun = busy.say(fmt::format(
      "portolan.spawn(function() while true do portolan.sleep(0.01) portolan.store.increment('turns') end end) "
      "s = portolan.dial('{}') u = portolan.udp('udp://127.0.0.1:9') print(s ~= nil and u ~= nil)",
      daemon.address("echo")));
  assert_string_equal(begun.c_str(), "true");
  assert_true(wait_until([&] { return daemon.counter("echo", "sessions_open") == 1; }));
  busy.process().kill();
  assert_true(wait_until([&] { return daemon.counter("echo", "sessions_open") == 0; }));
  assert_true(comes_back_to(daemon, before));
  const std::string turns = stored(daemon, "turns");
  let_pass(Milliseconds(100));
  assert_string_equal(stored(daemon, "turns").c_str(), turns.c_str());
}

void what_outlives_its_session_does_no_harm(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(configuration());
  // Left behind where every function of the worker finds it.
  expect_output(evaluate(daemon, {fmt::format("string.left = {{ print = print, dial = portolan.dial('{}'), "
                                              "udp = portolan.udp('udp://127.0.0.1:9'), "
                                              "task = portolan.spawn(portolan.sleep, 3600) }}",
                                              daemon.address("echo"))}),
                "");
  expect_output(
      evaluate(daemon, {"string.left.print('lost')", "string.left.dial:write('x')", "string.left.dial:read_line()",
                        "string.left.udp:send('x')", "string.left.task:is_done()"}),
      "nil\tclosed\nnil\tclosed\ntrue\ntrue\n");
}

void failures_of_what_it_has_begun_are_told(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(configuration());
  Talk talk(daemon);
  talk.send("portolan.spawn(function() portolan.sleep(0.01) print('later') error('late') end)\n");
  // Without another line.
  std::string heard = talk.line() + "\n" + talk.line() + "\n" + talk.line();
  assert_non_null(strstr(heard.c_str(), "later"));
  assert_non_null(strstr(heard.c_str(), "-- a task that was begun here failed: console:1: late"));
  assert_int_equal(talk.end(), 0);
  assert_int_equal(daemon.counter("echo", "hook_failures"), 0);
}

// The admin API gives up on those that say nothing for 10 s: not on a console, whose user thinks.
void it_may_be_silent_for_long(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(configuration());
  Talk talk(daemon);
  assert_string_equal(talk.say("kept = 1").c_str(), "");
  let_pass(Milliseconds(11'000));
  assert_string_equal(talk.say("kept").c_str(), "1");
  assert_int_equal(talk.end(), 0);
}

void after_a_reload_the_new_generation_answers(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(configuration());
  Talk talk(daemon);
  assert_string_equal(talk.say("mine = 1 print(marker, mine)").c_str(), "first\t1");
  std::string changed = configuration();
  daemon.configure(changed.replace(changed.find("first"), 5, "second"));
  assert_int_equal(daemon.command({"reload"}).code, 0);
  assert_string_equal(talk.say("print(marker, mine)").c_str(),
                      "-- generation 2 serves now: lines go there, and what this console kept in variables is gone\n"
                      "second\tnil");
  // Once.
  assert_string_equal(talk.say("print(marker)").c_str(), "second");

  // What is evaluated meanwhile ends; one that fails changes nothing.
  talk.send(fmt::format("{}\n", kWaiting));
  assert_string_equal(talk.line().c_str(), "begun");
  daemon.configure("return {}");
  assert_int_equal(daemon.command({"reload"}).code, 1);
  daemon.configure(configuration());
  assert_int_equal(daemon.command({"reload"}).code, 0);
  assert_string_equal(talk.line().c_str(), "error: stopped: a newer configuration serves now");
  assert_true(is_stored(daemon, "ended", "a newer configuration serves now"));
  // The old ones go, although a console had sessions there.
  assert_true(wait_until([&] { return daemon.query({"status"}).at("live_generations").get<int>() == 1; }));
  // Its service is gone.
  Talk chosen(daemon, {"--service", "echo"});
  assert_string_equal(chosen.say("print(1)").c_str(), "1");
  daemon.configure("return { services = { { plugin = 'binary', listen = 'tcp://127.0.0.1:0' } } }");
  assert_int_equal(daemon.command({"reload"}).code, 0);
  chosen.send("print(1)\n");
  assert_non_null(strstr(chosen.line().c_str(), "error: service \"echo\" is no more"));
}

void a_stop_ends_consoles(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(configuration());
  Talk waiting(daemon, {"-e", kWaiting});
  assert_string_equal(waiting.line().c_str(), "begun");
  Talk idle(daemon);
  assert_string_equal(idle.say("print(1)").c_str(), "1");
  assert_int_equal(daemon.stop(), 0);
  assert_non_null(strstr(waiting.rest().c_str(), "error: the daemon is stopping"));
  assert_int_equal(waiting.end(), 1);
  assert_non_null(strstr(idle.rest().c_str(), "error: the daemon is stopping"));
  assert_int_equal(idle.end(), 1);
  assert_int_equal(number_from_database(daemon.store_path(), "SELECT sum(count) FROM events WHERE kind = 'console'"),
                   2);
}

void not_over_tcp(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(configuration("admin = { http = 'tcp://127.0.0.1:0' },"));
  const std::string address = "tcp" + daemon.address("admin", "http").substr(4);
  const CommandResult refused = run_portolan({"console", "--socket", address, "-e", "1"});
  assert_int_equal(refused.code, 2);
  assert_non_null(strstr(refused.errors.c_str(), "does not go over TCP"));
  assert_non_null(strstr(refused.errors.c_str(), "ssh HOST portolan console"));
  // Nor does the daemon, whoever asks.
  for (const char* path :
       {"/console", "/console/line?session=1", "/console/sql?session=1", "/console/complete?session=1"}) {
    const HttpAnswer answer = http_post(address, path);
    assert_int_equal(answer.status, 403);
    assert_non_null(strstr(answer.body.c_str(), "on the unix socket only"));
  }
  assert_int_equal(http_get("unix://" + daemon.socket_path(), "/console").status, 405);
}

void the_configuration_turns_it_off(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(configuration("admin = { console = false },"));
  expect_failure(evaluate(daemon, {"1"}), "admin.console = false");
  assert_int_equal(http_post("unix://" + daemon.socket_path(), "/console/line?session=1").status, 404);
  // As all of admin, it is fixed at the start.
  daemon.configure(configuration());
  expect_failure(daemon.command({"reload"}), "admin cannot change while the daemon runs");
}

void nobody_else_may(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(configuration());
  struct stat facts{};
  assert_int_equal(::stat(daemon.socket_path().c_str(), &facts), 0);
  assert_int_equal(facts.st_mode & 07777U, 0660);
  assert_int_equal(run_portolan({"console", "--socket", daemon.folder().file("none.sock"), "-e", "1"}).code, 3);
}

void how_much_is_bounded(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(configuration("script = { memory = '64MiB', instructions = 100000000 },"));
  const CommandResult longest = feed(daemon, fmt::format("#'{}'\n", std::string(64 * 1024 - 3, 'x')));
  expect_output(longest, "65533\n");
  expect_failure(feed(daemon, fmt::format("#'{}'\n1\n", std::string(64 * 1024 - 2, 'x'))), "a line has at most 64KiB");
  const CommandResult printed = evaluate(daemon, {"for i = 1, 12 do print(('x'):rep(99999)) end", "'next'"});
  assert_int_equal(printed.code, 0);
  assert_int_equal(printed.output.size(), (1 << 20) + 5);
  assert_non_null(strstr(printed.errors.c_str(), "-- the answer is longer than 1MiB: the rest is not shown"));
  const CommandResult value = evaluate(daemon, {"('x'):rep(3000000)"});
  assert_int_equal(value.output.size(), (1 << 20) + 1);
  expect_failure(console(daemon, {"--json", "-e", "('x'):rep(3000000)"}), "longer than what an answer may be");

  std::deque<Talk> waiting;
  for (int i = 0; i < 4; ++i) {
    waiting.emplace_back(daemon, std::vector<std::string>{"-e", kWaiting});
    assert_string_equal(waiting.back().line().c_str(), "begun");
  }
  expect_failure(evaluate(daemon, {"1"}), "4 lines of others are evaluated now");
  std::deque<Talk> idle;
  for (int i = 4; i < 16; ++i) {
    idle.emplace_back(daemon);
    assert_true(idle.back().send(".services\n"));
    assert_string_not_equal(idle.back().line().c_str(), "");
  }
  expect_failure(evaluate(daemon, {"1"}), "16 consoles are open already");
  waiting.clear();
  assert_true(wait_until([&] { return evaluate(daemon, {"1"}).code == 0; }));
}

bool has_line_editing() {
  return Json::parse(run_portolan({"version", "--json"}).output).at("line_editing").get<bool>();
}

// Types when it is asked to, and waits for what comes of it.
void enter(Terminal& terminal, std::string_view keys, std::string_view answer) {
  assert_true(terminal.shows("> "));
  assert_true(terminal.type(keys));
  assert_true(terminal.shows(answer));
}

void leave(Terminal& terminal) {
  assert_true(terminal.shows("> "));
  // A Ctrl-D that comes before the editor has the terminal in its hands is a character of the line, and the line no end any
  // more: Ctrl-U in front takes it away.
  for (int tries = 0; tries < 40; ++tries) {
    assert_true(terminal.type("\x15\x04"));
    if (const auto code = terminal.process().wait(Milliseconds(500))) return assert_int_equal(*code, 0);
  }
  fail();
}

// Somebody sits there.
struct Sitting {
  explicit Sitting(Daemon& daemon) {
    LaunchOptions options;
    options.environment = {{"XDG_STATE_HOME", daemon.folder().file("state")}, {"HOME", daemon.folder().path()}};
    terminal.start(portolan_command({"console", "--socket", daemon.socket_path()}), options);
  }
  Terminal terminal;
};

void on_a_terminal_it_is_a_prompt(void** state) {
  if (!emulator_command().empty()) skip();  // QEMU's user mode hands out no terminals
  Daemon& daemon = daemon_of(state);
  daemon.start(configuration());
  Sitting sitting(daemon);
  Terminal& terminal = sitting.terminal;
  assert_true(terminal.shows("generation 1, worker 0, service \"echo\". .help explains"));
  enter(terminal, "40 + 2\r", "42\r\n");
  enter(terminal, "function f()\r", ">");
  enter(terminal, "return 'whole' end\r", "\n");
  enter(terminal, "f()\r", "whole\r\n");
  // In red, and nothing that a script makes up steers the terminal.
  enter(terminal, "error('\\27[2Jboom')\r", "\x1b[31merror: console:1: \\x1b[2Jboom\x1b[0m");
  enter(terminal, "{ { name = 'a', n = 1 }, { name = 'b', n = 20 } }\r",
        "\x1b[1m n  name\x1b[0m\r\n 1  a\r\n20  b\r\n");
  enter(terminal, "print('begun') portolan.sleep(3600)\r", "begun\r\n");
  assert_true(terminal.type("\x03"));
  assert_true(terminal.shows("error: cancelled"));
  enter(terminal, "'not this\x03", "^C");
  enter(terminal, "'but this'\r", "but this\r\n");
  enter(terminal, "#'\xc3\xa9'\r", "\n2\r\n");  // é
  leave(terminal);
}

void lines_are_completed_and_remembered(void** state) {
  if (!emulator_command().empty()) skip();
  Daemon& daemon = daemon_of(state);
  daemon.start(configuration());
  if (!has_line_editing() || !emulator_command().empty()) skip();
  {
    Sitting sitting(daemon);
    Terminal& terminal = sitting.terminal;
    enter(terminal, "portolan.store.incr\t'seen')\r", "\n1\r\n");
    enter(terminal, "portolan.store.\t", "get(");
    for (const char* word : {"increment(", "put("}) assert_true(terminal.shows(word));
    assert_true(terminal.type("get('seen')\r"));
    assert_true(terminal.shows("\n1\r\n"));
    enter(terminal, "mark\t\r", "first\r\n");
    enter(terminal, "mine = { field_of_mine = 'found' }\r", "\n");
    enter(terminal, "mine.fi\t\r", "found\r\n");
    enter(terminal, ".sql select count(*) as n from service_t\t where 0\r", "otals");
    assert_true(terminal.shows("0\r\n"));
    enter(terminal, ".serv\t\r", "ready");
    leave(terminal);
  }
  const std::string history = daemon.folder().file("state/portolan/console_history");
  struct stat facts{};
  assert_int_equal(::stat(history.c_str(), &facts), 0);
  assert_int_equal(facts.st_mode & 07777U, 0600);

  Sitting sitting(daemon);
  Terminal& terminal = sitting.terminal;
  // Ctrl-P: that before .services and .sql; from Ctrl-A on it gets something in front.
  enter(terminal, "\x10\x10\x10\x01'from history', \x05\r", "attempt to index a nil value (global 'mine')");
  // What the daemon says while nobody types is shown above the line, which stays.
  enter(terminal, "portolan.after(0.1, function() print('mean' .. 'while') end) return 'set'\r", "set\r\n");
  enter(terminal, "'half", "meanwhile\r\n");
  assert_true(terminal.type(" whole'\r"));
  assert_true(terminal.shows("half whole\r\n"));
  leave(terminal);
}

}  // namespace

int main() {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_daemon, end_daemon)
  const CMUnitTest tests[] = {
      TEST(ctrl_c_cancels_a_line),
      TEST(ctrl_c_cancels_a_question),
      TEST(a_client_that_goes_takes_its_line_along),
      TEST(what_outlives_its_session_does_no_harm),
      TEST(failures_of_what_it_has_begun_are_told),
      TEST(it_may_be_silent_for_long),
      TEST(after_a_reload_the_new_generation_answers),
      TEST(a_stop_ends_consoles),
      TEST(not_over_tcp),
      TEST(the_configuration_turns_it_off),
      TEST(nobody_else_may),
      TEST(how_much_is_bounded),
      TEST(on_a_terminal_it_is_a_prompt),
      TEST(lines_are_completed_and_remembered),
  };
  return cmocka_run_group_tests_name("process.console_life", tests, nullptr, nullptr);
}
