// Every command with its options, as CLI11 objects, and the values that a parse leaves.
//
// An option's type name says what it takes, for completions and the man page: FILE, DIR, SOCKET, TOPIC, SERVICE, or a
// choice in braces. A command's footer holds its examples, one a line.
#pragma once

#include "app/daemon.h"
#include "cli/admin_client.h"
#include "cli/console_command.h"
#include "cli/transfer_commands.h"
#include "store/report.h"

#include <CLI/CLI.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace portolan {

struct Arguments {
  RunOptions run;
  bool run_user = false;  // run --user
  std::string check_file;
  std::string script_file;
  DaemonTarget target;
  ConsoleOptions console;  // but for its target and json, which are those here
  bool json = false;
  double wait_seconds = 0;
  std::string service;
  std::uint32_t limit = 100;
  Duration since = std::chrono::hours(24);
  Grouping by = Grouping::total;
  std::string store_file;
  std::string command;             // of a service
  std::string backend;             // of drain and undrain
  std::string fault_action;        // add, list, remove
  std::vector<std::string> words;  // of command and fault, after the service and what is to be done
  std::vector<std::string> addresses;
  std::string ban_action;  // of bans: "add", "lift", or none to list
  std::string ban_address;
  std::string ban_time;
  std::string ban_reason;
  TransferArguments transfer;  // but for its json, which is that here
  std::string topic;
  std::string shell;
  std::string page = "portolan";  // of man
};

// `arguments` outlives the app.
void define_commands(CLI::App& app, Arguments& arguments);

// What completions and the man page read off the definitions.
namespace definition {

std::vector<const CLI::App*> commands(const CLI::App& app);
// Without those that are positional.
std::vector<const CLI::Option*> flags(const CLI::App& command);
std::vector<const CLI::Option*> positionals(const CLI::App& command);
bool takes_value(const CLI::Option& option);
// "FILE"; the braces of a choice are taken off: see choices.
std::string value_name(const CLI::Option& option);
std::vector<std::string> choices(const CLI::Option& option);
std::vector<std::string> examples(const CLI::App& command);
// "-c", "--config", as typed.
std::vector<std::string> spellings(const CLI::Option& option);

}  // namespace definition

}  // namespace portolan
