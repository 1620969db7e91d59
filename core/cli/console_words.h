// What a console offers for the end of what was typed, as far as it is known without the daemon. Pure.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace portolan {

struct DotCommand {
  std::string_view name;       // ".sql"
  std::string_view arguments;  // "SELECT …"
  std::string_view help;
};
std::span<const DotCommand> dot_commands() noexcept;

// What is being typed.
struct TypedWord {
  enum class Kind : std::uint8_t { nothing, command, sql, lua };
  Kind kind = Kind::nothing;
  std::size_t path = 0;   // where "portolan.store.ge" begins
  std::size_t start = 0;  // where "ge" does: what is replaced
};
TypedWord typed_word(std::string_view before_cursor) noexcept;

// Lua's words, SQL's words, the commands: those that begin like this.
std::vector<std::string> lua_words(std::string_view beginning);
std::vector<std::string> sql_words(std::string_view beginning);
std::vector<std::string> command_words(std::string_view beginning);

}  // namespace portolan
