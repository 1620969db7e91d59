// Every configuration that is shipped passes the check.
#include "config/configuration.h"
#include "plugin/registry.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "support/cmocka.h"

using namespace portolan;

namespace {

void shipped_configurations_pass(void**) {
  const char* source = std::getenv("PORTOLAN_SOURCE");
  assert_non_null(source);
  Registry registry;
  int files = 0;
  int wrong = 0;
  for (const auto& entry : std::filesystem::directory_iterator(std::string(source) + "/config")) {
    if (entry.path().extension() != ".lua") continue;
    ++files;
    // A short state directory: unix sockets live in it, and a build folder's path may be too long for them.
    const auto result = load_configuration(entry.path().string(), registry, "/tmp");
    if (result) continue;
    ++wrong;
    std::fprintf(stderr, "%s\n", format_problems(entry.path().string(), result.error()).c_str());
  }
  assert_true(files > 0);
  assert_int_equal(wrong, 0);
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {cmocka_unit_test(shipped_configurations_pass)};
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
