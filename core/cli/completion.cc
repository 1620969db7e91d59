#include "cli/completion.h"

#include "cli/definition.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace portolan {

namespace {

using namespace definition;

// In single quotes, for a shell.
std::string shell_quoted(std::string_view text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

// fish escapes a quote inside quotes by a backslash.
std::string fish_quoted(std::string_view text) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'' || c == '\\') out += '\\';
    out += c;
  }
  return out + "'";
}

// The words that may stand for a value; empty when it is a file or free text.
std::vector<std::string> words_for(const CLI::App& app, const CLI::Option& option,
                                   const std::vector<std::string>& topics) {
  std::vector<std::string> words = choices(option);
  if (value_name(option) == "TOPIC") {
    for (const CLI::App* command : commands(app)) words.push_back(command->get_name());
    words.insert(words.end(), topics.begin(), topics.end());
  }
  return words;
}

bool takes_file(const CLI::Option& option) {
  const std::string name = value_name(option);
  return name == "FILE" || name == "SOCKET";
}
bool takes_folder(const CLI::Option& option) { return value_name(option) == "DIR"; }

}  // namespace

std::string bash_completion(const CLI::App& app, const std::vector<std::string>& topics) {
  std::vector<std::string> names;
  for (const CLI::App* command : commands(app)) names.push_back(command->get_name());
  std::string values;  // by command and the option before the cursor
  std::string of_command;
  for (const CLI::App* command : commands(app)) {
    std::vector<std::string> options;
    for (const CLI::Option* option : flags(*command)) {
      const auto spelled = spellings(*option);
      options.insert(options.end(), spelled.begin(), spelled.end());
      if (!takes_value(*option)) continue;
      std::vector<std::string> patterns;
      for (const auto& name : spelled) patterns.push_back(fmt::format("{},{}", command->get_name(), name));
      std::string reply = "return";
      if (const auto words = words_for(app, *option, topics); !words.empty()) {
        reply = fmt::format("_portolan_words {}; return", shell_quoted(fmt::format("{}", fmt::join(words, " "))));
      } else if (takes_file(*option)) {
        reply = "_portolan_files -f; return";
      } else if (takes_folder(*option)) {
        reply = "_portolan_files -d; return";
      }
      values += fmt::format("    {}) {} ;;\n", fmt::join(patterns, "|"), reply);
    }
    std::string positional;
    for (const CLI::Option* option : positionals(*command)) {
      if (const auto words = words_for(app, *option, topics); !words.empty()) {
        positional = fmt::format("_portolan_words {}", shell_quoted(fmt::format("{}", fmt::join(words, " "))));
      } else if (takes_file(*option)) {
        positional = "_portolan_files -f";
      }
    }
    of_command += fmt::format("    {})\n      if [[ $current == -* ]]; then _portolan_words {}; {}fi ;;\n",
                              command->get_name(), shell_quoted(fmt::format("{}", fmt::join(options, " "))),
                              positional.empty() ? "" : fmt::format("else {}; ", positional));
  }
  return fmt::format(R"(# bash completion for portolan, made by `portolan completion bash`
_portolan_words() {{ COMPREPLY=($(compgen -W "$1" -- "$current")); }}
_portolan_files() {{
  local IFS=$'\n'
  COMPREPLY=($(compgen "$1" -- "$current"))
  compopt -o filenames 2>/dev/null
}}
_portolan() {{
  local current=${{COMP_WORDS[COMP_CWORD]}} previous= command= i
  (( COMP_CWORD > 0 )) && previous=${{COMP_WORDS[COMP_CWORD-1]}}
  COMPREPLY=()
  for (( i = 1; i < COMP_CWORD; i++ )); do
    case ${{COMP_WORDS[i]}} in
      {0}) command=${{COMP_WORDS[i]}}; break ;;
    esac
  done
  case $command,$previous in
{1}  esac
  case $command in
    '') _portolan_words '{2} --help' ;;
{3}  esac
}}
complete -F _portolan portolan
)",
                     fmt::join(names, "|"), values, fmt::join(names, " "), of_command);
}

std::string zsh_completion(const CLI::App& app, const std::vector<std::string>& topics) {
  // In a spec of _arguments, brackets and colons have a meaning.
  const auto described = [](std::string_view text) {
    std::string out;
    for (const char c : text) {
      if (c == '[' || c == ']' || c == ':' || c == '\\') out += '\\';
      out += c;
    }
    return out;
  };
  const auto action = [&](const CLI::Option& option) -> std::string {
    if (const auto words = words_for(app, option, topics); !words.empty()) {
      return fmt::format("({})", fmt::join(words, " "));
    }
    return takes_file(option) ? "_files" : takes_folder(option) ? "_files -/" : " ";
  };
  std::string list;
  std::string cases;
  for (const CLI::App* command : commands(app)) {
    list += fmt::format("    {}\n",
                        shell_quoted(fmt::format("{}:{}", command->get_name(), described(command->get_description()))));
    std::string specs;
    for (const CLI::Option* option : flags(*command)) {
      const auto spelled = spellings(*option);
      const std::string help = described(option->get_description());
      const std::string value =
          takes_value(*option) ? fmt::format(":{}:{}", described(value_name(*option)), action(*option)) : "";
      const std::string together = spelled.size() > 1 ? fmt::format("({})", fmt::join(spelled, " ")) : std::string();
      for (const auto& name : spelled) {
        specs += fmt::format(" \\\n        {}", shell_quoted(fmt::format("{}{}[{}]{}", together, name, help, value)));
      }
    }
    std::size_t place = 0;
    for (const CLI::Option* option : positionals(*command)) {
      const bool many = option->get_items_expected_max() > 1;
      ++place;
      const std::string which = many ? "*" : fmt::format("{}{}", place, option->get_required() ? "" : ":");
      const std::string what = described(many ? value_name(*option) : option->get_name());
      specs += fmt::format(" \\\n        {}", shell_quoted(fmt::format("{}:{}:{}", which, what, action(*option))));
    }
    cases += fmt::format("      {})\n        _arguments{} ;;\n", command->get_name(), specs);
  }
  return fmt::format(R"(#compdef portolan
# zsh completion for portolan, made by `portolan completion zsh`
_portolan() {{
  local -a commands
  local context state line
  commands=(
{}  )
  _arguments -C '(-h --help)'{{-h,--help}}'[Print help]' '1:command:->command' '*::argument:->argument'
  case $state in
    command) _describe command commands ;;
    argument)
      case $line[1] in
{}      esac ;;
  esac
}}
if [[ $funcstack[1] == _portolan ]]; then _portolan "$@"; else compdef _portolan portolan; fi
)",
                     list, cases);
}

std::string fish_completion(const CLI::App& app, const std::vector<std::string>& topics) {
  std::string text = "# fish completion for portolan, made by `portolan completion fish`\ncomplete -c portolan -f\n";
  for (const CLI::App* command : commands(app)) {
    text += fmt::format("complete -c portolan -n __fish_use_subcommand -a {} -d {}\n", command->get_name(),
                        fish_quoted(command->get_description()));
  }
  for (const CLI::App* command : commands(app)) {
    const std::string when =
        fmt::format("complete -c portolan -n '__fish_seen_subcommand_from {}'", command->get_name());
    for (const CLI::Option* option : flags(*command)) {
      text += when;
      for (const auto& name : option->get_snames()) text += " -s " + name;
      for (const auto& name : option->get_lnames()) text += " -l " + name;
      if (takes_value(*option)) {
        const auto words = words_for(app, *option, topics);
        text += takes_file(*option) ? " -r -F" : " -x";
        if (takes_folder(*option)) text += " -a '(__fish_complete_directories)'";
        if (!words.empty()) text += fmt::format(" -a {}", fish_quoted(fmt::format("{}", fmt::join(words, " "))));
      }
      text += fmt::format(" -d {}\n", fish_quoted(option->get_description()));
    }
    for (const CLI::Option* option : positionals(*command)) {
      const auto words = words_for(app, *option, topics);
      if (!words.empty())
        text += fmt::format("{} -a {}\n", when, fish_quoted(fmt::format("{}", fmt::join(words, " "))));
      if (takes_file(*option)) text += when + " -F\n";
    }
  }
  return text;
}

}  // namespace portolan
