// Help made from schemas: `portolan help`, and the tables in the plugins' READMEs. Pure.
#pragma once

#include "plugin/descriptor.h"

#include <span>
#include <string>

namespace portolan {

// The plugin on a page for the terminal: what it is, options, hooks, commands, counters.
std::string help_for_plugin(const Descriptor& descriptor);

// The table of options alone, nested ones indented: core_options(), service_options().
std::string help_for_options(std::span<const Option> options);

// What stands between kMarkdownBegin and kMarkdownEnd in plugins/<name>/README.md, with a newline at both ends.
std::string markdown_options(const Descriptor& descriptor);
inline constexpr std::string_view kMarkdownBegin = "<!-- options -->";
inline constexpr std::string_view kMarkdownEnd = "<!-- /options -->";

}  // namespace portolan
