// The command line: what it prints, on which stream, and the exit codes that scripts rely on
// (0 done, 1 refused or failed, 2 wrong usage, 3 no daemon).
#include "support/daemon.h"

#include <fmt/format.h>

#include <string>
#include <vector>

#include "support/cmocka.h"  // last: it defines fail()

using namespace portolan::testing;

namespace {

const char* const kTwoServices =
    "return { services = { { plugin = 'echo', name = 'echo', listen = { 'tcp://127.0.0.1:0', 'udp://127.0.0.1:0' }, "
    "mode "
    "= 'lines', transform = 'upper' }, { plugin = 'binary', name = 'bin', listen = 'unix://bin.sock' } } }";

void expect_text(const std::string& text, const std::string& wanted) {
  if (text.find(wanted) == std::string::npos) print_error("no \"%s\" in:\n%s\n", wanted.c_str(), text.c_str());
  assert_true(text.find(wanted) != std::string::npos);
}

CommandResult check(const Daemon& daemon, const std::string& text, Milliseconds patience = Milliseconds(20'000)) {
  LaunchOptions options;
  options.folder = daemon.folder().path();
  return run_portolan({"check", daemon.configure(text)}, options, patience);
}

void run_prints_each_listener_with_its_port(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(kTwoServices);
  assert_int_equal(daemon.listening().size(), 3);
  for (const Listening& listening : daemon.listening()) {
    assert_false(listening.address.ends_with(":0"));
    assert_false(listening.address.ends_with("unix://bin.sock"));  // absolute
    Client client(listening.address);
    assert_true(client.connected());
  }
  assert_string_equal(daemon.address("bin", "unix").c_str(), ("unix://" + daemon.folder().file("bin.sock")).c_str());
}

void check_accepts_what_is_right_and_opens_nothing(void** state) {
  Daemon& daemon = daemon_of(state);
  const CommandResult result = check(daemon, kTwoServices);
  assert_int_equal(result.code, 0);
  assert_int_equal(::access(daemon.folder().file("bin.sock").c_str(), F_OK), -1);
  assert_int_equal(::access(daemon.store_path().c_str(), F_OK), -1);
}

void check_reports_all_mistakes_at_once(void** state) {
  Daemon& daemon = daemon_of(state);
  const CommandResult result = check(daemon, R"(return {
    wrokers = 2,
    store = { flush_every = 'soon' },
    services = {
      { plugin = 'echo', name = 'one', listen = 'tcp://127.0.0.1:0', idle_timout = '5s', mode = 'lin' },
      { plugin = 'ecko', name = 'two', listen = 'tcp://127.0.0.1:0' },
      { plugin = 'echo', name = 'one', listen = 'tcp://127.0.0.1:99999' },
      { plugin = 'binary', name = 'three', listen = 'tcp://127.0.0.1:0', max_frame = -1, max_sessions = 'many' },
    } })");
  assert_int_equal(result.code, 1);
  const std::string said = result.output + result.errors;
  print_message("%s", said.c_str());
  for (const char* wanted :
       {"portolan.lua", "wrokers", "\"workers\"", "store.flush_every", "services[1].idle_timout", "\"idle_timeout\"",
        "services[1].mode", "services[2].plugin", "\"echo\"", "services[3].name", "services[3].listen",
        "services[4].max_frame", "services[4].max_sessions"}) {
    expect_text(said, wanted);
  }
}

void lua_mistakes_show_file_and_line(void** state) {
  Daemon& daemon = daemon_of(state);
  CommandResult result = check(daemon, "return {\n  services = {\n");
  assert_int_equal(result.code, 1);
  expect_text(result.output + result.errors, "portolan.lua:");
  result = check(daemon, "local function f()\n  return nothing.at_all\nend\nreturn { services = f() }\n");
  assert_int_equal(result.code, 1);
  expect_text(result.output + result.errors, "portolan.lua:2");
  result = check(daemon, "os.execute('true')\n");
  assert_int_equal(result.code, 1);
  expect_text(result.output + result.errors, "portolan.lua:1");
  result = run_portolan({"check", daemon.folder().file("missing.lua")});
  assert_int_equal(result.code, 1);
  expect_text(result.output + result.errors, "missing.lua");
}

void a_configuration_without_end_is_stopped(void** state) {
  Daemon& daemon = daemon_of(state);
  for (const char* text : {"while true do end", "local t = {} while true do t[#t + 1] = ('x'):rep(1e6) .. #t end",
                           "return ('x'):rep(1e9)", "local function f() return f() + 1 end return f()",
                           "return string.find(('a'):rep(1e5), ('a*'):rep(100) .. 'b')"}) {
    // Without its limits it would never end: the code would be -1. How long they take is the machine's affair.
    const CommandResult result = check(daemon, text, Milliseconds(60'000));
    const std::string said = result.output + result.errors;
    print_message("%s", said.c_str());
    assert_int_equal(result.code, 1);
  }
}

void status_sessions_and_stats_tell_what_goes_on(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(kTwoServices);
  Client first(daemon.address("echo"));
  assert_true(first.send("a\nb\n"));
  assert_string_equal(first.receive(4).c_str(), "A\nB\n");
  Client second(daemon.address("bin", "unix"));

  const Json status = daemon.query({"status"});
  assert_int_equal(status.at("pid").get<int>(), daemon.pid());
  assert_int_equal(status.at("workers").get<int>(), 1);
  assert_int_equal(status.at("generation").get<int>(), 1);
  assert_false(status.at("draining").get<bool>());
  assert_int_equal(status.at("services").size(), 2);
  assert_string_equal(status.at("services")[0].at("name").get<std::string>().c_str(), "echo");
  assert_int_equal(status.at("services")[0].at("open").get<int>(), 1);
  const CommandResult text = daemon.command({"status"});
  assert_int_equal(text.code, 0);
  expect_text(text.output, "echo");
  expect_text(text.output, daemon.address("echo"));

  assert_true(wait_until([&] { return daemon.query({"sessions"}).at("sessions").size() == 2; }));
  const Json sessions = daemon.query({"sessions", "echo"}).at("sessions");
  assert_int_equal(sessions.size(), 1);
  assert_string_equal(sessions[0].at("service").get<std::string>().c_str(), "echo");
  assert_string_equal(sessions[0].at("transport").get<std::string>().c_str(), "tcp");
  assert_string_equal(sessions[0].at("peer").get<std::string>().c_str(),
                      fmt::format("127.0.0.1:{}", first.local_port()).c_str());
  assert_int_equal(sessions[0].at("messages").get<int>(), 2);
  assert_int_equal(sessions[0].at("bytes_in").get<int>(), 4);
  expect_text(daemon.command({"sessions"}).output, fmt::format("127.0.0.1:{}", first.local_port()));

  const CommandResult stats = daemon.command({"stats"});
  assert_int_equal(stats.code, 0);
  expect_text(stats.output, "echo");
  daemon.query({"stats"});
  assert_int_not_equal(daemon.command({"stats", "no-such-service"}).code, 2);
}

void stop_ends_the_daemon_in_order(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(kTwoServices);
  assert_int_equal(daemon.command({"stop"}).code, 0);
  assert_int_equal(daemon.process().wait().value_or(-1), 0);
  assert_int_equal(::access(daemon.socket_path().c_str(), F_OK), -1);
  assert_int_equal(::access(daemon.folder().file("bin.sock").c_str(), F_OK), -1);
}

void without_a_daemon_the_exit_code_is_3(void** state) {
  Daemon& daemon = daemon_of(state);
  for (const char* command : {"status", "sessions", "reload", "stop"}) {
    const CommandResult result = daemon.command({command});
    if (result.code != 3) print_error("%s: %d %s\n", command, result.code, result.errors.c_str());
    assert_int_equal(result.code, 3);
    expect_text(result.errors, "portolan.sock");
  }
  // Nor with a socket that a killed daemon left behind.
  daemon.start(kTwoServices);
  daemon.kill();
  assert_int_equal(::access(daemon.socket_path().c_str(), F_OK), 0);
  assert_int_equal(daemon.command({"status"}).code, 3);
  // And what was left behind does not stand in the way of the next.
  daemon.start(kTwoServices);
  assert_int_equal(daemon.command({"status"}).code, 0);
}

void wrong_usage_is_exit_code_2(void**) {
  for (const std::vector<std::string>& arguments : std::vector<std::vector<std::string>>{
           {"dance"}, {"run", "--no-such-flag"}, {"check"}, {"stats", "--since", "yesterday"}, {}}) {
    const CommandResult result = run_portolan(arguments);
    if (result.code != 2) {
      print_error("%s: %d\n", arguments.empty() ? "(nothing)" : arguments.back().c_str(), result.code);
    }
    assert_int_equal(result.code, 2);
    assert_true(result.output.empty());
    assert_false(result.errors.empty());
  }
}

void help_and_version_print_to_standard_output(void**) {
  const CommandResult version = run_portolan({"version"});
  assert_int_equal(version.code, 0);
  expect_text(version.output, "0.1.0");
  const CommandResult by_option = run_portolan({"--version"});
  assert_int_equal(by_option.code, 0);
  assert_string_equal(by_option.output.c_str(), version.output.c_str());
  const CommandResult general = run_portolan({"help"});
  assert_int_equal(general.code, 0);
  for (const char* word : {"run", "check", "reload", "echo", "binary"}) expect_text(general.output, word);
  const CommandResult echo = run_portolan({"help", "echo"});
  assert_int_equal(echo.code, 0);
  for (const char* word : {"transform", "max_line", "8KiB", "on_line", "raw, lines"}) expect_text(echo.output, word);
  const CommandResult unknown = run_portolan({"help", "ecko"});
  assert_int_not_equal(unknown.code, 0);
  expect_text(unknown.errors, "echo");
  assert_int_equal(run_portolan({"--help"}).code, 0);
}

void net_shows_interfaces_and_classifies_addresses(void**) {
  const CommandResult all = run_portolan({"net"});
  assert_int_equal(all.code, 0);
  expect_text(all.output, "lo");
  expect_text(all.output, "127.0.0.1");
  const Json json = Json::parse(run_portolan({"net", "--json"}).output, nullptr, false);
  assert_false(json.is_discarded());
  const std::pair<const char*, const char*> cases[] = {
      {"127.0.0.1", "loopback"},          {"10.1.2.3", "private"}, {"169.254.1.1", "link"},
      {"224.0.0.251", "multicast"},       {"fe80::1", "link"},     {"ff02::fb", "multicast"},
      {"2001:4860:4860::8888", "global"}, {"::1", "loopback"}};
  for (const auto& [address, scope] : cases) {
    const CommandResult one = run_portolan({"net", address});
    assert_int_equal(one.code, 0);
    expect_text(one.output, scope);
  }
  assert_int_not_equal(run_portolan({"net", "300.1.2.3"}).code, 0);
}

void an_address_in_use_is_named_before_anything_starts(void** state) {
  Daemon& first = daemon_of(state);
  first.start(
      "return { services = { { plugin = 'echo', name = 'echo', listen = { 'tcp://127.0.0.1:0', 'udp://127.0.0.1:0' } } "
      "} }");
  const std::string tcp = first.address("echo");
  const std::string udp = first.address("echo", "udp");
  // With two workers the sockets have SO_REUSEPORT: of the other daemon's port it must not take a share in silence.
  for (const int workers : {1, 2}) {
    TemporaryFolder folder;
    const std::string file = folder.write(
        "second.lua",
        fmt::format("return {{ workers = {}, services = {{ {{ plugin = 'echo', name = 'a', listen = '{}' }}, "
                    "{{ plugin = 'echo', name = 'b', listen = {{ '{}', 'tcp://127.0.0.1:0' }} }} }} }}",
                    workers, tcp, udp));
    LaunchOptions options;
    options.folder = folder.path();
    options.environment = {{"STATE_DIRECTORY", folder.path()}};
    const CommandResult second = run_portolan({"run", "-c", file}, options);
    print_message("%s", second.errors.c_str());
    assert_int_equal(second.code, 1);
    expect_text(second.errors, tcp.substr(6));
    expect_text(second.errors, udp.substr(6));
    expect_text(second.errors, "in use");
  }
  // The same folder a second time: the first one's admin socket is alive and stays.
  LaunchOptions options;
  options.folder = first.folder().path();
  options.environment = {{"STATE_DIRECTORY", first.folder().path()}};
  const std::string other = first.folder().write(
      "other.lua", "return { services = { { plugin = 'echo', name = 'x', listen = 'tcp://127.0.0.1:0' } } }");
  const CommandResult third = run_portolan({"run", "-c", other}, options);
  assert_int_equal(third.code, 1);
  expect_text(third.errors, "portolan.sock");
  assert_int_equal(first.command({"status"}).code, 0);
}

void a_path_that_is_not_a_socket_is_left_alone(void** state) {
  Daemon& daemon = daemon_of(state);
  const std::string precious = daemon.folder().write("bin.sock", "precious");
  daemon.launch(kTwoServices);
  assert_false(daemon.wait_ready());
  assert_int_equal(daemon.process().wait().value_or(-1), 1);
  assert_true(daemon.log_has("bin.sock"));
  assert_string_equal(read_whole_file(precious).c_str(), "precious");
}

}  // namespace

int main() {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_daemon, end_daemon)
  const CMUnitTest tests[] = {
      TEST(run_prints_each_listener_with_its_port),
      TEST(check_accepts_what_is_right_and_opens_nothing),
      TEST(check_reports_all_mistakes_at_once),
      TEST(lua_mistakes_show_file_and_line),
      TEST(a_configuration_without_end_is_stopped),
      TEST(status_sessions_and_stats_tell_what_goes_on),
      TEST(stop_ends_the_daemon_in_order),
      TEST(without_a_daemon_the_exit_code_is_3),
      cmocka_unit_test(wrong_usage_is_exit_code_2),
      cmocka_unit_test(help_and_version_print_to_standard_output),
      cmocka_unit_test(net_shows_interfaces_and_classifies_addresses),
      TEST(an_address_in_use_is_named_before_anything_starts),
      TEST(a_path_that_is_not_a_socket_is_left_alone),
  };
  return cmocka_run_group_tests_name("process.cli", tests, nullptr, nullptr);
}
