// What a console takes for the word that is being typed.
#include "cli/console_words.h"

#include <string>
#include <string_view>

#include "support/cmocka.h"

using namespace portolan;

namespace {

using Kind = TypedWord::Kind;

void expect(std::string_view before, Kind kind, std::string_view path, std::string_view word) {
  const TypedWord typed = typed_word(before);
  if (typed.kind != kind) print_error("%s: kind %d\n", std::string(before).c_str(), static_cast<int>(typed.kind));
  assert_int_equal(typed.kind, kind);
  if (kind == Kind::nothing) return;
  assert_string_equal(std::string(before.substr(typed.path)).c_str(), std::string(path).c_str());
  assert_string_equal(std::string(before.substr(typed.start)).c_str(), std::string(word).c_str());
}

void paths_of_lua_are_found(void**) {
  expect("", Kind::lua, "", "");
  expect("por", Kind::lua, "por", "por");
  expect("print(portolan.store.ge", Kind::lua, "portolan.store.ge", "ge");
  expect("local x = stream:wr", Kind::lua, "stream:wr", "wr");
  expect("a + _b.", Kind::lua, "_b.", "");
  expect("f(", Kind::lua, "", "");
  expect("1.5", Kind::nothing, "", "");
  expect("f().x", Kind::nothing, "", "");
  expect("('x'):re", Kind::nothing, "", "");
}

void commands_and_sql_are_told_apart(void**) {
  expect(".se", Kind::command, ".se", ".se");
  expect(".sql", Kind::command, ".sql", ".sql");
  expect(".sql select * from serv", Kind::sql, "serv", "serv");
  expect(".sql ", Kind::sql, "", "");
  expect(".sessions ec", Kind::nothing, "", "");
  assert_string_equal(command_words(".sq").front().c_str(), ".sql ");
  assert_string_equal(command_words(".rel").front().c_str(), ".reload");
  assert_int_equal(command_words(".").size(), dot_commands().size());
  assert_string_equal(lua_words("func").front().c_str(), "function");
  assert_string_equal(sql_words("sel").front().c_str(), "select");
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test(paths_of_lua_are_found),
      cmocka_unit_test(commands_and_sql_are_told_apart),
  };
  return cmocka_run_group_tests_name("cli.console_words", tests, nullptr, nullptr);
}
