#include "config/help_text.h"

#include "base/units.h"
#include "config/schema.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

namespace portolan {
namespace {

struct Row {
  std::string key;
  std::string type;
  std::string fallback;
  std::string range;
  std::string help;
};

std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  while (true) {
    const std::size_t at = text.find(from);
    out += text.substr(0, at);
    if (at == std::string_view::npos) return out;
    out += to;
    text.remove_prefix(at + from.size());
  }
}

// Depth first; `prefix` is what stands before the keys of a nested table.
void add_rows(std::span<const Option> options, const std::string& prefix, std::vector<Row>& rows) {
  for (const Option& option : options) {
    Row row;
    row.key = prefix + std::string(option.key);
    row.type = type_text(option);
    row.range = option.type == OptionType::choice ? replace_all(option.choices, "|", ", ") : range_text(option);
    row.fallback = option.required ? "required" : std::string(option.fallback);
    row.help = option.help;
    const std::string inner = row.key + (option.list ? "[]." : ".");
    rows.push_back(std::move(row));
    add_rows(option.fields, inner, rows);
  }
}

std::string transports_text(std::uint8_t transports) {
  std::vector<std::string_view> names;
  if ((transports & kTcp) != 0) names.emplace_back("tcp");
  if ((transports & kUdp) != 0) names.emplace_back("udp");
  if ((transports & kTls) != 0) names.emplace_back("tls");
  if ((transports & kRudp) != 0) names.emplace_back("rudp");
  if ((transports & kUnix) != 0) names.emplace_back("unix");
  if (names.empty()) return "none (it has no listeners)";
  return fmt::format("{}", fmt::join(names, ", "));
}

std::string_view placement_text(Placement placement) {
  return placement == Placement::every_worker ? "an instance on every worker" : "one instance, on the first worker";
}

// A line of the terminal, the help below the key when it would not fit beside it.
std::string terminal_row(const Row& row, std::size_t key_width, std::size_t type_width, std::size_t fallback_width) {
  std::string line = fmt::format("  {:<{}}  {:<{}}  {:<{}}  {}", row.key, key_width, row.type, type_width, row.fallback,
                                 fallback_width, row.help);
  if (!row.range.empty()) line += fmt::format(" [{}]", row.range);
  return line + "\n";
}

std::string terminal_table(const std::vector<Row>& rows) {
  std::array<std::size_t, 3> widths = {3, 4, 7};
  for (const Row& row : rows) {
    widths[0] = std::max(widths[0], row.key.size());
    widths[1] = std::max(widths[1], row.type.size());
    widths[2] = std::max(widths[2], row.fallback.size());
  }
  std::string text = terminal_row({"key", "type", "default", "", "meaning"}, widths[0], widths[1], widths[2]);
  for (const Row& row : rows) text += terminal_row(row, widths[0], widths[1], widths[2]);
  return text;
}

// In a cell, a bar would begin the next one.
std::string cell(std::string_view text) { return replace_all(text, "|", "\\|"); }
std::string code(std::string_view text) { return text.empty() ? "" : fmt::format("`{}`", cell(text)); }

}  // namespace

std::string help_for_options(std::span<const Option> options) {
  std::vector<Row> rows;
  add_rows(options, {}, rows);
  return terminal_table(rows);
}

std::string help_for_plugin(const Descriptor& descriptor) {
  std::string text = fmt::format("{}: {}\n\n", descriptor.name, descriptor.summary);
  text += fmt::format("  transports  {}\n", transports_text(descriptor.transports));
  text += fmt::format("  placement   {}\n", placement_text(descriptor.placement));
  if (!descriptor.options.empty()) {
    text += "\nOptions, beside those that every service has (portolan help service):\n\n";
    text += help_for_options(descriptor.options);
  }
  if (descriptor.idle_timeout > Duration::zero())
    text += fmt::format("\nidle_timeout is {} here, unless it is set.\n", format_duration(descriptor.idle_timeout));
  if (!descriptor.hooks.empty()) {
    text += "\nHooks (Lua functions in the configuration):\n\n";
    for (const HookDeclaration& hook : descriptor.hooks) {
      text += fmt::format("  {} {}\n      {}\n", hook.name, hook.signature, hook.help);
    }
  }
  if (!descriptor.commands.empty()) {
    text += "\nCommands (portolan command SERVICE NAME KEY=VALUE...), beside drain and undrain of every service:\n\n";
    for (const CommandDeclaration& command : descriptor.commands) {
      text += fmt::format("  {}{}{}\n      {}\n", command.name, command.arguments.empty() ? "" : " ", command.arguments,
                          command.help);
    }
  }
  if (!descriptor.counters.empty()) {
    std::size_t width = 0;
    for (const CounterDeclaration& counter : descriptor.counters) width = std::max(width, counter.name.size());
    text += "\nCounters of its own:\n\n";
    for (const CounterDeclaration& counter : descriptor.counters) {
      text += fmt::format("  {:<{}}  {}\n", counter.name, width, counter.help);
    }
  }
  return text;
}

std::string markdown_options(const Descriptor& descriptor) {
  std::string text = "\n";
  if (!descriptor.options.empty()) {
    std::vector<Row> rows;
    add_rows(descriptor.options, {}, rows);
    text += "| option | type | default | values | meaning |\n|---|---|---|---|---|\n";
    for (const Row& row : rows) {
      const std::string fallback = row.fallback == "required" ? row.fallback : code(row.fallback);
      text +=
          fmt::format("| `{}` | {} | {} | {} | {} |\n", row.key, row.type, fallback, cell(row.range), cell(row.help));
    }
    text += "\n";
  }
  if (!descriptor.hooks.empty()) {
    text += "| hook | signature | meaning |\n|---|---|---|\n";
    for (const HookDeclaration& hook : descriptor.hooks) {
      text += fmt::format("| `{}` | {} | {} |\n", hook.name, code(hook.signature), cell(hook.help));
    }
    text += "\n";
  }
  if (!descriptor.commands.empty()) {
    text += "| command | arguments | meaning |\n|---|---|---|\n";
    for (const CommandDeclaration& command : descriptor.commands) {
      text += fmt::format("| `{}` | {} | {} |\n", command.name, code(command.arguments), cell(command.help));
    }
    text += "\n";
  }
  if (!descriptor.counters.empty()) {
    text += "| counter | meaning |\n|---|---|\n";
    for (const CounterDeclaration& counter : descriptor.counters) {
      text += fmt::format("| `{}` | {} |\n", counter.name, cell(counter.help));
    }
    text += "\n";
  }
  return text;
}

}  // namespace portolan
