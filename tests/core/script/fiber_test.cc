#include "script/fiber.h"

#include "script/sandbox.h"

#include <lua.hpp>

#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "support/cmocka.h"

using namespace portolan;

namespace {

// Two that hand each other the turn, each with an object on its stack.
struct Walk {
  std::unique_ptr<Fiber> fiber = Fiber::make();
  std::vector<int>* steps = nullptr;
  int from = 0;
  int destroyed = 0;
};

void walk(void* pointer) noexcept {
  Walk& self = *static_cast<Walk*>(pointer);
  struct Noted {
    ~Noted() { ++walk.destroyed; }
    Walk& walk;
  } noted{self};
  for (int step = 0; step < 3; ++step) {
    self.steps->push_back(self.from + step);
    self.fiber->wait();
  }
}

void two_take_turns_and_can_be_used_again(void**) {
  std::vector<int> steps;
  Walk one{.steps = &steps, .from = 10};
  Walk two{.steps = &steps, .from = 20};
  for (int round = 1; round <= 2; ++round) {
    steps.clear();
    assert_false(one.fiber->alive());
    assert_false(one.fiber->start(&walk, &one));
    assert_false(two.fiber->start(&walk, &two));
    for (int step = 0; step < 2; ++step) {
      assert_true(one.fiber->alive());
      assert_false(one.fiber->resume());
      assert_false(two.fiber->resume());
    }
    assert_true(one.fiber->resume());
    assert_true(two.fiber->resume());
    assert_false(two.fiber->alive());
    assert_true((steps == std::vector{10, 20, 11, 21, 12, 22}));
    assert_int_equal(one.destroyed, round);
  }
}

// One is resumed by another, as a task is that ends in the middle of the turn of its neighbour.
struct Nested {
  std::unique_ptr<Fiber> fiber = Fiber::make();
  Walk inner;
  bool ended = false;
};

void nest(void* pointer) noexcept {
  Nested& self = *static_cast<Nested*>(pointer);
  self.inner.fiber->resume();
  self.fiber->wait();
  while (!self.inner.fiber->resume()) continue;
  self.ended = true;
}

void one_may_resume_another(void**) {
  std::vector<int> steps;
  Nested outer;
  outer.inner.steps = &steps;
  assert_false(outer.inner.fiber->start(&walk, &outer.inner));
  assert_false(outer.fiber->start(&nest, &outer));
  assert_true(outer.fiber->resume());
  assert_true(outer.ended);
  assert_int_equal(outer.inner.destroyed, 1);
}

// What a script's exceptions, which are Lua's errors, do on it: they are caught there.
void throw_on(void* pointer) noexcept {
  Walk& self = *static_cast<Walk*>(pointer);
  for (int step = 0; step < 2; ++step) {
    try {
      self.fiber->wait();
      throw std::string("far from short enough to be kept in place");
    } catch (const std::string& text) {
      self.from += static_cast<int>(text.size());
    }
    self.fiber->wait();
  }
}

void exceptions_stay_inside(void**) {
  Walk one;
  Walk two;
  assert_false(one.fiber->start(&throw_on, &one));
  assert_false(two.fiber->start(&throw_on, &two));
  for (int step = 0; step < 3; ++step) {
    assert_false(one.fiber->resume());
    assert_false(two.fiber->resume());
  }
  assert_true(two.fiber->resume());
  assert_true(one.fiber->resume());
  assert_int_equal(one.from, 82);
}

// ---- How deep a script gets -------------------------------------------------------------------------------------

struct Script {
  std::unique_ptr<Fiber> fiber = Fiber::make();
  Sandbox sandbox{{.memory = std::size_t{64} << 20U, .memory_hint = {}, .instructions_hint = {}}};
  int status = -1;
};

void run_script(void* pointer) noexcept {
  Script& self = *static_cast<Script*>(pointer);
  lua_State* thread = lua_newthread(self.sandbox.state());
  lua_pushvalue(self.sandbox.state(), 1);
  lua_xmove(self.sandbox.state(), thread, 1);
  int results = 0;
  self.sandbox.begin(thread, 50'000'000, std::chrono::seconds(60));
  self.status = lua_resume(thread, self.sandbox.state(), 0, &results);
  self.sandbox.end();
}

// The page below a stack is a crash of the daemon: Lua's limits have to come first, by far.
void no_script_fills_it(void**) {
  constexpr const char* kDeep[] = {
      "local function f() return (('x'):gsub('x', f)) end f()",
      "local function f() return (('x'):gsub('(x)', function(a) return f() .. a end)) end f()",
      "local t = setmetatable({}, { __tostring = function(t) return tostring(t) end }) tostring(t)",
      "local t = setmetatable({}, { __tostring = function(t) return ('%s %s'):format(t, t) end }) tostring(t)",
      "local t = setmetatable({}, { __tostring = function(t) print(t, t) return '' end }) tostring(t)",
      "local function f() table.sort({ 1, 2, 3, 4, 5 }, f) end f()",
      "local function f() return pcall(f) end f()",
      "local function f() return select(2, pcall(f)) end f()",
      "local t t = setmetatable({}, { __index = function(t, k) return t[k .. 'x'] end }) return t.a",
      "local t t = setmetatable({}, { __newindex = function(t, k, v) t[k .. 'x'] = v end }) t.a = 1",
      "local t t = setmetatable({}, { __concat = function(a, b) return a .. b end }) return t .. t",
      "local t t = setmetatable({}, { __lt = function(a, b) return a < b end }) return t < t",
      "local t t = setmetatable({}, { __eq = function(a, b) return a == b end }) return t == setmetatable({}, "
      "getmetatable(t))",
      "local t t = setmetatable({}, { __call = function(t) return t() + 1 end }) return t()",
      "local t t = setmetatable({}, { __pairs = function(t) for _ in pairs(t) do end end }) for _ in pairs(t) do end",
      "local t t = setmetatable({}, { __close = function() local u <close> = t end }) local u <close> = t",
      "local function f() for _ in f do end return 1 end f()",
      "local function f(n) return f(n + 1) + 1 end f(0)",
      "return (('a'):rep(200000)):find('.-b')",
      "return (('a'):rep(200000)):find(('a?'):rep(3000) .. 'b')",
      "return (('('):rep(200000)):find('%b()')",
      "return (('x'):rep(100)):gsub(('(x)'):rep(32), function() return nil end)",
      "local t = {} for i = 1, 100000 do t = { t } end return portolan.json.encode(t)",
      "return portolan.json.decode(('['):rep(100000))",
      "local t = {} for i = 1, 1e5 do t[i] = 'x' end return table.concat(t)",
      "return string.pack(('s'):rep(100), table.unpack((function() local t = {} for i = 1, 100 do t[i] = 'y' end "
      "return t end)()))",
      // Every level with the largest frames that there are.
      "local t t = setmetatable({}, { __tostring = function() return (('x'):gsub('x', function() table.sort({ 1, 2 }, "
      "function() return tostring(t) end) end)) end }) return tostring(t)",
      "local f function f() return ('%s'):format(setmetatable({}, { __tostring = function() return (('x'):gsub('x', "
      "f)) end })) end f()",
      "local function f() local ok, why = pcall(f) if not ok then error(why .. tostring(setmetatable({}, { __tostring "
      "= "
      "f })), 0) end end f()",
  };
  std::size_t most = 0;
  for (const char* source : kDeep) {
    Script script;
    const auto made = script.sandbox.run("c.lua", std::string("return function() ") + source + "\nend", 1000);
    if (!made) fail_msg("%s: %s", source, made.error().c_str());
    assert_true(script.fiber->start(&run_script, &script));
    assert_true(script.status >= 0);
    const std::size_t used = script.fiber->most_used();
    if (used > most) std::printf("%zu KiB: %s\n", used / 1024, source);
    most = std::max(most, used);
  }
  // It saw something at all; and half of the stack is left.
  assert_true(most > 16 * 1024UL);
  assert_true(most <= Fiber::stack_size() / 2);
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test(two_take_turns_and_can_be_used_again),
      cmocka_unit_test(one_may_resume_another),
      cmocka_unit_test(exceptions_stay_inside),
      cmocka_unit_test(no_script_fills_it),
  };
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
