// The operator's commands between the admin API and Service::on_command: what a request and its reply are, which commands
// core has for every service, how a declaration's arguments are read, and what is wrong with a request.
//
// Plain values and pure functions; any thread.
#pragma once

#include "plugin/service.h"

#include <cstdint>
#include <expected>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace portolan {

struct OperatorCommand {
  std::string service;
  std::string name;
  std::map<std::string, std::string> arguments;
  std::string text() const;  // "drain backend=b1"
};

struct CommandReply {
  enum class Outcome : std::uint8_t {
    done,
    refused,  // by whoever it was for
    unknown,  // no service or no command is called so
    wrong,    // its arguments are not those that are declared
  };
  Outcome outcome = Outcome::refused;
  std::string text;  // one JSON value when done, else a sentence
};

// The words of CommandDeclaration::arguments, whose comment says what they may be.
struct ArgumentDeclaration {
  std::string_view name;
  std::string_view value;  // NAME
  bool required;
};
struct ArgumentDeclarations {
  std::vector<ArgumentDeclaration> named;
  bool others = false;  // …
};
// The error is a sentence's end: `"[x" is neither name=VALUE nor [name=VALUE]`.
std::expected<ArgumentDeclarations, std::string> parse_argument_declarations(std::string_view text);

// drain and undrain: the service as a whole takes no new sessions, and takes them again.
std::span<const CommandDeclaration> core_commands() noexcept;
// Those of the plugin and of core, each name once.
std::vector<std::string_view> command_names(const Descriptor& plugin);

struct ChosenCommand {
  const CommandDeclaration* declaration;
  bool of_core;
};
// Whose command it is, when all of it fits. `drain` without arguments is core's, whatever the plugin declares.
std::expected<ChosenCommand, CommandReply> choose_command(const OperatorCommand& command, const Descriptor& plugin);

}  // namespace portolan
