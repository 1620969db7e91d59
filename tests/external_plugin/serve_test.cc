// The daemon serves with a plugin that it loaded: what tests/external_plugin/CMakeLists.txt built against the installed
// headers. A build that cannot load says so in one sentence, and serves the rest.
#include "app/build.h"
#include "support/client.h"
#include "support/daemon.h"

#include <fmt/format.h>

#include <cstdlib>
#include <cstring>

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
      cmocka_unit_test_setup_teardown(a_static_build_says_that_it_cannot_load, make_daemon, end_daemon),
  };
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
