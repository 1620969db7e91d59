// lua/README.md and lua/types/portolan.lua say what the bindings are: this fails where they differ, and writes what they should
// be to the folder of the build.
#include "script/reference.h"

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

#include "support/cmocka.h"

namespace {

std::string content(const std::string& path) {
  std::ifstream file(path);
  std::stringstream stream;
  stream << file.rdbuf();
  return stream.str();
}

void expect(const std::string& path, const std::string& found, const std::string& expected) {
  if (found == expected) return;
  const std::string proposal =
      std::string(std::getenv("PORTOLAN_BUILD")) + "/" + path.substr(path.rfind('/') + 1) + ".new";
  std::ofstream(proposal) << expected;
  std::fprintf(stderr, "%s differs from the bindings: what it should be is in %s\n", path.c_str(), proposal.c_str());
  fail();
}

void the_reference_is_what_the_bindings_are(void**) {
  const std::string path = std::string(std::getenv("PORTOLAN_SOURCE")) + "/lua/README.md";
  const std::string text = content(path);
  const std::string_view begin = "<!-- reference -->\n";
  const std::string_view end = "\n<!-- /reference -->";
  const std::size_t from = text.find(begin);
  const std::size_t to = text.find(end);
  assert_true(from != std::string::npos && to != std::string::npos);
  expect(path, text, text.substr(0, from + begin.size()) + portolan::lua_reference() + text.substr(to));
}

void the_annotations_are_what_the_bindings_are(void**) {
  const std::string path = std::string(std::getenv("PORTOLAN_SOURCE")) + "/lua/types/portolan.lua";
  expect(path, content(path), portolan::lua_annotations());
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {cmocka_unit_test(the_reference_is_what_the_bindings_are),
                              cmocka_unit_test(the_annotations_are_what_the_bindings_are)};
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
