// The commands that need no daemon: check, net, help, version. Each prints and answers the exit code.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace portolan {

int check_command(const std::string& file, bool json);
// Interfaces, or the addresses given: parsed, classified; those of names, looked up.
int net_command(const std::vector<std::string>& addresses, bool json);
// A plugin, "service" or "configuration"; `overview` is what an empty topic begins with. Commands are the caller's.
int help_command(const std::string& topic, const std::string& overview, const std::vector<std::string_view>& commands);
// Runs a Lua file (or "-") as a task, with these arguments, until it and what it began are over.
int script_command(const std::string& path, const std::vector<std::string>& words);
int version_command(bool json);

}  // namespace portolan
