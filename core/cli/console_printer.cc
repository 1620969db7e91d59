#include "cli/console_printer.h"

#include "cli/terminal.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace portolan {

namespace {

std::vector<std::string_view> split(std::string_view text, char at) {
  std::vector<std::string_view> parts;
  for (;;) {
    const std::size_t end = text.find(at);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

// Lines and tabs stay; what else controls a terminal becomes visible.
std::string harmless(std::string_view text) {
  std::string out;
  for (const std::string_view line : split(text, '\n')) {
    if (line.data() != text.data()) out += '\n';
    for (const std::string_view part : split(line, '\t')) {
      if (part.data() != line.data()) out += '\t';
      out += printable(part);
    }
  }
  return out;
}

void write(std::FILE* file, std::string_view text) {
  const bool terminal = isatty(fileno(file)) == 1;
  const std::string shown = terminal ? harmless(text) : std::string(text);
  std::fwrite(shown.data(), 1, shown.size(), file);
}

}  // namespace

void ConsolePrinter::print(const ConsoleMessage& message) {
  if (message.kind == "value") {
    values_.push_back(message.text);
    return;
  }
  if (message.kind == "rows") {
    finish();
    return print_rows(message.text);
  }
  if (message.kind == "error") return error(message.text);
  if (message.kind == "print") return write(json_ ? stderr : stdout, message.text);
  if (message.kind != "notice") return;  // of a newer daemon's
  std::fflush(stdout);
  write(stderr, "-- " + message.text + "\n");
}

void ConsolePrinter::error(std::string_view why) {
  failed_ = true;
  finish();
  std::fflush(stdout);
  const std::string text = fmt::format("error: {}", isatty(STDERR_FILENO) == 1 ? harmless(why) : std::string(why));
  fmt::print(stderr, "{}\n", isatty(STDERR_FILENO) == 1 ? emphasized(Emphasis::bad, text) : text);
}

// As Lua's prompt does, side by side; but what has lines of its own gets lines of its own.
void ConsolePrinter::finish() {
  if (values_.empty()) return;
  const bool lines =
      json_ || std::ranges::any_of(values_, [](const std::string& value) { return value.contains('\n'); });
  write(stdout, fmt::format("{}\n", fmt::join(values_, lines ? "\n" : "\t")));
  values_.clear();
}

void ConsolePrinter::print_rows(std::string_view rows) {
  const auto lines = split(rows, '\n');
  std::vector<Table::Column> columns;
  for (const std::string_view title : split(lines.front(), '\t')) {
    const bool number = title.starts_with('>');
    columns.push_back({std::string(title.substr(number ? 1 : 0)), number});
  }
  Table table(std::move(columns));
  for (std::size_t at = 1; at < lines.size(); ++at) {
    const auto cells = split(lines[at], '\t');
    table.add({cells.begin(), cells.end()});
  }
  fmt::print("{}", table.text());
  if (lines.size() == 1) fmt::print("(no rows)\n");
}

std::vector<std::string> ConsolePrinter::first_column(std::string_view rows) {
  std::vector<std::string> cells;
  const auto lines = split(rows, '\n');
  for (std::size_t at = 1; at < lines.size(); ++at) cells.emplace_back(split(lines[at], '\t').front());
  return cells;
}

std::vector<std::string> ConsolePrinter::names_of_json(const std::string& rows) {
  std::vector<std::string> names;
  const Answer list = Answer::parse(rows, nullptr, false);
  for (const Answer& row : list)
    if (row.is_object()) names.push_back(answer::text(row, "name"));
  return names;
}

}  // namespace portolan
