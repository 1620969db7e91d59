// Completions for shells and the manual page, made from the definitions of the command line. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace CLI {
class App;
}

namespace portolan {

// `topics` is what `help` may be asked about beside the commands: plugins, "service", "configuration".
std::string bash_completion(const CLI::App& app, const std::vector<std::string>& topics);
std::string zsh_completion(const CLI::App& app, const std::vector<std::string>& topics);
std::string fish_completion(const CLI::App& app, const std::vector<std::string>& topics);

// roff, section 1.
std::string man_page(const CLI::App& app, std::string_view version);
// roff, section 5: portolan.lua(5), from the schemas of core and of the plugins that are built in.
std::string configuration_man_page(std::string_view version);

}  // namespace portolan
