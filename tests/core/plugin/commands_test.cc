// What a declaration of a command says, and what is wrong with a call of it.
#include "plugin/commands.h"
#include "plugin/registry.h"

#include <string>

#include "support/cmocka.h"

using namespace portolan;

namespace {

using Outcome = CommandReply::Outcome;

Service* make_nothing(Context&, const Options&, Problems&) noexcept { return nullptr; }

constexpr CommandDeclaration kCommands[] = {
    {.name = "drain", .arguments = "backend=NAME [weight=N]", .help = "h"},
    {.name = "faults", .help = "h", .question = true},
    {.name = "fault_add", .arguments = "kind=KIND …", .help = "h"},
};
constexpr Descriptor kPlugin = {
    .name = "good", .summary = "is as it should be", .commands = kCommands, .make = make_nothing};

void expect_text(const std::string& text, std::string_view part) {
  if (text.find(part) != std::string::npos) return;
  print_error("expected: %.*s\nfound:    %s\n", static_cast<int>(part.size()), part.data(), text.c_str());
  fail();
}

void arguments_are_read_word_by_word(void**) {
  const auto whole = parse_argument_declarations("backend=NAME [weight=N] …");
  assert_true(whole.has_value());
  assert_int_equal(whole->named.size(), 2);
  assert_true(whole->named[0].name == "backend" && whole->named[0].value == "NAME" && whole->named[0].required);
  assert_true(whole->named[1].name == "weight" && whole->named[1].value == "N" && !whole->named[1].required);
  assert_true(whole->others);
  assert_true(parse_argument_declarations("")->named.empty());
  for (const char* wrong : {"backend", "=NAME", "backend=", "[backend=NAME", "backend=NAME]", "[]", "[=]", "a=B  c=D",
                            " a=B", "a=B ", "… a=B", "… …", "[…]", "a=[B]"}) {
    if (parse_argument_declarations(wrong)) print_error("accepted: \"%s\"\n", wrong);
    assert_false(parse_argument_declarations(wrong).has_value());
  }
}

void declarations_without_sense_are_refused(void**) {
  assert_string_equal(Registry::check(kPlugin).c_str(), "");
  const auto refused = [](CommandDeclaration command) {
    Descriptor descriptor = kPlugin;
    descriptor.commands = {&command, 1};
    return Registry::check(descriptor);
  };
  expect_text(refused({.name = "Drain it"}), "its command \"Drain it\" has a name that is not made of");
  expect_text(refused({.name = "a", .arguments = "x"}), "its command \"a\" make no sense: \"x\" is neither");
  expect_text(refused({.name = "a", .arguments = "X=Y"}), "\"X\" is not made of a-z");
  expect_text(refused({.name = "a", .arguments = "x=Y [x=Z]"}), "\"x\" is declared twice");
  expect_text(refused({.name = "a", .arguments = "service=S"}), "taken by the request itself");
  // Without an argument it would be core's.
  expect_text(refused({.name = "drain"}), "one must be required");
  expect_text(refused({.name = "undrain", .arguments = "[backend=NAME]"}), "one must be required");
  const CommandDeclaration twice[] = {{.name = "a"}, {.name = "a"}};
  Descriptor descriptor = kPlugin;
  descriptor.commands = twice;
  expect_text(Registry::check(descriptor), "its command \"a\" is declared twice");
}

OperatorCommand call(std::string name, std::map<std::string, std::string> arguments = {}) {
  return {.service = "web", .name = std::move(name), .arguments = std::move(arguments)};
}

void expect_wrong(const OperatorCommand& command, Outcome outcome, std::string_view part) {
  const auto chosen = choose_command(command, kPlugin);
  assert_false(chosen.has_value());
  assert_int_equal(static_cast<int>(chosen.error().outcome), static_cast<int>(outcome));
  expect_text(chosen.error().text, part);
}

void a_call_is_checked_against_its_declaration(void**) {
  const auto good = choose_command(call("drain", {{"backend", "b1"}}), kPlugin);
  assert_true(good.has_value());
  assert_ptr_equal(good->declaration, &kCommands[0]);
  assert_false(good->of_core);
  assert_true(choose_command(call("drain", {{"backend", "b1"}, {"weight", "2"}}), kPlugin).has_value());
  assert_true(
      choose_command(call("fault_add", {{"kind", "latency"}, {"latency", "3s"}, {"name", "x"}}), kPlugin).has_value());

  expect_wrong(call("fault"), Outcome::unknown, "service \"web\" has no command \"fault\"; did you mean \"faults\"?");
  expect_wrong(call("xyz"), Outcome::unknown, "; its commands are: drain, faults, fault_add, undrain");
  expect_wrong(call("drain", {{"bakend", "b1"}}), Outcome::wrong,
               "service \"web\": drain takes backend=NAME [weight=N], not \"bakend\"; did you mean \"backend\"?");
  expect_wrong(call("drain", {{"weight", "1"}}), Outcome::wrong,
               "drain needs backend=NAME: it takes backend=NAME [weight=N]");
  expect_wrong(call("drain", {{"backend", ""}}), Outcome::wrong, "drain: \"backend\" has no value");
  expect_wrong(call("faults", {{"x", "1"}}), Outcome::wrong, "faults takes no arguments, not \"x\"");
  expect_wrong(call("fault_add", {{"x", "1"}}), Outcome::wrong, "fault_add needs kind=KIND");
}

void drain_without_arguments_is_cores(void**) {
  const auto drain = choose_command(call("drain"), kPlugin);
  assert_true(drain.has_value() && drain->of_core);
  const auto undrain = choose_command(call("undrain"), kPlugin);
  assert_true(undrain.has_value() && undrain->of_core);
  // This plugin has none of its own.
  expect_wrong(call("undrain", {{"backend", "b1"}}), Outcome::wrong, "undrain takes no arguments, not \"backend\"");
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test(arguments_are_read_word_by_word),
      cmocka_unit_test(declarations_without_sense_are_refused),
      cmocka_unit_test(a_call_is_checked_against_its_declaration),
      cmocka_unit_test(drain_without_arguments_is_cores),
  };
  return cmocka_run_group_tests_name("core.plugin.commands", tests, nullptr, nullptr);
}
