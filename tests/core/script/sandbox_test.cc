#include "script/sandbox.h"

#include <lua.hpp>

#include <cstdio>
#include <new>
#include <string>
#include <string_view>

#include "support/cmocka.h"

using namespace portolan;

namespace {

constexpr std::size_t kMemory = std::size_t{8} << 20U;
constexpr std::uint64_t kInstructions = 3'000'000;

// What the chunk returned as text, or "! " and the error.
std::string run(const std::string& source, std::uint64_t instructions = kInstructions) {
  Sandbox sandbox({.memory = kMemory, .memory_hint = {}, .instructions_hint = {}});
  if (auto result = sandbox.run("c.lua", source, instructions); !result) return "! " + result.error();
  std::size_t length = 0;
  const char* text = luaL_tolstring(sandbox.state(), -1, &length);
  return {text, length};
}

void expect(const std::string& source, std::string_view part) {
  const std::string text = run(source);
  if (text.find(part) != std::string::npos) return;
  std::fprintf(stderr, "%s\nexpected: %.*s\nfound:    %s\n", source.c_str(), static_cast<int>(part.size()), part.data(),
               text.substr(0, 300).c_str());
  fail();
}

void only_harmless_names_are_there(void**) {
  expect(
      "local names = {} for name in pairs(_G) do names[#names + 1] = name end table.sort(names) "
      "return table.concat(names, ' ')",
      "_G _VERSION assert error getmetatable ipairs math next pairs pcall portolan print rawequal rawget rawlen rawset "
      "select setmetatable string table tonumber tostring type utf8");
  expect("return tostring(string.dump)", "nil");
  expect("return #('x'):rep(3, ',')", "5");
  expect("return type(portolan.now())", "number");
  expect("portolan.log('a') print('b', 1, nil) return 'ok'", "ok");
}

void bytecode_is_refused(void**) { expect("\x1bLuaT", "attempt to load a binary chunk"); }

void finalizers_are_refused(void**) {
  expect("return setmetatable({}, { __gc = function() end })", "__gc is not allowed");
  expect("return #setmetatable({}, { __len = function() return 7 end })", "7");
}

// Each of these would run for minutes or for ever, were it not stopped.
void loops_are_stopped_where_they_loop(void**) {
  expect("\n\nwhile true do end", "! c.lua:3: stopped after 3,000,000 instructions");
  expect("local function f() return f() end f()", "stopped after");
  expect("\nwhile true do pcall(function()\n while true do end end) end", "stopped after");
  expect("while true do pcall(error) end", "c.lua:1: stopped after");
  expect("repeat local ok = pcall(string.rep, 'x', 1 << 40) until false", "stopped after");
  expect("local x <close> = setmetatable({}, { __close = function() while true do end end }) while true do end",
         "stopped after");
  expect("return ('a'):rep(30000):find(('a*'):rep(30) .. 'b')", "stopped after");
  expect("return ('a'):rep(30000):match('(.-)(.-)(.-)b')", "stopped after");
  expect("return ('a'):rep(30000):gsub('.-.-.-b', '')", "stopped after");
  expect("for a in ('a'):rep(30000):gmatch('.-.-.-b') do end", "stopped after");
  // A long set is looked through for every character.
  expect("return ('a'):rep(100000):match('[' .. ('b'):rep(1 << 20) .. ']*x')", "stopped after");
  expect("return ('a'):rep(100000):find('%f[' .. ('b'):rep(1 << 20) .. ']')", "stopped after");
  expect("local p = ('b'):rep(1 << 20) while true do local x = ('a'):find(p) end", "stopped after");
  expect("return string.rep('', 1 << 60)", "");
  expect("return table.move({}, 1, 1 << 60, 2)", "stopped after");
  expect("return table.concat({}, '', 1, 1 << 60)", "stopped after");
  expect("return table.insert(setmetatable({}, { __len = function() return 1 << 60 end }), 1, 2)", "__len");
  expect("local s = ('x'):rep(1 << 20) while true do local t = s .. 'y' end", "stopped after");
  expect("local s = ('x'):rep(1 << 20) while true do s:upper() end", "stopped after");
  expect("local t = table.pack(('x'):rep(20000):byte(1, -1)) while true do table.unpack(t) end", "stopped after");
}

void processor_time_is_the_last_resort(void**) {
  Sandbox sandbox({.memory = kMemory, .memory_hint = {}, .instructions_hint = {}});
  assert_true(sandbox
                  .run("c.lua",
                       "local a, b = ('x'):rep(1 << 20), ('x'):rep(1 << 20) .. 'y'\n"
                       "return function() while a < b do end end",
                       kInstructions)
                  .has_value());
  lua_State* state = sandbox.state();
  sandbox.begin(state, 1'000'000'000, std::chrono::milliseconds(50));
  const int status = lua_pcall(state, 0, 0, 0);
  sandbox.end();
  const std::string text = sandbox.failure(state, status);
  assert_int_not_equal(status, LUA_OK);
  assert_string_equal(text.c_str(), "c.lua:2: stopped after 50ms of processor time: does it loop without end?");
}

// An instruction that walks along megabytes counts as one: the clock is looked at all the more often. It is counted how
// often one comes to it in a time that is over after the first: three looks later it ends.
void long_texts_do_not_delay_the_clock(void**) {
  // Made before the run, and in it.
  for (const char* source :
       {"n, text = 0, ('9'):rep(4 << 20) return function() while true do n = n + 1 local x = text + 1 end end",
        "n = 0 return function() local t = ('8'):rep(4 << 20) while true do n = n + 1 local x = t + 1 end end"}) {
    Sandbox sandbox({.memory = std::size_t{64} << 20U, .memory_hint = {}, .instructions_hint = {}});
    lua_State* state = sandbox.state();
    assert_true(sandbox.run("c.lua", source, 1'000'000).has_value());
    lua_State* running = lua_newthread(state);
    lua_pushvalue(state, -2);
    lua_xmove(state, running, 1);
    int results = 0;
    sandbox.begin(running, 1'000'000, std::chrono::milliseconds(1));
    assert_int_equal(lua_resume(running, state, 0, &results), LUA_ERRRUN);
    sandbox.end();
    lua_getglobal(state, "n");
    assert_in_range(lua_tointeger(state, -1), 0, 20);
  }
}

void growth_is_stopped_where_it_grows(void**) {
  expect("local t = {}\nfor i = 1, 1e9 do\n  t[i] = i .. '' end", "! c.lua:3: stopped at 8MiB of memory");
  expect("local s = 'x'\nwhile true do s = s .. s end", "! c.lua:2: stopped at 8MiB of memory");
  expect("return ('x'):rep(1 << 24)", "stopped at 8MiB of memory");
  expect("local ok, why = pcall(string.rep, 'x', 1 << 24) return why", "not enough memory");
}

void a_budget_that_suffices_changes_nothing(void**) {
  expect("local n = 0 for i = 1, 500000 do n = n + 1 end return n", "500000");
  expect("local ok, why = pcall(error, 'mine') return why", "mine");
}

void memory_is_returned(void**) {
  std::size_t before = 0;
  std::size_t after = 0;
  {
    Sandbox sandbox({.memory = kMemory, .memory_hint = {}, .instructions_hint = {}});
    before = sandbox.memory_used();
    for (int round = 0; round < 20; ++round) {
      if (sandbox.run("c.lua", "local t = {} for i = 1, 1e9 do t[i] = {} end", 100'000'000)) fail();
    }
    sandbox.collect_garbage();
    after = sandbox.memory_used();
  }
  assert_in_range(after, 1, before + 50'000);
}

// A C++ exception out of a function that Lua calls: it ends that run as an error does, and the state goes on.
void a_function_that_throws_ends_its_run_alone(void**) {
  Sandbox sandbox({.memory = kMemory, .memory_hint = {}, .instructions_hint = {}});
  lua_pushcfunction(sandbox.state(), [](lua_State*) -> int { throw std::bad_alloc(); });
  lua_setglobal(sandbox.state(), "broken");
  const auto failed = sandbox.run("c.lua", "local x = 1\nbroken()\nreturn 1", kInstructions);
  assert_false(failed.has_value());
  assert_false(failed.error().empty());
  assert_true(sandbox.run("c.lua", "return pcall(broken) == false and 5", kInstructions).has_value());
  assert_int_equal(lua_tointeger(sandbox.state(), -1), 5);
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test(only_harmless_names_are_there),
      cmocka_unit_test(bytecode_is_refused),
      cmocka_unit_test(finalizers_are_refused),
      cmocka_unit_test(loops_are_stopped_where_they_loop),
      cmocka_unit_test(processor_time_is_the_last_resort),
      cmocka_unit_test(long_texts_do_not_delay_the_clock),
      cmocka_unit_test(growth_is_stopped_where_it_grows),
      cmocka_unit_test(a_budget_that_suffices_changes_nothing),
      cmocka_unit_test(memory_is_returned),
      cmocka_unit_test(a_function_that_throws_ends_its_run_alone),
  };
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
