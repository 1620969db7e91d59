// What the script plugin asks of a configuration.
#include "plugin/registry.h"
#include "support/fake_stream.h"

#include <string>

#include "support/cmocka.h"

using namespace portolan;
using namespace portolan::testing;

namespace {

struct Collected final : Problems {
  void add(std::string_view key, std::string_view message) noexcept override {
    text += std::string(key) + ": " + std::string(message) + "\n";
  }
  std::string text;
};

void a_listener_needs_its_function(void**) {
  const Registry registry;
  const Descriptor* plugin = registry.find("script");
  assert_non_null(plugin);
  FakeOptions options(*plugin);
  Collected problems;
  plugin->validate(options, problems);
  const bool streams = (options.listens() & kStreams) != 0;
  assert_int_equal(problems.text.find("on_session") != std::string::npos, streams);
  options.set_hook("on_session");
  options.set_hook("on_datagram");
  Collected none;
  plugin->validate(options, none);
  assert_string_equal(none.text.c_str(), "");
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {cmocka_unit_test(a_listener_needs_its_function)};
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
