// What the descriptor promises and what validate refuses.
#include "support/fake_stream.h"

// Last: it defines macros with short names.
#include "support/cmocka.h"

namespace portolan {
extern const Descriptor plugin_binary;

namespace {

using testing::FakeOptions;
using testing::FakeProblems;

void serves_every_transport(void**) {
  assert_int_equal(plugin_binary.contract_version, kContractVersion);
  assert_int_equal(plugin_binary.transports, kStreams | kUdp);
}

void defaults_are_in_order(void**) {
  FakeOptions options(plugin_binary);
  FakeProblems problems;
  plugin_binary.validate(options, problems);
  assert_int_equal(problems.all.size(), 0);
  assert_int_equal(options.integer("max_frame"), 64 * 1024);
  options.set_hook("on_frame").set("unknown_type", "ignore");
  plugin_binary.validate(options, problems);
  assert_int_equal(problems.all.size(), 0);
}

void plain_frames_have_no_types(void**) {
  FakeOptions options(plugin_binary);
  FakeProblems problems;
  options.set("mode", "plain");
  plugin_binary.validate(options, problems);
  assert_int_equal(problems.all.size(), 0);
  options.set("unknown_type", "refuse").set_hook("on_frame");
  plugin_binary.validate(options, problems);
  assert_int_equal(problems.all.size(), 2);
  assert_true(problems.has("unknown_type"));
  assert_true(problems.has("on_frame"));
}

}  // namespace
}  // namespace portolan

int main() {
  using namespace portolan;
  const CMUnitTest tests[] = {
      cmocka_unit_test(serves_every_transport),
      cmocka_unit_test(defaults_are_in_order),
      cmocka_unit_test(plain_frames_have_no_types),
  };
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
