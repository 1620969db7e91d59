// What the descriptor promises and what validate refuses.
#include "support/fake_stream.h"

#include <cstring>
#include <iterator>

// Last: it defines macros with short names.
#include "support/cmocka.h"

namespace portolan {
extern const Descriptor plugin_echo;

namespace {

using testing::FakeOptions;
using testing::FakeProblems;

// The keys that validate complains about, in order, with a blank behind each.
std::string complaints(const FakeOptions& options) {
  FakeProblems problems;
  plugin_echo.validate(options, problems);
  std::string keys;
  for (const auto& [key, message] : problems.all) {
    keys += key + " ";
    if (message.find("mode") == std::string::npos && message.find("transform") == std::string::npos)
      keys += "(unhelpful) ";
  }
  return keys;
}

void serves_every_transport(void**) {
  assert_int_equal(plugin_echo.contract_version, kContractVersion);
  assert_int_equal(plugin_echo.transports, kStreams | kUdp);
}

void defaults_are_in_order(void**) {
  assert_string_equal(complaints(FakeOptions(plugin_echo)).c_str(), "");
  FakeOptions lines(plugin_echo);
  lines.set("mode", "lines");
  assert_string_equal(complaints(lines).c_str(), "");
  assert_int_equal(lines.integer("max_line"), 8192);
  assert_true(lines.boolean("quit"));
}

void line_options_need_lines(void**) {
  FakeOptions options(plugin_echo);
  options.set("transform", "none").set("prefix", "> ").set("max_line", "1KiB").set("quit", "true").set_hook("on_line");
  assert_string_equal(complaints(options).c_str(), "transform prefix max_line quit on_line ");
  options.set("mode", "raw");
  assert_string_equal(complaints(options).c_str(), "transform prefix max_line quit on_line ");
}

void a_prefix_needs_its_transform(void**) {
  FakeOptions options(plugin_echo);
  options.set("mode", "lines").set("prefix", "> ");
  assert_string_equal(complaints(options).c_str(), "prefix ");
  options.set("transform", "upper");
  assert_string_equal(complaints(options).c_str(), "prefix ");
  options.set("transform", "prefix");
  assert_string_equal(complaints(options).c_str(), "");
}

void a_hook_excludes_a_transform(void**) {
  FakeOptions options(plugin_echo);
  options.set("mode", "lines").set_hook("on_line");
  assert_string_equal(complaints(options).c_str(), "");
  options.set("transform", "none");
  assert_string_equal(complaints(options).c_str(), "");
  options.set("transform", "upper");
  assert_string_equal(complaints(options).c_str(), "on_line ");
}

}  // namespace
}  // namespace portolan

int main() {
  using namespace portolan;
  const CMUnitTest tests[] = {
      cmocka_unit_test(serves_every_transport),      cmocka_unit_test(defaults_are_in_order),
      cmocka_unit_test(line_options_need_lines),     cmocka_unit_test(a_prefix_needs_its_transform),
      cmocka_unit_test(a_hook_excludes_a_transform),
  };
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
