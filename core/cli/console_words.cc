#include "cli/console_words.h"

#include <algorithm>
#include <cctype>

namespace portolan {

namespace {

constexpr DotCommand kCommands[] = {
    {".sql", "SELECT …", "asks the database, which sees what has been flushed; Tab knows its views"},
    {".services", "", "the daemon and its services, as `portolan status`"},
    {".sessions", "[SERVICE]", "the sessions that are open, as `portolan sessions`"},
    {".stats", "[SERVICE]", "what was counted in the last day, as `portolan stats`"},
    {".reload", "", "has the daemon read its configuration again"},
    {".help", "", "this text"},
    {".exit", "", "ends the console, as Ctrl-D does"},
};
constexpr std::string_view kLua[] = {"and",      "break",  "do",   "else", "elseif", "end",  "false", "for",
                                     "function", "goto",   "if",   "in",   "local",  "nil",  "not",   "or",
                                     "repeat",   "return", "then", "true", "until",  "while"};
constexpr std::string_view kSql[] = {"and",      "as",   "asc",   "between", "by",   "count", "desc",
                                     "distinct", "from", "group", "having",  "join", "like",  "limit",
                                     "not",      "null", "order", "select",  "sum",  "where", "with"};
constexpr std::string_view kSqlCommand = ".sql ";

bool is_word(char c) noexcept { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

std::vector<std::string> beginning_with(std::span<const std::string_view> words, std::string_view beginning) {
  std::vector<std::string> found;
  for (const std::string_view word : words)
    if (word.starts_with(beginning)) found.emplace_back(word);
  return found;
}

}  // namespace

std::span<const DotCommand> dot_commands() noexcept { return kCommands; }

TypedWord typed_word(std::string_view before) noexcept {
  const auto begin_of = [&](auto belongs) {
    std::size_t start = before.size();
    while (start > 0 && belongs(before[start - 1])) --start;
    return start;
  };
  const std::size_t word = begin_of(is_word);
  if (before.starts_with(kSqlCommand)) return {TypedWord::Kind::sql, word, word};
  if (before.starts_with('.')) return before.contains(' ') ? TypedWord() : TypedWord{TypedWord::Kind::command, 0, 0};
  const std::size_t path = begin_of([](char c) { return is_word(c) || c == '.' || c == ':'; });
  // "1.5", or what follows a text or a call: nothing is known of these.
  const bool nameless =
      path < before.size() && !std::isalpha(static_cast<unsigned char>(before[path])) && before[path] != '_';
  if (nameless) return {};
  return {TypedWord::Kind::lua, path, word};
}

std::vector<std::string> lua_words(std::string_view beginning) { return beginning_with(kLua, beginning); }
std::vector<std::string> sql_words(std::string_view beginning) { return beginning_with(kSql, beginning); }

std::vector<std::string> command_words(std::string_view beginning) {
  std::vector<std::string> found;
  for (const DotCommand& command : kCommands)
    if (command.name.starts_with(beginning))
      found.push_back(std::string(command.name) + (command.arguments.empty() ? "" : " "));
  return found;
}

}  // namespace portolan
