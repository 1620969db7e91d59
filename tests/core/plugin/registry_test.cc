#include "plugin/registry.h"

#include <cstdio>
#include <string>

#include "support/cmocka.h"

using namespace portolan;

namespace {

Service* make_nothing(Context&, const Options&, Problems&) noexcept { return nullptr; }

constexpr Option kGoodOptions[] = {
    {.key = "mode", .type = OptionType::choice, .fallback = "a", .choices = "a|b"},
    {.key = "hosts", .type = OptionType::text, .fallback = "x,y", .list = true},
};
constexpr HookDeclaration kGoodHooks[] = {{.name = "on_line", .signature = "()", .help = "h"}};
constexpr CounterDeclaration kGoodCounters[] = {{.name = "lines", .help = "h"}};

constexpr Descriptor kGood = {
    .name = "good",
    .summary = "is as it should be",
    .options = kGoodOptions,
    .hooks = kGoodHooks,
    .counters = kGoodCounters,
    .make = make_nothing,
};

void expect_refused(const Descriptor& descriptor, std::string_view part) {
  const std::string text = Registry::check(descriptor);
  if (text.find(part) != std::string::npos) return;
  std::fprintf(stderr, "expected: %.*s\nfound:    %s\n", static_cast<int>(part.size()), part.data(), text.c_str());
  fail();
}

void expect_option_refused(const Option& option, std::string_view part) {
  Descriptor descriptor = kGood;
  descriptor.options = {&option, 1};
  expect_refused(descriptor, part);
}

void built_in_plugins_are_there_and_make_sense(void**) {
  const Registry registry;
  assert_true(registry.all().size() >= 2);
  assert_non_null(registry.find("echo"));
  assert_non_null(registry.find("binary"));
  assert_null(registry.find("ech"));
  assert_null(registry.find(""));
  for (const Descriptor* plugin : registry.all()) assert_string_equal(Registry::check(*plugin).c_str(), "");
}

void a_good_descriptor_passes(void**) { assert_string_equal(Registry::check(kGood).c_str(), ""); }

void descriptors_without_sense_are_refused(void**) {
  Descriptor bad = kGood;
  bad.contract_version = 7;
  expect_refused(bad, "built for version 7 of the plugin contract");
  bad = kGood;
  bad.name = "Bad Name";
  expect_refused(bad, "its name");
  bad = kGood;
  bad.name = {};
  expect_refused(bad, "its name");
  bad = kGood;
  bad.summary = {};
  expect_refused(bad, "summary");
  bad = kGood;
  bad.make = nullptr;
  expect_refused(bad, "make");
  bad = kGood;
  bad.transports = 128;
  expect_refused(bad, "transports");
  const HookDeclaration hooks[] = {{.name = "line", .signature = {}, .help = {}}};
  bad = kGood;
  bad.hooks = hooks;
  expect_refused(bad, "its hook \"line\" is not named on_something");
  const CounterDeclaration counters[] = {{.name = "a", .help = {}}, {.name = "a", .help = {}}};
  bad = kGood;
  bad.counters = counters;
  expect_refused(bad, "its counter \"a\" is declared twice");
}

void options_without_sense_are_refused(void**) {
  expect_option_refused({.key = "listen", .type = OptionType::text}, "is one that every service has");
  expect_option_refused({.key = "on_line", .type = OptionType::text}, "named like a hook");
  expect_option_refused({.key = "", .type = OptionType::text}, "has a name");
  expect_option_refused({.key = "a b", .type = OptionType::text}, "has a name");
  expect_option_refused({.key = "a", .type = OptionType::choice}, "a choice of nothing");
  expect_option_refused({.key = "a", .type = OptionType::choice, .fallback = "c", .choices = "a|b"}, "would refuse");
  expect_option_refused({.key = "a", .type = OptionType::duration, .fallback = "30"}, "would refuse");
  expect_option_refused({.key = "a", .type = OptionType::integer, .fallback = "9", .max = 8}, "would refuse");
  expect_option_refused({.key = "a", .type = OptionType::boolean, .fallback = "yes"}, "would refuse");
  expect_option_refused({.key = "a", .type = OptionType::integer, .min = 2, .max = 1}, "a range without a value");
  expect_option_refused({.key = "a", .type = OptionType::integer, .list = true}, "cannot be listed");
  expect_option_refused({.key = "a", .type = OptionType::table}, "a table without fields");
  expect_option_refused({.key = "a", .type = OptionType::text, .fallback = "x", .required = true}, "never used");
  expect_option_refused({.key = "a", .type = static_cast<OptionType>(99)}, "no known type");
  const Option fields[] = {{.key = "at", .type = OptionType::text}, {.key = "n", .type = OptionType::integer}};
  const Option demanding[] = {{.key = "at", .type = OptionType::text},
                              {.key = "name", .type = OptionType::text, .required = true}};
  constexpr auto kTable = OptionType::table;
  expect_option_refused({.key = "a", .type = kTable, .fields = fields, .short_key = "x"}, "none of its fields");
  expect_option_refused({.key = "a", .type = kTable, .fields = fields, .short_key = "n"}, "that is no text");
  expect_option_refused({.key = "a", .type = kTable, .fields = demanding, .short_key = "at"}, "a required key beside");
  expect_option_refused({.key = "a", .type = OptionType::text, .short_key = "at"}, "none of its fields");
  const Option twice[] = {{.key = "a", .type = OptionType::text}, {.key = "a", .type = OptionType::text}};
  Descriptor bad = kGood;
  bad.options = twice;
  expect_refused(bad, "declared twice");
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test(built_in_plugins_are_there_and_make_sense),
      cmocka_unit_test(a_good_descriptor_passes),
      cmocka_unit_test(descriptors_without_sense_are_refused),
      cmocka_unit_test(options_without_sense_are_refused),
  };
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
