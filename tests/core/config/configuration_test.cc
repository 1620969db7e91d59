#include "config/configuration.h"
#include "plugin/registry.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <string_view>
#include <thread>

#include "support/cmocka.h"

using namespace portolan;
using namespace std::chrono_literals;

namespace {

// A failing assert would jump over the destructors of what is checked: it is made here, and only texts are asserted on.
std::string problems_of(const std::string& source, const std::string& state_dir = "/var/lib/portolan") {
  Registry registry;
  const auto result = parse_configuration("x.lua", source, registry, state_dir);
  return result ? "" : format_problems("x.lua", result.error());
}

std::string with_service(const std::string& keys) {
  return problems_of("return { services = { { plugin = \"echo\", listen = \"tcp://127.0.0.1:0\", " + keys + " } } }");
}

void expect(const std::string& text, std::string_view part) {
  if (text.find(part) != std::string::npos) return;
  std::fprintf(stderr, "expected: %.*s\nfound:    %s\n", static_cast<int>(part.size()), part.data(), text.c_str());
  fail();
}

void expect_exactly(const std::string& text, std::string_view whole) {
  if (text == whole) return;
  std::fprintf(stderr, "expected: %.*s\nfound:    %s\n", static_cast<int>(whole.size()), whole.data(), text.c_str());
  fail();
}

void an_empty_list_of_services_is_enough(void**) { expect_exactly(problems_of("return { services = {} }"), ""); }

void what_it_says_does_not_steer_a_terminal(void**) {
  expect_exactly(
      with_service("idle_timeout = '\\27[2J'"),
      "x.lua: services[1].idle_timeout: \"\\x1b[2J\" is not a duration: write a number with ns, us, ms, s, m, h, d "
      "or w, as in \"30s\" or \"1h30m\"");
  expect(problems_of("error('a\\nb\\27c')"), "x.lua:1: a\\x0ab\\x1bc");
  const std::string long_text = with_service("idle_timeout = ('9'):rep(100000), [('k'):rep(100000)] = 1");
  assert_in_range(long_text.size(), 1, 10'000);
}

void a_path_holds_no_nul(void**) {
  const std::string text = problems_of(
      "return { state_dir = 's\\0', store = { path = 'a\\0b' }, admin = { socket = '\\0' }, plugin_path = '\\0', "
      "services = { { "
      "plugin = 'echo', listen = 'tls://127.0.0.1:0', tls = { certificate = '/c\\0', key = '/k' } } } }");
  for (const char* path : {"state_dir", "store.path", "admin.socket", "plugin_path[1]", "services[1].tls.certificate"})
    expect(text, std::string("x.lua: ") + path + ": a path cannot hold a NUL byte");
}

void a_pipe_may_be_slow(void**) {
  int ends[2];
  assert_int_equal(pipe(ends), 0);
  std::thread writer([end = ends[1]] {
    for (const std::string_view part : {"return { services", " = {} }"}) {
      usleep(50'000);
      if (write(end, part.data(), part.size()) < 0) break;
    }
    close(end);
  });
  Registry registry;
  const std::string path = "/dev/fd/" + std::to_string(ends[0]);
  const auto result = load_configuration(path, registry, "/s");
  const std::string problems = result ? "" : format_problems(path, result.error());
  writer.join();
  close(ends[0]);
  expect_exactly(problems, "");
}

void defaults_are_those_of_the_header(void**) {
  Registry registry;
  unsetenv("RUNTIME_DIRECTORY");
  const auto result = parse_configuration(
      "x.lua", "return { services = { { plugin = \"echo\", listen = \"tcp://127.0.0.1:0\" } } }", registry, "/s");
  assert_true(result.has_value());
  const Configuration fresh;
  assert_int_equal(result->workers, fresh.workers);
  assert_true(result->stats == fresh.stats);
  assert_true(result->drain_timeout == fresh.drain_timeout);
  assert_int_equal(result->admin_mode, fresh.admin_mode);
  assert_int_equal(result->script_memory, fresh.script_memory);
  assert_int_equal(result->script_instructions, fresh.script_instructions);
  assert_int_equal(result->max_descriptors, fresh.max_descriptors);
  assert_true(result->log_level == fresh.log_level);
  assert_true(result->store.enabled == fresh.store.enabled);
  assert_true(result->store.flush_every == fresh.store.flush_every);
  assert_true(result->store.keep == fresh.store.keep);
  assert_true(result->store.keep_minutes == fresh.store.keep_minutes);
  assert_true(result->store.keep_hours == fresh.store.keep_hours);
  assert_int_equal(result->store.session_records, fresh.store.session_records);
  assert_int_equal(result->store.event_records, fresh.store.event_records);
  assert_true(result->store.keep_messages == fresh.store.keep_messages);
  assert_int_equal(result->store.messages_per_service, fresh.store.messages_per_service);
  assert_int_equal(result->store.script_keys, fresh.store.script_keys);
  assert_int_equal(result->store.script_bytes, fresh.store.script_bytes);
  assert_string_equal(result->store.path.c_str(), "/s/portolan.db");
  assert_string_equal(result->admin_socket.c_str(), "/s/portolan.sock");
  const ServiceConfiguration& service = result->services.at(0);
  const LimitOptions limits;
  assert_string_equal(service.name.c_str(), "echo");
  assert_int_equal(service.limits.max_sessions, limits.max_sessions);
  assert_int_equal(service.limits.max_sessions_per_client, limits.max_sessions_per_client);
  assert_true(service.limits.accept_rate == limits.accept_rate);
  assert_true(service.limits.message_rate == limits.message_rate);
  assert_true(service.limits.byte_rate == limits.byte_rate);
  assert_true(service.limits.idle_timeout == limits.idle_timeout);
  assert_true(service.limits.first_message_timeout == limits.first_message_timeout);
  assert_int_equal(service.limits.output_limit, limits.output_limit);
  const ServiceConfiguration plain;
  assert_true(service.keep_alive == plain.keep_alive && service.no_delay == plain.no_delay);
  assert_int_equal(service.backlog, plain.backlog);
  assert_int_equal(service.unix_mode, plain.unix_mode);
}

void everything_that_is_written_arrives(void**) {
  Registry registry;
  const auto result = parse_configuration("/etc/portolan/x.lua", R"(
    local port = 7000
    local function listener(scheme) return scheme .. "://127.0.0.1:" .. (port + 7) end
    return {
      workers = "auto", state_dir = "/srv", stats = false, drain_timeout = "5s", user = "nobody", group = "nogroup",
      store = { path = "db/p.db", flush_every = "1m", keep = "1w", session_records = 0,
                messages_per_service = 7, script_keys = 8, script_bytes = "1MiB" },
      admin = { socket = "a.sock", mode = "0600", http = "tcp://127.0.0.1:9100" },
      log = { level = "debug" }, script = { memory = "8MiB", instructions = 5000 }, max_descriptors = 4096,
      services = {
        { plugin = "echo", name = "one.two-3_4", listen = { listener("tcp"), listener("udp"), "unix://e.sock" },
          max_sessions = 0, accept_rate = "60/m", message_rate = 10, byte_rate = "1MiB/s", idle_timeout = "1h30m",
          output_limit = "1MiB", keep_alive = false, no_delay = false, backlog = 16, unix_mode = "600",
          mode = "lines", max_line = "1KiB", on_line = function(line) return line end },
        { plugin = "binary", listen = "tcp://[::1]:7008" },
      },
    })",
                                          registry);
  if (!result) expect_exactly(format_problems("x.lua", result.error()), "");
  assert_true(result->workers >= 1);
  assert_false(result->stats);
  assert_true(result->drain_timeout == 5s);
  assert_string_equal(result->user.c_str(), "nobody");
  assert_string_equal(result->store.path.c_str(), "/srv/db/p.db");
  assert_true(result->store.flush_every == 1min && result->store.keep == 168h);
  assert_true(result->store.keep_messages == 168h);  // not given: as long as the rest
  assert_int_equal(result->store.messages_per_service, 7);
  assert_int_equal(result->store.script_keys, 8);
  assert_int_equal(result->store.script_bytes, 1 << 20);
  assert_string_equal(result->admin_socket.c_str(), "/srv/a.sock");
  assert_int_equal(result->admin_mode, 0600);
  assert_true(result->admin_http.has_value());
  assert_true(result->log_level == LogLevel::debug);
  assert_int_equal(result->script_memory, 8 << 20);
  assert_int_equal(result->script_instructions, 5000);
  assert_int_equal(result->max_descriptors, 4096);
  assert_int_equal(result->services.size(), 2);
  const ServiceConfiguration& service = result->services[0];
  assert_string_equal(service.name.c_str(), "one.two-3_4");
  assert_int_equal(service.listen.size(), 3);
  assert_string_equal(service.listen[2].path.c_str(), "/srv/e.sock");
  assert_int_equal(service.limits.max_sessions, 0);
  assert_true(service.limits.accept_rate == 1.0 && service.limits.message_rate == 10.0);
  assert_true(service.limits.byte_rate == 1048576.0);
  assert_true(service.limits.idle_timeout == 90min);
  assert_int_equal(service.unix_mode, 0600);
  assert_false(service.keep_alive);
  assert_string_equal(std::string(service.options->text("mode")).c_str(), "lines");
  assert_int_equal(service.options->integer("max_line"), 1024);
  assert_true(service.options->has("mode"));
  assert_false(service.options->has("quit"));
  assert_true(service.options->has_hook("on_line"));
  assert_string_equal(result->services[1].name.c_str(), "binary");
  assert_int_equal(result->services[1].index, 1);
  assert_false(result->services[1].options->has_hook("on_frame"));
}

void mistyped_keys_are_named_with_the_nearest(void**) {
  expect_exactly(with_service("idle_timout = \"3s\""),
                 "x.lua: services[1].idle_timout: unknown key; did you mean \"idle_timeout\"?");
  expect_exactly(problems_of("return { servces = {}, services = {} }"),
                 "x.lua: servces: unknown key; did you mean \"services\"?");
  expect(problems_of("return { services = {}, store = { zzz = 1 } }"),
         "store.zzz: unknown key; the keys here are: path, flush_every, keep");
  expect(with_service("modes = \"lines\""), "did you mean \"mode\"?");
  expect(with_service("[\"a b\"] = 1"), "services[1][\"a b\"]: unknown key");
  expect(with_service("\"loose\""), "services[1][1]: expected a key and a value, found the text \"loose\"");
  expect(problems_of("return { services = {}, [true] = 1 }"), "[true]: unknown key");
}

void wrong_types_say_what_was_expected_and_found(void**) {
  expect_exactly(with_service("max_sessions = \"many\""),
                 "x.lua: services[1].max_sessions: expected a whole number (0 to 4294967295), found the text \"many\"");
  expect(with_service("idle_timeout = 30"), "found the number 30; write \"30s\" for seconds");
  expect(with_service("idle_timeout = \"30\""), "\"30\" is not a duration");
  expect(with_service("output_limit = \"64Kb\""), "\"64Kb\" is not a size");
  expect(with_service("accept_rate = \"10/d\""), "\"10/d\" is not a rate");
  expect(with_service("keep_alive = 1"), "expected true or false, found the number 1");
  expect(with_service("mode = \"linez\""),
         "expected \"raw\" or \"lines\", found the text \"linez\"; did you mean \"lines\"?");
  expect(with_service("max_sessions = 1.5"), "expected a whole number");
  expect(with_service("max_sessions = {}"), "found a table");
  expect(problems_of("return { services = 3 }"), "services: expected a list of tables, found the number 3");
  expect(problems_of("return { services = { 3 } }"), "services[1]: expected a table such as");
  expect(problems_of("return { }"), "services: is missing");
  expect(problems_of("return { services = {}, workers = \"all\" }"), "or \"auto\", found the text \"all\"");
  expect(problems_of("return { services = {}, store = 3 }"), "store: expected a table, found the number 3");
  expect(problems_of("return { services = {}, admin = { mode = \"0999\" } }"), "admin.mode: expected an octal mode");
  expect(problems_of("return { services = {}, admin = { http = \"udp://127.0.0.1:1\" } }"),
         "expected a tcp:// address");
  expect(with_service("unix_mode = 660"), "services[1].unix_mode: expected text, found the number 660");
}

void ranges_are_in_the_units_of_users(void**) {
  expect(problems_of("return { services = {}, store = { flush_every = \"1ms\" } }"),
         "store.flush_every: the text \"1ms\" is out of range: expected 100ms to 1d");
  expect(with_service("output_limit = \"1B\""), "out of range: expected 1KiB to 1GiB");
  expect(with_service("max_sessions = -1"), "the number -1 is out of range: expected 0 to 4294967295");
  expect(problems_of("return { services = {}, workers = 0 }"), "expected 1 to 256");
  expect(with_service("message_rate = -1"), "out of range");
  expect(with_service("message_rate = 0/0"), "out of range");
  expect(with_service("max_line = \"2MiB\""), "services[1].max_line: the text \"2MiB\" is out of range");
}

void services_are_checked_against_each_other(void**) {
  expect(problems_of("return { services = { { plugin = \"echo\", listen = \"tcp://127.0.0.1:0\" }, "
                     "{ plugin = \"echo\", listen = \"tcp://127.0.0.1:0\" } } }"),
         "services[2].name: the name \"echo\" is taken by services[1]");
  const std::string twice = problems_of(
      "return { services = { { plugin = \"echo\", listen = \"tcp://127.0.0.1:7\" }, "
      "{ plugin = \"binary\", listen = \"tcp://127.0.0.1:7\" } } }");
  expect_exactly(twice,
                 "x.lua: services[2].listen: the address \"tcp://127.0.0.1:7\" is used by services[1].listen already");
  // Port 0 is another port each time, and UDP is not TCP.
  expect_exactly(problems_of("return { services = { { plugin = \"echo\", listen = { \"tcp://127.0.0.1:0\", "
                             "\"tcp://127.0.0.1:0\", \"tcp://127.0.0.1:7\", \"udp://127.0.0.1:7\" } } } }"),
                 "");
  expect(problems_of("return { services = { { plugin = \"echo\", listen = \"unix://portolan.sock\" } } }", "/s"),
         "is used by admin.socket already");
  expect(with_service("name = \"a b\""), "services[1].name: expected 1 to 64 of A-Z");
}

void plugins_and_hooks_are_looked_up(void**) {
  expect(problems_of("return { services = { { plugin = \"ehco\" } } }"),
         "services[1].plugin: there is no plugin \"ehco\"; did you mean \"echo\"?");
  expect(problems_of("return { services = { { plugin = \"zzzzzz\" } } }"), "; the plugins are: echo, binary");
  expect(problems_of("return { services = { { name = \"x\" } } }"), "services[1].plugin: is missing: expected text");
  expect(with_service("on_lines = function() end"), "has no such hook; did you mean \"on_line\"?");
  expect(with_service("on_line = 3"), "services[1].on_line: expected a function (line, session)");
  expect(with_service("idle_timeout = function() end"),
         "expected a duration such as \"30s\" or \"1h30m\" (at most 3650d), found a function");
  expect(with_service("whatever = function() end"), "services[1].whatever: unknown key");
  expect(problems_of("return { services = { { plugin = \"echo\" } } }"), "services[1].listen: is missing");
  expect(problems_of("return { services = { { plugin = \"echo\", listen = {} } } }"), "services[1].listen: is missing");
  expect(problems_of("return { services = { { plugin = \"echo\", listen = { [2] = \"tcp://127.0.0.1:0\" } } } }"),
         "services[1].listen[2]: a list counts 1, 2, 3 without a gap");
  expect(with_service("listen = \"http://127.0.0.1\""), "services[1].listen");
}

void tls_and_its_listeners_belong_together(void**) {
  expect(problems_of("return { services = { { plugin = \"echo\", listen = \"tls://127.0.0.1:0\" } } }"),
         "services[1].tls: is missing: a tls:// listener needs tls =");
  expect(with_service("tls = { self_signed = true }"), "services[1].tls: is given, but no listener is tls://");
  expect_exactly(problems_of("return { services = { { plugin = \"echo\", listen = \"tls://127.0.0.1:0\", "
                             "tls = { self_signed = true } } } }"),
                 "");
  const std::string one = problems_of(
      "return { services = { { plugin = \"echo\", listen = \"tls://127.0.0.1:0\", "
      "tls = { certificate = \"no/such.pem\" } } } }");
  expect(one, "services[1].tls.key: is missing");
  const std::string missing = problems_of(
      "return { services = { { plugin = \"echo\", listen = \"tls://127.0.0.1:0\", "
      "tls = { certificate = \"no/such.pem\", key = \"no/such.key\" } } } }");
  expect(missing, "services[1].tls: ");
  expect(missing, "no/such");
  expect(problems_of("return { services = { { plugin = \"echo\", listen = \"tls://127.0.0.1:0\", "
                     "tls = { self_signed = true, key = \"k\" } } } }"),
         "leave out certificate and key, or self_signed");
}

void limits_are_checked(void**) {
  const auto with_limits = [](const std::string& limits) { return with_service("limits = { " + limits + " }"); };
  expect_exactly(with_limits("{ count = \"messages\", rate = \"100/s\" }, "
                             "{ count = \"bytes\", per = \"service\", rate = \"1MiB/s\", window = \"10s\", "
                             "algorithm = \"sliding_window\", over = \"delay\" }"),
                 "");
  const std::string none = with_limits("{}, { count = \"seconds\", rate = \"1/s\", per = \"user\" }");
  expect(none, "services[1].limits[1].count: is missing");
  expect(none, "services[1].limits[1].rate: is missing");
  expect(none, "services[1].limits[2].count: expected one of \"sessions\", \"messages\", \"bytes\"");
  expect(none, "services[1].limits[2].per: expected \"client\" or \"service\"");
  expect(with_limits("{ count = \"sessions\", rate = \"1/s\", over = \"delay\" }"),
         "services[1].limits[1].over: a session cannot be delayed");
  expect(with_limits("{ count = \"sessions\", rate = \"2/m\" }"),
         "services[1].limits[1].window: is 1s, in which the rate allows less than one: write \"30s\" or more");
  expect(with_limits("{ count = \"sessions\", rate = 0 }"), "services[1].limits[1].rate: is 0");
  const std::string much = "{ count = \"bytes\", rate = \"1GiB/s\", window = \"1m\", algorithm = ";
  expect(with_limits(much + "\"fixed_window\" }"), "more than the 4294967295 that a window counts");
  expect_exactly(with_limits(much + "\"token_bucket\" }"), "");
  std::string nine;
  for (int i = 0; i < 9; ++i) nine += "{ count = \"bytes\", rate = \"1/s\" }, ";
  expect(with_limits(nine), "services[1].limits: 9 limits: a service may have at most 8");
}

void proxies_are_named(void**) {
  const auto with_proxies = [](const std::string& keys) { return with_service("proxy_protocol = { " + keys + " }"); };
  expect_exactly(with_proxies("from = \"10.0.0.7\""), "");
  expect_exactly(with_proxies("from = { \"10.0.0.0/8\", \"unix\" }, timeout = \"1s\", max_size = \"4KiB\""), "");
  expect(with_proxies(""), "services[1].proxy_protocol.from: is missing");
  expect(with_proxies("from = {}"), "services[1].proxy_protocol.from: is empty: nobody could connect");
  expect(with_proxies("from = { \"10.0.0.7\", \"lb.lan\" }"), "services[1].proxy_protocol.from[2]: \"lb.lan\"");
  expect(with_proxies("from = \"unix\", max_size = 106"), "services[1].proxy_protocol.max_size: ");
  expect(
      with_service("listen = { \"tcp://127.0.0.1:0\", \"udp://127.0.0.1:0\" }, proxy_protocol = { from = \"unix\" }"),
      "services[1].proxy_protocol: a header in front of a stream is no matter of udp://127.0.0.1:0: give the");
}

void bans_are_switched_on_by_their_table(void**) {
  const auto bans_of = [](const std::string& bans) {
    Registry registry;
    const auto result = parse_configuration("x.lua", "return { " + bans + " services = {} }", registry, "/s");
    if (!result) fail_msg("%s", format_problems("x.lua", result.error()).c_str());
    return result->bans;
  };
  for (const char* off : {"", "bans = false,"}) assert_false(bans_of(off).automatic);
  for (const char* on : {"bans = true,", "bans = {},"}) {
    const BanOptions bans = bans_of(on);
    assert_true(bans.automatic);
    assert_int_equal(bans.violations, 10);
    assert_true(bans.time == std::chrono::minutes(10));
    assert_true(bans.never.contains(*Address::parse("127.3.2.1")));
    assert_true(bans.never.contains(*Address::parse("::1")));
    assert_false(bans.never.contains(*Address::parse("192.0.2.1")));
  }
  const BanOptions bans = bans_of("bans = { never = { \"192.0.2.0/24\" }, time = \"1d\", datagrams = true },");
  assert_false(bans.never.contains(*Address::parse("127.0.0.1")));
  assert_true(bans.never.contains(*Address::parse("192.0.2.1")));
  assert_true(bans.datagrams);
  expect(problems_of("return { bans = { never = { \"192.0.2.0/33\", \"10.0.0.0/8\" } }, services = {} }"),
         "bans.never[1]: \"192.0.2.0/33\": the prefix length");
  expect(problems_of("return { bans = { times = \"1h\" }, services = {} }"), "bans.times: unknown key");
}

void long_unix_paths_are_refused(void**) {
  const std::string folder = "/" + std::string(100, 'd');
  expect(problems_of("return { services = { { plugin = \"echo\", listen = \"unix://e.sock\" } } }", folder),
         "may have at most 107");
  expect(problems_of("return { services = {} }", folder), "admin.socket: the path");
}

void all_mistakes_are_reported_in_order(void**) {
  expect_exactly(
      problems_of("return { worker = 2, services = {\n"
                  "  { plugin = \"echo\", listen = \"tcp://127.0.0.1:0\", max_sessions = \"x\", mod = \"raw\" },\n"
                  "  { plugin = \"binarry\" },\n"
                  "}, log = { level = \"loud\" } }"),
      "x.lua: log.level: expected one of \"error\", \"warning\", \"info\", \"debug\", found the text \"loud\"\n"
      "x.lua: worker: unknown key; did you mean \"workers\"?\n"
      "x.lua: services[1].max_sessions: expected a whole number (0 to 4294967295), found the text \"x\"\n"
      "x.lua: services[1].mod: unknown key; did you mean \"mode\"?\n"
      "x.lua: services[2].plugin: there is no plugin \"binarry\"; did you mean \"binary\"?");
  std::string many = "return { services = {";
  for (int index = 0; index < 12; ++index) many += "{ plugin = \"none\" },";
  const std::string text = problems_of(many + "} }");
  assert_true(text.find("services[2].") < text.find("services[10]."));
}

void lua_errors_have_file_and_line(void**) {
  expect(problems_of("return {\n  workers = \n}"), "x.lua:3: unexpected symbol near '}'");
  expect_exactly(problems_of("local x = nil\n\nreturn x.y"), "x.lua:3: attempt to index a nil value (local 'x')");
  expect(problems_of("error({})"), "whose value is no text but a table");
  expect_exactly(problems_of("local x = 1"),
                 "x.lua: a configuration ends with `return { … }`; this one returned nothing");
  expect(problems_of("return 3"), "this one returned number");
  expect(problems_of("\x1bLua"), "x.lua: ");
}

void long_names_of_files_are_said_whole(void**) {
  const std::string file = "/" + std::string(90, 'd') + "/portolan.lua";
  Registry registry;
  const auto result = parse_configuration(file, "\nlocal x = nil .. \"\"", registry);
  assert_false(result.has_value());
  const std::string text = format_problems(file, result.error());
  assert_true(text.starts_with(file + ":2: attempt"));
}

void state_directory_has_an_order(void**) {
  Registry registry;
  setenv("STATE_DIRECTORY", "/from/systemd:/other", 1);
  setenv("RUNTIME_DIRECTORY", "/run/portolan", 1);
  const auto by_environment = parse_configuration("x.lua", "return { services = {} }", registry);
  const auto by_argument = parse_configuration("x.lua", "return { services = {} }", registry, "/argument");
  const char* const with_state_dir = "return { services = {}, state_dir = \"/file\" }";
  const auto over_file = parse_configuration("x.lua", with_state_dir, registry, "/argument");
  const auto by_file = parse_configuration("x.lua", with_state_dir, registry);
  unsetenv("STATE_DIRECTORY");
  unsetenv("RUNTIME_DIRECTORY");
  const auto by_folder = parse_configuration("x.lua", "return { services = {}, store = false }", registry);
  assert_true(by_environment && by_argument && over_file && by_file && by_folder);
  assert_string_equal(by_environment->state_dir.c_str(), "/from/systemd");
  assert_string_equal(by_environment->admin_socket.c_str(), "/run/portolan/portolan.sock");
  assert_string_equal(by_argument->state_dir.c_str(), "/argument");
  assert_string_equal(over_file->state_dir.c_str(), "/argument");
  assert_string_equal(by_file->state_dir.c_str(), "/file");
  assert_true(by_folder->state_dir.starts_with('/'));
  assert_false(by_folder->store.enabled);
}

void files_are_read_or_say_why_not(void**) {
  char folder[] = "/tmp/portolan-config-XXXXXX";
  assert_non_null(mkdtemp(folder));
  const std::string file = std::string(folder) + "/x.lua";
  Registry registry;
  const auto missing = load_configuration(file, registry);
  const auto is_folder = load_configuration(folder, registry);
  {
    std::ofstream(file) << "#!/usr/bin/env portolan\nreturn { services = {} }\n";
  }
  const auto good = load_configuration(file, registry, "/s");
  {
    std::ofstream(file) << "#!/usr/bin/env portolan\nreturn nil .. 1\n";
  }
  const auto bad = load_configuration(file, registry, "/s");
  unlink(file.c_str());
  rmdir(folder);
  assert_true(!missing && !is_folder);
  expect(format_problems(file, missing.error()), "x.lua: cannot be read: No such file or directory");
  expect(format_problems(file, is_folder.error()), "Is a directory");
  assert_true(good.has_value());
  assert_string_equal(good->file.c_str(), file.c_str());
  assert_false(good->source.empty());
  assert_true(!bad);
  expect(format_problems(file, bad.error()), "x.lua:2: attempt to concatenate");
}

void large_trees_are_refused(void**) {
  expect(problems_of("local t = {} t.t = t return t"), "nested deeper than 32 tables, or contains itself");
  expect(problems_of("local t = {} for i = 1, 25 do t = { t, t } end return { services = t }"),
         "more than 200,000 values");
  expect(problems_of("local s = string.rep(\"x\", 1 << 20) local t = {} for i = 1, 40 do t[i] = s end return t"),
         "more than 32MiB of text");
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test(an_empty_list_of_services_is_enough),
      cmocka_unit_test(defaults_are_those_of_the_header),
      cmocka_unit_test(what_it_says_does_not_steer_a_terminal),
      cmocka_unit_test(a_path_holds_no_nul),
      cmocka_unit_test(a_pipe_may_be_slow),
      cmocka_unit_test(everything_that_is_written_arrives),
      cmocka_unit_test(mistyped_keys_are_named_with_the_nearest),
      cmocka_unit_test(wrong_types_say_what_was_expected_and_found),
      cmocka_unit_test(ranges_are_in_the_units_of_users),
      cmocka_unit_test(services_are_checked_against_each_other),
      cmocka_unit_test(plugins_and_hooks_are_looked_up),
      cmocka_unit_test(tls_and_its_listeners_belong_together),
      cmocka_unit_test(limits_are_checked),
      cmocka_unit_test(proxies_are_named),
      cmocka_unit_test(bans_are_switched_on_by_their_table),
      cmocka_unit_test(long_unix_paths_are_refused),
      cmocka_unit_test(all_mistakes_are_reported_in_order),
      cmocka_unit_test(lua_errors_have_file_and_line),
      cmocka_unit_test(long_names_of_files_are_said_whole),
      cmocka_unit_test(state_directory_has_an_order),
      cmocka_unit_test(files_are_read_or_say_why_not),
      cmocka_unit_test(large_trees_are_refused),
  };
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
