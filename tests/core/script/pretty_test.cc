// How the console shows values: what is in tables, in which order, and what is left out.
#include "script/pretty.h"

#include "script/sandbox.h"

#include <lua.hpp>

#include <cstdio>
#include <string>
#include <string_view>

#include "support/cmocka.h"

using namespace portolan;

namespace {

constexpr std::uint64_t kInstructions = 3'000'000;

// What the chunk returns, as `show` has it; "! " and the error when there is one.
template <typename Show>
std::string shown(const std::string& source, Show show) {
  Sandbox sandbox({.memory = std::size_t{8} << 20U, .memory_hint = {}, .instructions_hint = {}});
  if (auto result = sandbox.run("c.lua", source, kInstructions); !result) return "! " + result.error();
  return show(sandbox.state());
}

std::string pretty_of(const std::string& source, const PrettyLimits& limits = {}) {
  return shown("return " + source, [&](lua_State* state) { return pretty(state, -1, limits); });
}
std::string rows_of(const std::string& source, const PrettyLimits& limits = {}) {
  return shown("return " + source, [&](lua_State* state) { return pretty_rows(state, -1, limits); });
}

void expect(const std::string& found, std::string_view wanted) {
  if (found != wanted)
    std::fprintf(stderr, "expected: %.*s\nfound:    %s\n", static_cast<int>(wanted.size()), wanted.data(),
                 found.c_str());
  assert_true(found == wanted);
}

void plain_values_are_as_luas_prompt_has_them(void**) {
  expect(pretty_of("nil"), "nil");
  expect(pretty_of("true"), "true");
  expect(pretty_of("3"), "3");
  expect(pretty_of("3.0"), "3.0");
  expect(pretty_of("2^63"), "9.2233720368548e+18");
  expect(pretty_of("'a \"b\"\\n'"), "a \"b\"\n");
  assert_true(pretty_of("print").starts_with("function: "));
  expect(pretty_of("setmetatable({}, { __tostring = function() return 'a thing' end })"), "a thing");
}

void tables_are_shown_with_what_is_in_them(void**) {
  expect(pretty_of("{}"), "{}");
  expect(pretty_of("{ 1, 'two', { 3 } }"), "{ 1, \"two\", { 3 } }");
  expect(pretty_of("{ 1, 2, [10] = 4, x = { y = {} } }"), "{ 1, 2, [10] = 4, x = { y = {} } }");
  // Its list, numbers, texts, booleans: each in order.
  expect(pretty_of("{ b = 1, a = 2, [-1] = 3, [1.5] = 4, [true] = 5, 'first', ['not a name'] = 6, ['end'] = 7 }"),
         "{\n  \"first\",\n  [-1] = 3,\n  [1.5] = 4,\n  a = 2,\n  b = 1,\n  [\"end\"] = 7,\n  [\"not a name\"] = 6,\n  "
         "[true] = 5,\n}");
  expect(pretty_of("{ [setmetatable({}, { __tostring = function() return 'key' end })] = 1 }"), "{ [key] = 1 }");
  expect(pretty_of("{ long = ('x'):rep(80), short = { 1 } }"),
         "{\n  long = \"" + std::string(80, 'x') + "\",\n  short = { 1 },\n}");
}

void what_controls_a_terminal_is_escaped(void**) {
  expect(pretty_of("{ '\\27[31mred\\0\\n\\t\\\\\"' }"), "{ \"\\027[31mred\\000\\n\\t\\\\\\\"\" }");
  // What is no UTF-8 byte by byte, what is as it is; U+009B begins a sequence as ESC [ does.
  expect(pretty_of("{ 'é€😀', '\\xff\\xc3', '\\xc2\\x9b', '\\xed\\xa0\\x80' }"),
         "{ \"é€😀\", \"\\255\\195\", \"\\194\\155\", \"\\237\\160\\128\" }");
  expect(pretty_of("{ ['\\27'] = 1 }"), "{ [\"\\027\"] = 1 }");
}

void a_table_within_itself_ends(void**) {
  expect(pretty_of("(function() local t = { n = 1 } t.self = t t.list = { t } return t end)()"),
         "{ list = { <cycle> }, n = 1, self = <cycle> }");
  // The same one twice is no cycle.
  expect(pretty_of("(function() local t = { 1 } return { t, t } end)()"), "{ { 1 }, { 1 } }");
}

void limits_are_said(void**) {
  expect(pretty_of("{ { { { 1 } } } }", {.depth = 2}), "{ { { … } } }");
  expect(pretty_of("{ { {} } }", {.depth = 2}), "{ { {} } }");
  expect(pretty_of("{ 1, 2, 3, 4, 5 }", {.entries = 3}), "{ 1, 2, 3, … 2 more }");
  expect(pretty_of("{ a = 1, b = 2, c = 3 }", {.entries = 2}), "{ a = 1, b = 2, … 1 more }");
  expect(pretty_of("{ 'abcdef' }", {.text = 3}), "{ \"abc\"… (6 bytes) }");
  expect(pretty_of("('x'):rep(100)", {.bytes = 10}), std::string(10, 'x'));
  // As wide as it is deep: it would be 10^6 lines.
  const std::string wide = pretty_of(
      "(function() local t = {} for i = 1, 100 do t[i] = {} for j = 1, 100 do t[i][j] = 'some text' end end "
      "return t end)()",
      {.bytes = 2000});
  assert_true(wide.size() < 8000);
  assert_true(wide.find("…") != std::string::npos);
  // Of very many keys, some.
  const std::string many =
      pretty_of("(function() local t = {} for i = 1, 50000 do t['k' .. i] = i end return t end)()");
  assert_true(many.ends_with("…,\n}"));
}

void lists_of_flat_tables_are_rows(void**) {
  expect(rows_of("{ { name = 'a', size = 1 }, { name = 'b\\n', size = 2.5 } }"), "name\t>size\na\t1\nb\\n\t2.5");
  // What is null in SQL is a key that is not there.
  expect(rows_of("{ { name = 'a' }, { name = 'b', note = true } }"), "name\tnote\na\t\nb\ttrue");
  for (const char* other : {"{}", "1", "{ 1, 2 }", "{ {} }", "{ { a = 1 }, { b = 2 } }", "{ { a = {} } }", "{ { 1 } }",
                            "{ { a = 1 }, x = 1 }", "{ a = 1 }"})
    expect(rows_of(other), "");
  expect(rows_of("{ { text = ('x'):rep(100) } }"), "text\n" + std::string(80, 'x') + "…");
}

void showing_pays_with_instructions(void**) {
  Sandbox sandbox({.memory = std::size_t{8} << 20U, .memory_hint = {}, .instructions_hint = {}});
  lua_State* state = sandbox.state();
  assert_true(
      sandbox.run("c.lua", "local t = {} for i = 1, 1000 do t[i] = { i } end return { t }", kInstructions).has_value());
  lua_pushcfunction(state, [](lua_State* inner) -> int {
    const std::string text = pretty(inner, 1);
    lua_pushlstring(inner, text.data(), text.size());
    return 1;
  });
  lua_insert(state, -2);
  sandbox.begin(state, 100, std::chrono::seconds(1));
  const int status = lua_pcall(state, 1, 1, 0);
  sandbox.end();
  assert_int_not_equal(status, LUA_OK);
  assert_true(sandbox.stopped());
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test(plain_values_are_as_luas_prompt_has_them),
      cmocka_unit_test(tables_are_shown_with_what_is_in_them),
      cmocka_unit_test(what_controls_a_terminal_is_escaped),
      cmocka_unit_test(a_table_within_itself_ends),
      cmocka_unit_test(limits_are_said),
      cmocka_unit_test(lists_of_flat_tables_are_rows),
      cmocka_unit_test(showing_pays_with_instructions),
  };
  return cmocka_run_group_tests_name("script.pretty", tests, nullptr, nullptr);
}
