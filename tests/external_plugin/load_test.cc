// Loads what tests/external_plugin/CMakeLists.txt built against the installed headers. PORTOLAN_EXTERNAL_PLUGINS names
// the folder of the shared objects.
#include "config/configuration.h"
#include "plugin/registry.h"
#include "script/script.h"
#include "stats/service_stats.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>

#include "support/cmocka.h"
#include "support/contract_stubs.h"

using namespace portolan;

namespace {

std::string folder() {
  const char* value = std::getenv("PORTOLAN_EXTERNAL_PLUGINS");
  return value == nullptr ? "" : value;
}

std::string configuration_of(const std::string& services) {
  return "return { plugin_path = \"" + folder() + "\", services = { " + services + " } }";
}

std::string problems_of(const std::string& services) {
  Registry registry;
  const auto result = parse_configuration("x.lua", configuration_of(services), registry, "/s");
  return result ? "" : format_problems("x.lua", result.error());
}

bool has(const std::string& text, std::string_view part) {
  if (text.find(part) != std::string::npos) return true;
  std::fprintf(stderr, "expected: %.*s\nfound:    %s\n", static_cast<int>(part.size()), part.data(), text.c_str());
  return false;
}

class TextProblems final : public Problems {
 public:
  void add(std::string_view key, std::string_view message) noexcept override {
    text += std::string(key) + ": " + std::string(message);
  }
  std::string text;
};

class TestStream final : public testing::StubStream {
 public:
  void write(std::span<const std::byte> data) noexcept override {
    written.append(reinterpret_cast<const char*>(data.data()), data.size());
  }
  SessionInfo info() const noexcept override { return {1, "unix", Transport::unix_stream}; }
  std::string written;
};

class TestContext final : public testing::StubContext {
 public:
  void count(std::size_t counter, std::uint64_t by) noexcept override { counted += by * (counter + 1); }
  Hook* hook(std::string_view name) noexcept override {
    return script == nullptr ? nullptr : script->hook(*service, name, stats);
  }

  Script* script = nullptr;
  const ServiceConfiguration* service = nullptr;
  WorkerStats stats{1};
  std::uint64_t counted = 0;
};

void each_bad_one_is_refused_with_one_sentence(void**) {
  Registry registry;
  const std::size_t built_in = registry.all().size();
  const auto refused = registry.load(folder());
  assert_int_equal(refused.size(), 2);
  assert_true(has(refused[0], "no_symbol.so is refused: it is no plugin: it does not export portolan_plugin"));
  assert_true(has(refused[1], fmt::format("wrong_version.so is refused: it was built for version {} of the plugin "
                                          "contract, and this is version {}",
                                          kContractVersion + 1, kContractVersion)));
  assert_int_equal(registry.all().size(), built_in + 2);
  assert_non_null(registry.find("greeter"));
  assert_non_null(registry.find("failing_make"));
  assert_non_null(registry.find("echo"));
  assert_null(registry.find("wrong_version"));
}

void loading_twice_changes_nothing(void**) {
  Registry registry;
  assert_true(registry.load(folder() + "/greeter.so").empty());
  const std::size_t count = registry.all().size();
  assert_true(registry.load(folder() + "/../plugins/greeter.so").empty());
  assert_int_equal(registry.all().size(), count);
}

void what_is_no_library_is_refused(void**) {
  char temporary[] = "/tmp/portolan-plugins-XXXXXX";
  assert_non_null(mkdtemp(temporary));
  const std::string broken = std::string(temporary) + "/broken.so";
  const std::string copy = std::string(temporary) + "/copy.so";
  {
    std::ofstream(broken) << "not a library";
  }
  {
    std::ofstream(copy, std::ios::binary) << std::ifstream(folder() + "/greeter.so", std::ios::binary).rdbuf();
  }
  Registry registry;
  const auto first = registry.load(broken);
  const auto missing = registry.load(std::string(temporary) + "/none.so");
  registry.load(folder() + "/greeter.so");
  const auto taken = registry.load(copy);
  unlink(broken.c_str());
  unlink(copy.c_str());
  rmdir(temporary);
  assert_int_equal(first.size(), 1);
  assert_true(has(first[0], "broken.so is refused: it cannot be loaded: "));
  assert_int_equal(missing.size(), 1);
  assert_true(has(missing[0], "there is no such file or folder"));
  assert_int_equal(taken.size(), 1);
  assert_true(has(taken[0], "there is another plugin named \"greeter\""));
}

void its_schema_is_checked_like_any(void**) {
  assert_string_equal(problems_of("{ plugin = \"greeter\", listen = \"tcp://127.0.0.1:0\" }").c_str(), "");
  assert_true(has(problems_of("{ plugin = \"greeter\", listen = \"tcp://127.0.0.1:0\", greating = \"x\" }"),
                  "services[1].greating: unknown key; did you mean \"greeting\"?"));
  assert_true(has(problems_of("{ plugin = \"greeter\", listen = \"tcp://127.0.0.1:0\", greeting = \"\" }"),
                  "the text \"\" is 0 bytes long: expected 1 to 64 bytes"));
  assert_true(has(problems_of("{ plugin = \"greeter\", listen = \"udp://127.0.0.1:0\" }"),
                  "does not serve udp (\"udp://127.0.0.1:0\"); it serves tcp://, unix://"));
  assert_true(has(problems_of("{ plugin = \"greeter\", listen = \"tcp://127.0.0.1:0\", pause = { every = \"2h\" } }"),
                  "services[1].pause.every: the text \"2h\" is out of range: expected 1s to 1h"));
  assert_true(has(problems_of("{ plugin = \"greeter\", listen = \"tcp://127.0.0.1:0\", pause = { evry = \"2s\" } }"),
                  "services[1].pause.evry: unknown key; did you mean \"every\"?"));
  assert_true(has(problems_of("{ plugin = \"greeter\", listen = \"tcp://127.0.0.1:0\", pause = { every = \"1s\" } }"),
                  "services[1].pause.for: must be shorter than pause.every"));
  assert_true(has(problems_of("{ plugin = \"greeter\", listen = \"tcp://127.0.0.1:0\", friends = { \"nobody\" } }"),
                  "services[1].friends[1]: "));
}

void a_service_of_a_refused_plugin_is_a_problem(void**) {
  assert_true(has(problems_of("{ plugin = \"wrong_version\" }"), "there is no plugin \"wrong_version\""));
}

void it_serves(void**) {
  Registry registry;
  const auto configuration = parse_configuration(
      "x.lua",
      configuration_of("{ plugin = \"greeter\", listen = \"tcp://127.0.0.1:0\", greeting = \"good day \","
                       " on_greet = function(t) if t == \"bye\" then return \"farewell\" end end }"),
      registry, "/s");
  assert_true(configuration.has_value());
  const auto script = Script::load(*configuration);
  assert_true(script.has_value());
  const ServiceConfiguration& service = configuration->services.at(0);
  TestContext context;
  context.script = script->get();
  context.service = &service;
  TextProblems problems;
  const std::unique_ptr<Service> made(service.plugin->make(context, *service.options, problems));
  assert_non_null(made.get());
  TestStream stream;
  StreamHandler* handler = made->open(stream);
  assert_non_null(handler);
  const auto send = [&](std::string_view text) {
    stream.written.clear();
    handler->on_data(stream, std::as_bytes(std::span(text.data(), text.size())));
    return stream.written;
  };
  const std::string first = send("you");
  const std::string second = send("bye");
  assert_string_equal(first.c_str(), "good day you");
  assert_string_equal(second.c_str(), "farewell");
  assert_int_equal(context.counted, 2);
}

void one_that_cannot_make_says_why(void**) {
  Registry registry;
  const auto configuration = parse_configuration(
      "x.lua", configuration_of("{ plugin = \"failing_make\", listen = \"tcp://127.0.0.1:0\" }"), registry, "/s");
  assert_true(configuration.has_value());
  const ServiceConfiguration& service = configuration->services.at(0);
  TestContext context;
  TextProblems problems;
  assert_null(service.plugin->make(context, *service.options, problems));
  assert_string_equal(problems.text.c_str(),
                      ": the device /dev/none is not there: connect it, or leave this service out");
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test(each_bad_one_is_refused_with_one_sentence),
      cmocka_unit_test(loading_twice_changes_nothing),
      cmocka_unit_test(what_is_no_library_is_refused),
      cmocka_unit_test(its_schema_is_checked_like_any),
      cmocka_unit_test(a_service_of_a_refused_plugin_is_a_problem),
      cmocka_unit_test(it_serves),
      cmocka_unit_test(one_that_cannot_make_says_why),
  };
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
