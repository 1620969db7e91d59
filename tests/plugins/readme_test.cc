// The tables in a plugin's README are made from its descriptor: this fails where they differ, and prints what to paste.
#include "config/help_text.h"
#include "plugin/registry.h"

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

#include "support/cmocka.h"

using namespace portolan;

namespace {

bool readme_agrees(const Descriptor& plugin, const std::string& source) {
  const std::string path = source + "/plugins/" + std::string(plugin.name) + "/README.md";
  std::ifstream file(path);
  if (!file) {
    std::fprintf(stderr, "%s is missing: every plugin has one\n", path.c_str());
    return false;
  }
  std::stringstream stream;
  stream << file.rdbuf();
  const std::string text = stream.str();
  const std::string expected = markdown_options(plugin);
  const std::size_t begin = text.find(kMarkdownBegin);
  const std::size_t end = text.find(kMarkdownEnd);
  if (begin != std::string::npos && end != std::string::npos && begin < end) {
    const std::size_t from = begin + kMarkdownBegin.size();
    if (text.substr(from, end - from) == expected) return true;
  }
  std::fprintf(stderr, "%s: the tables differ from the plugin's descriptor. Paste this:\n\n%s%s%s\n\n", path.c_str(),
               kMarkdownBegin.data(), expected.c_str(), kMarkdownEnd.data());
  return false;
}

void readmes_agree_with_descriptors(void**) {
  const char* source = std::getenv("PORTOLAN_SOURCE");
  assert_non_null(source);
  const Registry registry;
  assert_true(!registry.all().empty());
  int wrong = 0;
  for (const Descriptor* plugin : registry.all()) {
    if (!readme_agrees(*plugin, source)) ++wrong;
  }
  assert_int_equal(wrong, 0);
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {cmocka_unit_test(readmes_agree_with_descriptors)};
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
