// The daemon serves with a plugin that it loaded: what tests/external_plugin/CMakeLists.txt built against the installed
// headers. A build that cannot load says so in one sentence, and serves the rest.
#include "app/build.h"
#include "support/client.h"
#include "support/daemon.h"
#include "support/database.h"

#include <fmt/format.h>

#include <cstdlib>
#include <cstring>
#include <vector>

#include "support/cmocka.h"

using namespace portolan;
using namespace portolan::testing;

namespace {

std::string plugin_path() {
  const char* folder = std::getenv("PORTOLAN_EXTERNAL_PLUGINS");
  assert_non_null(folder);
  return fmt::format("{}/greeter.so", folder);
}

void a_loaded_plugin_serves(void** state) {
  if (!kLoadsPlugins) skip();
  Daemon& daemon = daemon_of(state);
  daemon.start(fmt::format(R"(return {{ plugin_path = "{}", services = {{
      {{ plugin = "greeter", name = "g", listen = "tcp://127.0.0.1:0", greeting = "ahoy " }},
      {{ plugin = "greeter", name = "h", listen = "tcp://127.0.0.1:0",
         on_greet = function(text) return "scripted " .. text end }},
      {{ plugin = "echo", name = "e", listen = "tcp://127.0.0.1:0" }},
    }} }})",
                           plugin_path()));
  Client greeter(daemon.address("g"));
  assert_true(greeter.send("sailor"));
  assert_string_equal(greeter.receive(11).c_str(), "ahoy sailor");
  // A hook: the plugin calls into the daemon, and Lua answers.
  Client hooked(daemon.address("h"));
  assert_true(hooked.send("sailor"));
  assert_string_equal(hooked.receive(15).c_str(), "scripted sailor");
  assert_true(daemon.wait_for_counter("g", "greetings", 1));
  assert_int_equal(daemon.stop(), 0);
}

long command_events(Daemon& daemon) {
  return number_from_database(daemon.store_path(),
                              "SELECT sum(count) FROM event WHERE kind = 'command' AND service = 'g' AND "
                              "detail = 'greet with=moin '");
}

// On all workers, and in the sessions of earlier generations; what only asks leaves no event.
void a_loaded_plugin_takes_commands(void** state) {
  if (!kLoadsPlugins) skip();
  Daemon& daemon = daemon_of(state);
  daemon.start(fmt::format(R"(return {{ workers = 2, plugin_path = "{}", services = {{
      {{ plugin = "greeter", name = "g", listen = "tcp://127.0.0.1:0", greeting = "ahoy " }} }} }})",
                           plugin_path()));
  const auto greeting_for = [](Client& client) { return client.exchange("sailor", 11); };
  std::vector<Client> clients;
  for (int i = 0; i < 6; ++i) {
    clients.emplace_back(daemon.address("g"));
    assert_string_equal(greeting_for(clients.back()).c_str(), "ahoy sailor");
  }
  assert_int_equal(daemon.command({"reload"}).code, 0);
  for (int i = 0; i < 6; ++i) clients.emplace_back(daemon.address("g"));

  assert_int_equal(daemon.query({"command", "g", "greeting"}).at("bytes").get<int>(), 5);
  assert_int_equal(daemon.command({"command", "g", "greet", "with=" + std::string(65, 'x')}).code, 1);
  assert_true(daemon.query({"command", "g", "greet", "with=moin "}).at("ok").get<bool>());
  for (Client& client : clients) assert_string_equal(greeting_for(client).c_str(), "moin sailor");

  const CommandResult missing = daemon.command({"command", "g", "greet"});
  assert_int_equal(missing.code, 1);
  assert_non_null(strstr(missing.errors.c_str(), "greet needs with=TEXT"));
  const CommandResult forgotten = daemon.command({"command", "g", "forgotten"});
  assert_int_equal(forgotten.code, 4);
  assert_non_null(strstr(forgotten.errors.c_str(), "declares the command \"forgotten\" and does not know it"));
  clients.clear();
  assert_int_equal(daemon.stop(), 0);
  assert_int_equal(command_events(daemon), 1);
  assert_int_equal(number_from_database(daemon.store_path(), "SELECT count(*) FROM event WHERE kind = 'command'"), 1);
}

// Messages go to the store through the plugin's context and come back after a reload and after a restart.
void a_loaded_plugin_remembers(void** state) {
  if (!kLoadsPlugins) skip();
  Daemon& daemon = daemon_of(state);
  const auto configuration = [](const char* store) {
    return fmt::format(R"(return {{ workers = 2, plugin_path = "{}", store = {}, services = {{
        {{ plugin = "greeter", name = "g", listen = "tcp://127.0.0.1:0" }} }} }})",
                       plugin_path(), store);
  };
  const auto greet = [&](const char* guest) {
    Client client(daemon.address("g"));
    assert_string_equal(client.exchange(guest, 6 + strlen(guest)).c_str(), (std::string("hello ") + guest).c_str());
  };
  const auto knows = [&](const std::string& guests) {
    return wait_until(
        [&] { return daemon.query({"command", "g", "guests"}).at("before").get<std::string>() == guests; });
  };
  daemon.start(configuration("{ flush_every = '1h' }"));
  assert_true(knows(""));
  for (const char* guest : {"ada", "grace", "edith", "mary"}) greet(guest);
  // Not one of them has been flushed.
  assert_int_equal(daemon.command({"reload"}).code, 0);
  assert_true(knows("grace,edith,mary"));
  assert_int_equal(daemon.stop(), 0);
  assert_int_equal(number_from_database(daemon.store_path(),
                                        "SELECT count(*) FROM chat_log WHERE service = 'g' AND "
                                        "room = 'guests' AND sender GLOB '127.0.0.1:*'"),
                   4);
  daemon.start(configuration("{ flush_every = '1h' }"));
  assert_true(knows("grace,edith,mary"));
  assert_int_equal(daemon.stop(), 0);
  daemon.start(configuration("false"));
  greet("ada");
  assert_true(knows("there is no store: the configuration has store = false"));
}

void a_static_build_says_that_it_cannot_load(void** state) {
  if (kLoadsPlugins) skip();
  Daemon& daemon = daemon_of(state);
  daemon.start(fmt::format(R"(return {{ plugin_path = "{}", services = {{
      {{ plugin = "echo", name = "e", listen = "tcp://127.0.0.1:0" }} }} }})",
                           plugin_path()));
  assert_true(daemon.log_has("this is a static build"));
  Client echo(daemon.address("e"));
  assert_true(echo.send("still here"));
  assert_string_equal(echo.receive(10).c_str(), "still here");
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(a_loaded_plugin_serves, make_daemon, end_daemon),
      cmocka_unit_test_setup_teardown(a_loaded_plugin_takes_commands, make_daemon, end_daemon),
      cmocka_unit_test_setup_teardown(a_loaded_plugin_remembers, make_daemon, end_daemon),
      cmocka_unit_test_setup_teardown(a_static_build_says_that_it_cannot_load, make_daemon, end_daemon),
  };
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
