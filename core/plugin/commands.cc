#include "plugin/commands.h"

#include "config/nearest.h"

#include <fmt/format.h>

#include <algorithm>
#include <ranges>

namespace portolan {

namespace {

constexpr std::string_view kOthers = "…";

constexpr CommandDeclaration kCoreCommands[] = {
    {.name = "drain", .help = "no new sessions from now on; those that are open end when they are quiet"},
    {.name = "undrain", .help = "new sessions again"},
};

const CommandDeclaration* find(std::span<const CommandDeclaration> commands, std::string_view name) {
  const auto found = std::ranges::find(commands, name, &CommandDeclaration::name);
  return found == commands.end() ? nullptr : &*found;
}

// What does not fit the declaration; empty when all does.
std::string wrong_argument(const CommandDeclaration& declaration, const std::map<std::string, std::string>& given) {
  const auto declared = parse_argument_declarations(declaration.arguments);
  if (!declared) return declared.error();  // Registry::check refuses such a plugin
  const std::string takes = declaration.arguments.empty() ? "no arguments" : fmt::format("{}", declaration.arguments);
  std::vector<std::string_view> names;
  for (const ArgumentDeclaration& argument : declared->named) names.push_back(argument.name);
  for (const auto& [name, value] : given) {
    if (!declared->others && std::ranges::find(names, name) == names.end()) {
      const std::string_view near = nearest(name, names);
      return fmt::format("{} takes {}, not \"{}\"{}", declaration.name, takes, name,
                         near.empty() ? "" : fmt::format("; did you mean \"{}\"?", near));
    }
    if (value.empty()) return fmt::format("{}: \"{}\" has no value", declaration.name, name);
  }
  for (const ArgumentDeclaration& argument : declared->named) {
    if (argument.required && !given.contains(std::string(argument.name)))
      return fmt::format("{} needs {}={}: it takes {}", declaration.name, argument.name, argument.value, takes);
  }
  return {};
}

}  // namespace

std::string OperatorCommand::text() const {
  std::string out = name;
  for (const auto& [key, value] : arguments) out += fmt::format(" {}={}", key, value);
  return out;
}

std::expected<ArgumentDeclarations, std::string> parse_argument_declarations(std::string_view text) {
  ArgumentDeclarations declared;
  if (text.empty()) return declared;
  for (const auto part : std::views::split(text, ' ')) {
    std::string_view word(part.begin(), part.end());
    if (declared.others) return std::unexpected(fmt::format("\"{}\" comes after \"{}\"", word, kOthers));
    if (word == kOthers) {
      declared.others = true;
      continue;
    }
    const bool optional = word.starts_with('[') && word.ends_with(']');
    const std::string_view pair = optional ? word.substr(1, word.size() - 2) : word;
    const std::size_t equals = pair.find('=');
    if (equals == 0 || equals >= pair.size() - 1 || pair.find_first_of("[]") != std::string_view::npos)
      return std::unexpected(fmt::format("\"{}\" is neither name=VALUE nor [name=VALUE]", word));
    declared.named.push_back({.name = pair.substr(0, equals), .value = pair.substr(equals + 1), .required = !optional});
  }
  return declared;
}

std::span<const CommandDeclaration> core_commands() noexcept { return kCoreCommands; }

std::vector<std::string_view> command_names(const Descriptor& plugin) {
  std::vector<std::string_view> names;
  for (const CommandDeclaration& command : plugin.commands) names.push_back(command.name);
  for (const CommandDeclaration& command : kCoreCommands) {
    if (!find(plugin.commands, command.name)) names.push_back(command.name);
  }
  return names;
}

std::expected<ChosenCommand, CommandReply> choose_command(const OperatorCommand& command, const Descriptor& plugin) {
  const CommandDeclaration* of_core = find(kCoreCommands, command.name);
  const CommandDeclaration* of_plugin = find(plugin.commands, command.name);
  const bool core = of_core && (!of_plugin || command.arguments.empty());
  const CommandDeclaration* declaration = core ? of_core : of_plugin;
  if (!declaration) {
    return std::unexpected(
        CommandReply{CommandReply::Outcome::unknown,
                     fmt::format("service \"{}\" has no command \"{}\"{}", command.service, command.name,
                                 suggestion(command.name, command_names(plugin), "its commands"))});
  }
  if (const std::string wrong = wrong_argument(*declaration, command.arguments); !wrong.empty())
    return std::unexpected(
        CommandReply{CommandReply::Outcome::wrong, fmt::format("service \"{}\": {}", command.service, wrong)});
  return ChosenCommand{.declaration = declaration, .of_core = core};
}

}  // namespace portolan
