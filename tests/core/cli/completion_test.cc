// Completions and the manual page, made from the real definitions; bash is asked what it makes of its own.
#include "cli/completion.h"
#include "cli/definition.h"

#include "support/child_process.h"
#include "support/temporary_folder.h"

#include <memory>
#include <string>

#include "support/cmocka.h"

using namespace portolan;

namespace {

struct Fixture {
  Fixture() { define_commands(app, arguments); }
  Arguments arguments;
  CLI::App app;
};
int set_up(void** state) {
  *state = new Fixture;
  return 0;
}
int tear_down(void** state) {
  delete static_cast<Fixture*>(*state);
  return 0;
}
const CLI::App& app_of(void** state) { return static_cast<Fixture*>(*state)->app; }

bool has(const std::string& text, const std::string& part) {
  if (text.find(part) != std::string::npos) return true;
  print_error("no \"%s\"\n", part.c_str());
  return false;
}

// What bash would offer for the words; the last one is being typed.
std::string offered(const std::string& script_file, const std::string& words) {
  const auto result =
      testing::run_to_end({"bash", "-c",
                           "source " + script_file + "; COMP_WORDS=(" + words +
                               "); COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 )); _portolan; echo \"${COMPREPLY[*]}\""});
  if (!result.errors.empty()) print_error("bash: %s\n", result.errors.c_str());
  return " " + result.output.substr(0, result.output.find('\n')) + " ";
}

void bash_offers_what_fits(void** state) {
  const testing::TemporaryFolder folder;
  const std::string script = folder.write("portolan.bash", bash_completion(app_of(state), {"echo", "service"}));
  folder.write("my.lua", "");
  assert_true(has(offered(script, "portolan re"), " reload "));
  assert_true(has(offered(script, "portolan ''"), " sessions "));
  assert_true(has(offered(script, "portolan run --"), " --pid-file "));
  assert_true(has(offered(script, "portolan run --log ''"), " auto text json "));
  assert_true(has(offered(script, "portolan help ec"), " echo "));
  assert_true(has(offered(script, "portolan completion ''"), " bash zsh fish "));
  assert_true(has(offered(script, "portolan bans ''"), " add lift "));
  assert_true(has(offered(script, "portolan run -c " + folder.path() + "/m"), folder.path() + "/my.lua"));
  assert_true(has(offered(script, "portolan check " + folder.path() + "/m"), folder.path() + "/my.lua"));
  assert_string_equal(offered(script, "portolan status --limit").c_str(), "  ");
}

void every_command_and_option_is_in_each(void** state) {
  const CLI::App& app = app_of(state);
  const std::string bash = bash_completion(app, {});
  const std::string zsh = zsh_completion(app, {});
  const std::string fish = fish_completion(app, {});
  const std::string page = man_page(app, "0.1.0");
  assert_true(zsh.starts_with("#compdef portolan\n"));
  assert_true(page.find(".TH PORTOLAN 1") != std::string::npos);
  for (const CLI::App* command : definition::commands(app)) {
    assert_true(has(page, ".SS " + command->get_name() + "\n"));
    assert_true(has(zsh, "'" + command->get_name() + ":"));
    assert_true(has(fish, "-a " + command->get_name() + " -d "));
    assert_false(definition::examples(*command).empty());
    for (const CLI::Option* option : definition::flags(*command)) {
      assert_false(option->get_description().empty());
      for (const auto& name : option->get_lnames()) {
        assert_true(has(bash, "--" + name));
        assert_true(has(zsh, "--" + name));
        assert_true(has(fish, "-l " + name));
      }
    }
  }
  // A line that begins with a dot is a request of roff: only known ones.
  std::istringstream lines(page);
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with(".")) continue;
    bool known = false;
    for (const char* request : {".TH ", ".SH ", ".SS ", ".TP", ".PP", ".B ", ".nf", ".fi", ".RS ", ".RE", ".\\\" "}) {
      known = known || line.starts_with(request);
    }
    if (!known) fail_msg("roff would take this for a request: %s", line.c_str());
  }
}

void every_example_parses(void** state) {
  for (const CLI::App* command : definition::commands(app_of(state))) {
    for (std::string line : definition::examples(*command)) {
      const std::size_t start = line.find("portolan ");
      assert_true(start != std::string::npos);
      line = line.substr(start + 9);
      line = line.substr(0, line.find_first_of("|>)"));
      Fixture fresh;
      try {
        fresh.app.parse(line, false);
      } catch (const CLI::ParseError& error) {
        fail_msg("%s: %s", line.c_str(), error.what());
      }
    }
  }
}

}  // namespace

int main() {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
  const CMUnitTest tests[] = {
      TEST(bash_offers_what_fits),
      TEST(every_command_and_option_is_in_each),
      TEST(every_example_parses),
  };
  return cmocka_run_group_tests_name("core.cli.completion", tests, nullptr, nullptr);
}
