#include "script/script.h"

#include "plugin/registry.h"
#include "stats/service_stats.h"

#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>

#include "support/cmocka.h"
#include "support/contract_stubs.h"

using namespace portolan;

namespace {

class FakeStream final : public testing::StubStream {
 public:
  explicit FakeStream(std::uint64_t id) : id_(id) {}
  SessionInfo info() const noexcept override {
    ++asked_;
    return {id_, "192.0.2.7:4711", Transport::tcp};
  }
  int asked() const { return asked_; }

 private:
  std::uint64_t id_;
  mutable int asked_ = 0;
};

// One service whose hooks are the given Lua; kept in a fixture's state, so that a failing assert leaks nothing.
struct Fixture {
  Configuration configuration;
  ServiceConfiguration service;
  std::unique_ptr<WorkerStats> stats = std::make_unique<WorkerStats>(0);
  std::unique_ptr<Script> script;
  std::string error;
  Hook* hook = nullptr;

  void load(const std::string& before, const std::string& keys, const std::string& name = "on_line") {
    configuration.file = "c.lua";
    configuration.source = before + "\nreturn { services = { {}, { " + keys + " } } }";
    service.name = "web";
    service.index = 1;
    hook = nullptr;
    script.reset();
    auto result = Script::load(configuration);
    if (!result) {
      error = result.error();
      return;
    }
    script = std::move(*result);
    hook = script->hook(service, name, *stats);
  }
  std::uint64_t calls() { return (*stats)[CoreCounter::hook_calls].value(); }
  std::uint64_t failures() { return (*stats)[CoreCounter::hook_failures].value(); }
};

int set_up(void** state) {
  *state = new Fixture;
  return 0;
}
int tear_down(void** state) {
  delete static_cast<Fixture*>(*state);
  return 0;
}
Fixture& fixture(void** state) { return *static_cast<Fixture*>(*state); }

// The first result as text, for comparing.
std::string call(Fixture& f, std::string_view line) {
  const HookValue arguments[] = {HookValue::of(line)};
  HookValue results[2];
  if (f.hook == nullptr) return "no hook";
  if (f.hook->call(arguments, results) == Hook::Outcome::failed) return "failed";
  if (results[0].kind == HookValue::Kind::text) return std::string(results[0].text);
  return results[0].kind == HookValue::Kind::nil ? "nil" : "other";
}

void a_function_is_called(void** state) {
  Fixture& f = fixture(state);
  f.load("local greeting = 'hi '", "on_line = function(line) return greeting .. line end");
  assert_non_null(f.hook);
  assert_string_equal(call(f, "you").c_str(), "hi you");
  assert_string_equal(call(f, std::string_view("a\0b", 3)).substr(3).c_str(), "a");
  assert_int_equal(f.calls(), 2);
  assert_int_equal(f.failures(), 0);
  assert_true(f.script->time_spent() > Duration::zero());
}

void what_is_not_there_is_null(void** state) {
  Fixture& f = fixture(state);
  f.load("", "on_line = function() end");
  assert_null(f.script->hook(f.service, "on_frame", *f.stats));
  assert_ptr_equal(f.script->hook(f.service, "on_line", *f.stats), f.hook);
  f.service.index = 0;
  f.service.name = "other";
  assert_null(f.script->hook(f.service, "on_line", *f.stats));
  f.service.index = 7;
  assert_null(f.script->hook(f.service, "on_line", *f.stats));
}

void values_of_all_kinds_go_through(void** state) {
  Fixture& f = fixture(state);
  f.load("", "on_line = function(...) return ... end");
  const HookValue arguments[] = {
      {},
      {.kind = HookValue::Kind::boolean, .boolean = true},
      HookValue::of(std::int64_t{-7}),
      {.kind = HookValue::Kind::number, .number = 1.5},
      HookValue::of(std::string_view("text")),
  };
  HookValue results[7];
  results[6].kind = HookValue::Kind::text;
  assert_true(f.hook->call(arguments, results) == Hook::Outcome::returned);
  assert_true(results[0].kind == HookValue::Kind::nil);
  assert_true(results[1].kind == HookValue::Kind::boolean && results[1].boolean);
  assert_true(results[2].kind == HookValue::Kind::integer && results[2].integer == -7);
  assert_true(results[3].kind == HookValue::Kind::number && results[3].number == 1.5);
  assert_true(results[4].kind == HookValue::Kind::text && results[4].text == "text");
  assert_true(results[5].kind == HookValue::Kind::nil && results[6].kind == HookValue::Kind::nil);
  // Fewer results than the function returns are as good as more.
  HookValue one[1];
  assert_true(f.hook->call(std::span(arguments).subspan(3), one) == Hook::Outcome::returned);
  assert_true(one[0].number == 1.5);
}

void a_record_is_a_table(void** state) {
  Fixture& f = fixture(state);
  f.load("", "on_line = function(file, s) return file.name .. ' ' .. file.size .. ' ' .. tostring(file.absent) end");
  const HookField inner[] = {{"name", HookValue::of(std::string_view("a.jpg"))},
                             {"size", HookValue::of(std::int64_t{1} << 40)}};
  const HookValue arguments[] = {HookValue::of(std::span<const HookField>(inner))};
  HookValue results[1];
  assert_true(f.hook->call(arguments, results) == Hook::Outcome::returned);
  assert_string_equal(std::string(results[0].text).c_str(), "a.jpg 1099511627776 nil");
  const HookValue empty[] = {HookValue::of(std::span<const HookField>())};
  assert_true(f.hook->call(empty, results) == Hook::Outcome::failed);
}

void a_session_is_a_table_that_stays_the_same(void** state) {
  Fixture& f = fixture(state);
  f.load("local last",
         "on_line = function(line, s) local same = s == last last = s "
         "return s.id .. ' ' .. s.peer .. ' ' .. s.transport .. ' ' .. s.service .. ' ' .. tostring(same) end");
  const FakeStream one(1);
  const FakeStream two(2);
  HookValue results[1];
  const auto ask = [&](const Stream& stream) {
    const HookValue arguments[] = {HookValue::of(std::string_view("x")), HookValue::of(stream)};
    if (f.hook->call(arguments, results) == Hook::Outcome::failed) return std::string("failed");
    return std::string(results[0].text);
  };
  const std::string first = ask(one);
  const std::string second = ask(one);
  const std::string third = ask(two);
  assert_string_equal(first.c_str(), "1 192.0.2.7:4711 tcp web false");
  assert_string_equal(second.c_str(), "1 192.0.2.7:4711 tcp web true");
  assert_string_equal(third.c_str(), "2 192.0.2.7:4711 tcp web false");
}

void arguments_that_nobody_takes_are_not_made(void** state) {
  Fixture& f = fixture(state);
  f.load("", "on_line = function(line) return line end");
  const FakeStream stream(1);
  const HookValue arguments[] = {HookValue::of(std::string_view("x")), HookValue::of(stream)};
  HookValue results[1];
  assert_true(f.hook->call(arguments, results) == Hook::Outcome::returned);
  assert_int_equal(stream.asked(), 0);
}

void failures_are_counted_and_the_next_call_works(void** state) {
  Fixture& f = fixture(state);
  f.configuration.script_memory = 1U << 20U;
  f.load("local function inner(x) error('boom ' .. x) end",
         "on_line = function(line)\n"
         " if line == 'error' then inner(line) end\n"
         " if line == 'loop' then while true do end end\n"
         " if line == 'pcall' then while true do pcall(function() while true do end end) end end\n"
         " if line == 'memory' then local t = {} for i = 1, 1e9 do t[i] = i .. 'x' end end\n"
         " if line == 'table' then return {} end\n"
         " if line == 'close' then local x <close> = setmetatable({}, { __close = function() while true do end end }) "
         "error('x') end\n"
         " return line end");
  std::uint64_t failed = 0;
  for (int round = 0; round < 3; ++round) {
    for (const char* what : {"error", "loop", "pcall", "memory", "table", "close"}) {
      assert_string_equal(call(f, what).c_str(), "failed");
      assert_int_equal(f.failures(), ++failed);
      assert_string_equal(call(f, "good").c_str(), "good");
      assert_int_equal(f.failures(), failed);
    }
  }
}

void an_argument_over_the_memory_fails_the_call_alone(void** state) {
  Fixture& f = fixture(state);
  f.configuration.script_memory = 1U << 20U;
  f.load("", "on_line = function(line) return #line > 0 and 'got' or 'empty' end");
  const std::string large(std::size_t{2} << 20U, 'x');
  assert_string_equal(call(f, large).c_str(), "failed");
  assert_string_equal(call(f, "x").c_str(), "got");
  assert_int_equal(f.failures(), 1);
}

void state_lasts_between_calls(void** state) {
  Fixture& f = fixture(state);
  f.load("count = 0", "on_line = function() count = count + 1 return tostring(count) end");
  call(f, "x");
  assert_string_equal(call(f, "x").c_str(), "2");
}

void a_file_that_fails_says_where(void** state) {
  Fixture& f = fixture(state);
  f.load("\nerror('not today')", "");
  assert_null(f.script.get());
  assert_string_equal(f.error.c_str(), "c.lua:2: not today");
  f.error.clear();
  f.configuration.script_memory = 1024;
  f.load("", "");
  assert_true(f.error.find("too small") != std::string::npos);
}

void many_calls_do_not_grow_the_state(void** state) {
  Fixture& f = fixture(state);
  f.configuration.script_memory = 512U << 10U;
  f.load("", "on_line = function(line, s) return line .. s.id end");
  for (std::uint64_t id = 1; id <= 100'000; ++id) {
    const FakeStream stream(id);
    const HookValue arguments[] = {HookValue::of(std::string_view("line")), HookValue::of(stream)};
    HookValue results[1];
    if (f.hook->call(arguments, results) == Hook::Outcome::failed) fail_msg("call %d", static_cast<int>(id));
  }
}

void the_price_of_a_call(void** state) {
  Fixture& f = fixture(state);
  f.load("", "on_line = function(line) return line end");
  constexpr int kCalls = 200'000;
  const HookValue arguments[] = {HookValue::of(std::string_view("hello world"))};
  HookValue results[1];
  const auto start = std::chrono::steady_clock::now();
  for (int round = 0; round < kCalls; ++round) f.hook->call(arguments, results);
  const std::chrono::duration<double, std::nano> spent = std::chrono::steady_clock::now() - start;
  std::printf("a call of a hook takes %.0f ns here\n", spent.count() / kCalls);
  assert_int_equal(f.failures(), 0);
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(a_function_is_called, set_up, tear_down),
      cmocka_unit_test_setup_teardown(what_is_not_there_is_null, set_up, tear_down),
      cmocka_unit_test_setup_teardown(values_of_all_kinds_go_through, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_record_is_a_table, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_session_is_a_table_that_stays_the_same, set_up, tear_down),
      cmocka_unit_test_setup_teardown(arguments_that_nobody_takes_are_not_made, set_up, tear_down),
      cmocka_unit_test_setup_teardown(failures_are_counted_and_the_next_call_works, set_up, tear_down),
      cmocka_unit_test_setup_teardown(an_argument_over_the_memory_fails_the_call_alone, set_up, tear_down),
      cmocka_unit_test_setup_teardown(state_lasts_between_calls, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_file_that_fails_says_where, set_up, tear_down),
      cmocka_unit_test_setup_teardown(many_calls_do_not_grow_the_state, set_up, tear_down),
      cmocka_unit_test_setup_teardown(the_price_of_a_call, set_up, tear_down),
  };
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
