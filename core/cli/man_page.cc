#include "cli/completion.h"
#include "cli/definition.h"
#include "config/configuration.h"
#include "config/schema.h"
#include "plugin/registry.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace portolan {

namespace {

using namespace definition;

// Text as roff takes it: a backslash and a hyphen have a meaning, and so has a dot or a quote that begins a line.
std::string roff(std::string_view text) {
  std::string out;
  bool line_start = true;
  for (const char c : text) {
    if (line_start && (c == '.' || c == '\'')) out += "\\&";
    if (c == '\\') {
      out += "\\e";
    } else if (c == '-') {
      out += "\\-";
    } else {
      out += c;
    }
    line_start = c == '\n';
  }
  return out;
}

std::string sentence(std::string text) {
  if (!text.empty() && text.back() != '.') text += '.';
  return text;
}

std::string synopsis(const CLI::App& command) {
  std::string line = fmt::format("\\fBportolan {}\\fR [\\fIOPTIONS\\fR]", roff(command.get_name()));
  for (const CLI::Option* option : positionals(command)) {
    const bool many = option->get_items_expected_max() > 1;
    const std::string name = fmt::format("\\fI{}\\fR{}", roff(option->get_name()), many ? "..." : "");
    line += option->get_required() ? " " + name : " [" + name + "]";
  }
  return line;
}

std::string option_entry(const CLI::Option& option) {
  std::string head;
  if (option.get_positional()) {
    head = fmt::format("\\fI{}\\fR", roff(option.get_name()));
  } else {
    std::vector<std::string> names;
    for (const auto& name : spellings(option)) names.push_back(fmt::format("\\fB{}\\fR", roff(name)));
    head = fmt::format("{}", fmt::join(names, ", "));
    if (takes_value(option)) {
      const auto words = choices(option);
      head += words.empty() ? fmt::format(" \\fI{}\\fR", roff(value_name(option)))
                            : fmt::format(" \\fI{}\\fR", roff(fmt::format("{}", fmt::join(words, "|"))));
    }
  }
  std::string text = sentence(option.get_description());
  if (const std::string fallback = option.get_default_str(); !fallback.empty()) {
    text += fmt::format(" Default: {}.", fallback);
  }
  return fmt::format(".TP\n{}\n{}\n", head, roff(text));
}

// An entry for each key, depth first; `prefix` is what stands before the keys of a nested table.
std::string option_entries(std::span<const Option> options, const std::string& prefix) {
  std::string page;
  for (const Option& option : options) {
    const std::string key = prefix + std::string(option.key);
    std::vector<std::string> facts{type_text(option)};
    if (option.type == OptionType::choice) {
      facts.push_back(fmt::format("{}", fmt::join(split_list(option.choices, '|'), ", ")));
    } else if (std::string range = range_text(option); !range.empty()) {
      facts.push_back(std::move(range));
    }
    if (option.required) facts.emplace_back("required");
    if (!option.fallback.empty()) facts.push_back(fmt::format("default: {}", option.fallback));
    page += fmt::format(".TP\n\\fB{}\\fR ({})\n{}\n", roff(key), roff(fmt::format("{}", fmt::join(facts, "; "))),
                        roff(sentence(std::string(option.help))));
    page += option_entries(option.fields, key + (option.list ? "[]." : "."));
  }
  return page;
}

std::string plugin_entries(const Descriptor& plugin) {
  std::string page = fmt::format(".SH PLUGIN {}\n{}\n", roff(plugin.name), roff(sentence(std::string(plugin.summary))));
  page += option_entries(plugin.options, {});
  for (const HookDeclaration& hook : plugin.hooks) {
    page += fmt::format(".TP\n\\fB{}\\fR {}\n{}\n", roff(hook.name), roff(hook.signature),
                        roff(sentence(std::string(hook.help))));
  }
  return page;
}

}  // namespace

std::string man_page(const CLI::App& app, std::string_view version) {
  std::string page = fmt::format(R"(.\" Made by `portolan man` from the definitions of the command line.
.TH PORTOLAN 1 "" "portolan {0}" "User Commands"
.SH NAME
portolan \- serve protocols configured and scripted in Lua, with statistics in SQLite
.SH SYNOPSIS
.B portolan
\fICOMMAND\fR [\fIOPTIONS\fR] [\fIARGUMENTS\fR]
.SH DESCRIPTION
One Lua file says which protocols are served where, and may script them; one SQLite database keeps what was counted.
\fBportolan run\fR serves in the foreground, prints a line for each listener with the port that it really got, and then
a line "ready". The other commands check a configuration, ask the running daemon over its admin socket, or read the
database.
.SH COMMANDS
)",
                                 roff(version));
  for (const CLI::App* command : commands(app)) {
    page += fmt::format(".SS {}\n{}\n.PP\n{}\n", roff(command->get_name()), synopsis(*command),
                        roff(sentence(command->get_description())));
    for (const CLI::Option* option : positionals(*command)) page += option_entry(*option);
    for (const CLI::Option* option : flags(*command)) {
      // The same for every command.
      if (option->check_lname("help")) continue;
      page += option_entry(*option);
    }
    if (const auto lines = examples(*command); !lines.empty()) {
      page += ".PP\nExamples:\n.PP\n.nf\n.RS 4\n";
      for (const auto& line : lines) page += roff(line) + "\n";
      page += ".RE\n.fi\n";
    }
  }
  page += R"(.SH SIGNALS
.TP
\fBSIGHUP\fR
Read the configuration again, like \fBportolan reload\fR.
.TP
\fBSIGTERM\fR, \fBSIGINT\fR
Stop accepting, let sessions finish until drain_timeout, end. A second one ends them at once.
.SH EXIT STATUS
.TP
\fB0\fR
Done.
.TP
\fB1\fR
Refused or failed; standard error says why.
.TP
\fB2\fR
Wrong usage.
.TP
\fB3\fR
No daemon answers.
.TP
\fB4\fR
Nothing by that name was found.
.SH ENVIRONMENT
.TP
\fBPORTOLAN_CONFIG\fR
The configuration of \fBrun\fR when there is no \fB\-c\fR.
.TP
\fBXDG_CONFIG_HOME\fR, \fBXDG_STATE_HOME\fR, \fBXDG_RUNTIME_DIR\fR
Where the files of \fBrun \-\-user\fR are; relative paths are ignored. Without the last one, the admin socket is in the
state folder.
.TP
\fBPORTOLAN_SOCKET\fR
The daemon's admin socket when there is no \fB\-\-socket\fR.
.TP
\fBSTATE_DIRECTORY\fR, \fBRUNTIME_DIRECTORY\fR
Where the state and the admin socket are, as systemd sets them.
.TP
\fBNOTIFY_SOCKET\fR, \fBWATCHDOG_USEC\fR, \fBLISTEN_FDS\fR
The protocols of systemd: readiness, watchdog, socket activation.
.TP
\fBNO_COLOR\fR
No colours, also on a terminal.
.SH FILES
.TP
\fI/etc/portolan/portolan.lua\fR
The configuration of \fBrun\fR when nothing else names one.
.TP
\fI~/.config/portolan/portolan.lua\fR, \fI~/.local/state/portolan\fR
The configuration and the state directory of \fBrun \-\-user\fR.
.TP
\fIportolan.db\fR
The database, in the state directory. Read it with \fBsqlite3\fR(1); its views are its interface.
.TP
\fIportolan.sock\fR
The admin socket, for its owner and group: who may write to it may run scripts (\fBportolan console\fR).
.TP
\fI~/.local/state/portolan/console_history\fR, \fI~/.editrc\fR
What was typed in \fBportolan console\fR, and the bindings of its keys (\fBeditrc\fR(5)).
.SH SEE ALSO
\fBportolan help service\fR and \fBportolan help configuration\fR for what the file may hold,
\fBportolan help\fR \fIPLUGIN\fR for the options of a plugin, \fBportolan.lua\fR(5), \fBsqlite3\fR(1), \fBsystemd.socket\fR(5)
)";
  return page;
}

std::string configuration_man_page(std::string_view version) {
  std::string page = fmt::format(R"(.\" Made by `portolan man configuration` from the schemas.
.TH PORTOLAN.LUA 5 "" "portolan {0}" "File Formats"
.SH NAME
portolan.lua \- the configuration of portolan(1)
.SH SYNOPSIS
.nf
return {{
  services = {{
    {{ plugin = "echo", listen = "tcp://127.0.0.1:7007" }},
  }},
}}
.fi
.SH DESCRIPTION
The file is a Lua chunk that returns one table. It runs in a sandbox: string, table, math and utf8, no files, no network,
with a bound on memory and on instructions. \fBportolan check\fR \fIFILE\fR says everything that is wrong with it.
.PP
Durations are "250ms", "30s", "1h30m", "90d"; sizes "64KiB", "1MB" or a number of bytes; rates "100/s", "1MiB/s" or a
number per second. An address is tcp://127.0.0.1:7007, udp://[::1]:53, tls://0.0.0.0:443, unix:///run/x.sock,
unix://x.sock (in the state directory) or unix://@name (abstract).
.SH THE FILE
)",
                                 roff(version));
  page += option_entries(core_options(), {});
  page += ".SH A SERVICE\nBeside the options and functions of its plugin:\n" + option_entries(service_options(), {});
  const Registry registry;
  for (const Descriptor* plugin : registry.all()) page += plugin_entries(*plugin);
  page += R"(.SH FILES
.TP
\fI/etc/portolan/portolan.lua\fR
What \fBportolan run\fR reads when nothing else is named.
.TP
\fI~/.config/portolan/portolan.lua\fR
What \fBportolan run \-\-user\fR reads.
.SH SEE ALSO
\fBportolan\fR(1)
)";
  return page;
}

}  // namespace portolan
