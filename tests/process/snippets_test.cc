// What the READMEs show in Lua: configurations and services are checked, the bodies of sessions in lua/README.md run.
#include "support/client.h"
#include "support/daemon.h"
#include "support/server_socket.h"

#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "support/cmocka.h"  // last: it defines fail()

using namespace portolan::testing;

namespace {

namespace fs = std::filesystem;

std::string source() { return std::getenv("PORTOLAN_SOURCE"); }

struct Snippet {
  std::string where;  // "lua/README.md:12"
  std::string text;
};

std::vector<Snippet> snippets_of(const std::string& file) {
  std::vector<Snippet> found;
  std::ifstream stream(source() + "/" + file);
  bool inside = false;
  int number = 0;
  for (std::string line; std::getline(stream, line);) {
    ++number;
    if (inside && line.starts_with("```")) {
      inside = false;
    } else if (inside) {
      found.back().text += line + "\n";
    } else if (line == "```lua") {
      inside = true;
      found.push_back({fmt::format("{}:{}", file, number + 1), {}});
    }
  }
  return found;
}

bool is_body(const Snippet& snippet) { return !snippet.text.starts_with("return {") && !snippet.text.starts_with('{'); }

void every_configuration_is_right(void** state) {
  const TemporaryFolder& folder = daemon_of(state).folder();
  std::vector<std::string> files = {"README.md", "lua/README.md", "CONTRIBUTING.md"};
  for (const char* place : {"plugins", "core", "config", "firmware"}) {
    for (const auto& entry : fs::recursive_directory_iterator(source() + "/" + place))
      if (entry.path().filename() == "README.md") files.push_back(fs::relative(entry.path(), source()));
  }
  std::size_t checked = 0;
  for (const std::string& file : files) {
    for (const Snippet& snippet : snippets_of(file)) {
      if (is_body(snippet)) continue;
      std::string text = snippet.text;
      if (text.starts_with('{')) text = "return { services = {\n" + text + "} }\n";
      const auto result = run_to_end(portolan_command({"check", folder.write("snippet.lua", text)}));
      if (result.code != 0) fail_msg("%s: %s%s", snippet.where.c_str(), result.output.c_str(), result.errors.c_str());
      ++checked;
    }
  }
  assert_in_range(checked, 20, 1000);
}

// On a daemon with all that they ask for: an echo at port 7007, a store, and a client who knows the answer.
void every_body_runs(void** state) {
  Daemon& daemon = daemon_of(state);
  std::size_t ran = 0;
  for (const Snippet& snippet : snippets_of("lua/README.md")) {
    if (!is_body(snippet)) continue;
    std::string echo;
    {
      const ServerSocket free;  // a port that the kernel has just given
      echo = free.address().substr(6);
    }
    std::string text = snippet.text;
    for (std::size_t at = 0; (at = text.find("127.0.0.1:7007", at)) != std::string::npos;) text.replace(at, 14, echo);
    daemon.start(fmt::format(
        "return {{ store = {{ flush_every = '100ms' }}, services = {{\n"
        "{{ plugin = 'echo', name = 'echo', listen = {{ 'tcp://{0}', 'udp://{0}' }} }},\n"
        "{{ plugin = 'script', name = 'body', listen = 'tcp://127.0.0.1:0', on_session = function(session)\n"
        "local function body()\n{1}end\nbody()\nsession:write('done') end }} }} }}",
        echo, text));
    Client client(daemon.address("body"));
    assert_true(client.send("41\n42\n"));
    const std::string said = client.receive_all();
    if (!said.ends_with("done")) fail_msg("%s: \"%s\"\n%s", snippet.where.c_str(), said.c_str(), daemon.log().c_str());
    assert_int_equal(daemon.counter("body", "hook_failures"), 0);
    assert_int_equal(daemon.stop(), 0);
    ++ran;
  }
  assert_in_range(ran, 9, 1000);
}

}  // namespace

int main() {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_daemon, end_daemon)
  const CMUnitTest tests[] = {
      TEST(every_configuration_is_right),
      TEST(every_body_runs),
  };
  return cmocka_run_group_tests_name("process.snippets", tests, nullptr, nullptr);
}
