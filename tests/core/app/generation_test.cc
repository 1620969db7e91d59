// What outlives a generation: the limits of a service, whatever a reload that was refused would have changed.
#include "app/generation.h"

#include "plugin/registry.h"

#include "support/cmocka.h"

#include <fmt/format.h>

#include <string>

using namespace portolan;

namespace {

Configuration configuration(const std::string& services) {
  Registry plugins;
  auto parsed = parse_configuration("test.lua", "return { services = { " + services + " } }", plugins, "/nowhere");
  assert_true(parsed.has_value());
  return std::move(*parsed);
}

void a_refused_reload_keeps_the_limits_of_a_service(void**) {
  Assembler assembler(std::make_shared<StatsRegistry>());
  const std::string serving = R"({ plugin = "echo", name = "web", listen = "tcp://127.0.0.1:0" })";
  const auto first = assembler.assemble(configuration(serving), nullptr);
  assert_true(first.has_value());
  (*first)->shared[0]->open = 7;

  // Another plugin under the same name, beside a listener that cannot be had.
  const auto taken = (*first)->bindings[0].listener->actual().to_string();
  const auto refused =
      assembler.assemble(configuration(R"({ plugin = "binary", name = "web", listen = "tcp://127.0.0.1:0" },)" +
                                       fmt::format(R"({{ plugin = "echo", name = "other", listen = "{}" }})", taken)),
                         first->get());
  assert_false(refused.has_value());

  const auto next = assembler.assemble(configuration(serving), first->get());
  assert_true(next.has_value());
  assert_ptr_equal((*next)->shared[0].get(), (*first)->shared[0].get());
  assert_int_equal((*next)->shared[0]->open.load(), 7);
  assert_ptr_equal((*next)->bindings[0].listener.get(), (*first)->bindings[0].listener.get());
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {cmocka_unit_test(a_refused_reload_keeps_the_limits_of_a_service)};
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
