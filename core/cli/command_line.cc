#include "cli/command_line.h"

#include "app/build.h"
#include "base/log.h"
#include "cli/completion.h"
#include "cli/daemon_commands.h"
#include "cli/definition.h"
#include "cli/exit_code.h"
#include "cli/local_commands.h"
#include "cli/service_commands.h"
#include "cli/stats_command.h"
#include "cli/terminal.h"
#include "cli/transfer_commands.h"
#include "cli/user_folders.h"
#include "config/nearest.h"
#include "plugin/registry.h"

#include <fmt/format.h>
#include <openssl/ssl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <string_view>
#include <optional>

namespace portolan {

namespace {

constexpr const char* kSystemConfig = "/etc/portolan/portolan.lua";
// As in StoreOptions: where a database is when no daemon says.
constexpr const char* kUsualStore = "portolan.db";

int run_refused(std::string_view why) {
  fmt::print(stderr, "portolan run: {}\n", why);
  return kExitFailed;
}

// Before the configuration is read: it takes the folders from the environment.
std::string prepare_user_folders(const UserFolders& folders, const RunOptions& options) {
  if (options.state_dir.empty()) {
    if (std::string error = make_private_folder(folders.state_dir); !error.empty()) return error;
  }
  if (std::string error = make_private_folder(folders.runtime_dir); !error.empty()) return error;
  use_user_folders(folders);
  if (folders.runtime_is_state) {
    log::set_format(options.log_format);
    log::info("$XDG_RUNTIME_DIR is not set to an absolute path: the admin socket is in {}", folders.runtime_dir);
  }
  return {};
}

int run(Arguments& arguments) {
  std::string usual = kSystemConfig;
  std::optional<UserFolders> own;
  if (arguments.run_user) {
    auto found = find_user_folders();
    if (!found) return run_refused("--user: " + found.error());
    own = std::move(*found);
    usual = own->config_file;
  }
  std::string& file = arguments.run.config_file;
  if (file.empty()) {
    const char* path = std::getenv("PORTOLAN_CONFIG");
    file = path && *path ? path : usual;
    if (file == usual && ::access(usual.c_str(), F_OK) != 0) {
      const std::string missing =
          fmt::format("no configuration: there is no {}; name one with -c FILE or $PORTOLAN_CONFIG", usual);
      if (!own) return run_refused(missing);
      const std::string example = installed_example();
      return run_refused(fmt::format("{}, or begin with one that is shipped:\n  install -D -m 600 {} {}", missing,
                                     example.empty() ? "config/default.lua" : example, usual));
    }
  }
  if (own) {
    if (const std::string error = prepare_user_folders(*own, arguments.run); !error.empty()) return run_refused(error);
  }
  return run_daemon(arguments.run);
}

// The database to read when no daemon answers: where a daemon would have begun it.
std::string usual_store(const DaemonTarget& target) {
  if (!target.user) return kUsualStore;
  const auto own = find_user_folders();
  return own ? own->state_dir + "/" + kUsualStore : kUsualStore;
}

int stats(const Arguments& arguments) {
  StatsCommandOptions options{.path = arguments.store_file,
                              .service = arguments.service,
                              .since = arguments.since,
                              .json = arguments.json,
                              .by = arguments.by,
                              .terminal = output_is_terminal()};
  if (options.path.empty()) {
    auto path = flushed_store_path(arguments.target);
    if (path) {
      options.path = std::move(*path);
    } else {
      // A daemon that was named has to answer; otherwise the usual database is as good a guess as any.
      const bool named = !arguments.target.socket.empty() || !arguments.target.config_file.empty();
      const std::string usual = usual_store(arguments.target);
      if (path.error().exit_code != kExitNoDaemon || named || ::access(usual.c_str(), R_OK) != 0) {
        fmt::print(stderr, "portolan stats: {}\n", path.error().message);
        if (path.error().exit_code == kExitNoDaemon) {
          fmt::print(stderr, "portolan stats: or name the database itself with --store FILE\n");
        }
        return path.error().exit_code;
      }
      options.path = usual;
      fmt::print(stderr, "portolan stats: no daemon answers; reading {} as it is\n", options.path);
    }
  }
  return stats_command(options);
}

int console(const Arguments& arguments) {
  ConsoleOptions options = arguments.console;
  options.target = arguments.target;
  options.json = arguments.json;
  return console_command(options);
}

int bans(const Arguments& arguments) {
  if (!arguments.ban_action.empty() && arguments.ban_address.empty()) {
    fmt::print(stderr, "portolan bans: {} whom? Name an address.\n", arguments.ban_action);
    return kExitUsage;
  }
  if (arguments.ban_action == "add")
    return ban_command(arguments.target, arguments.ban_address, arguments.ban_time, arguments.ban_reason,
                       arguments.json);
  if (arguments.ban_action == "lift") return unban_command(arguments.target, arguments.ban_address, arguments.json);
  return bans_command(arguments.target, arguments.json);
}

std::vector<std::string> help_topics() {
  const Registry registry;
  std::vector<std::string> topics;
  for (const Descriptor* plugin : registry.all()) topics.emplace_back(plugin->name);
  topics.emplace_back("service");
  topics.emplace_back("configuration");
  return topics;
}

int help(CLI::App& app, const Arguments& arguments) {
  std::vector<std::string_view> names;
  for (const CLI::App* command : definition::commands(app)) {
    if (command->get_name() == arguments.topic) {
      fmt::print("{}", command->help("portolan"));
      return kExitOk;
    }
    names.push_back(command->get_name());
  }
  // Of an app that has parsed nothing: CLI11 would answer with the help of `help`.
  Arguments unused;
  CLI::App whole;
  whole.name("portolan");
  define_commands(whole, unused);
  return help_command(arguments.topic, whole.help(), names);
}

int completion(const CLI::App& app, const Arguments& arguments) {
  const auto topics = help_topics();
  fmt::print("{}", arguments.shell == "bash"  ? bash_completion(app, topics)
                   : arguments.shell == "zsh" ? zsh_completion(app, topics)
                                              : fish_completion(app, topics));
  return kExitOk;
}

int dispatch(CLI::App& app, Arguments& arguments) {
  const std::string name = app.get_subcommands().front()->get_name();
  if (name == "run") return run(arguments);
  if (name == "script") return script_command(arguments.script_file, arguments.words);
  if (name == "check") return check_command(arguments.check_file, arguments.json);
  if (name == "reload") return reload_command(arguments.target);
  if (name == "stop") return stop_command(arguments.target, arguments.wait_seconds);
  if (name == "status") return status_command(arguments.target, arguments.json);
  if (name == "sessions") return sessions_command(arguments.target, arguments.service, arguments.limit, arguments.json);
  if (name == "bans") return bans(arguments);
  if (name == "command")
    return command_command(arguments.target, arguments.service, arguments.command, arguments.words, arguments.json);
  if (name == "backends") return backends_command(arguments.target, arguments.service, arguments.json);
  if (name == "drain" || name == "undrain")
    return drain_command(arguments.target, name, arguments.service, arguments.backend, arguments.json);
  if (name == "fault")
    return fault_command(arguments.target, arguments.fault_action, arguments.service, arguments.words, arguments.json);
  if (name == "console") return console(arguments);
  if (name == "stats") return stats(arguments);
  if (name == "send" || name == "receive") {
    arguments.transfer.json = arguments.json;
    return name == "send" ? send_command(arguments.transfer) : receive_command(arguments.transfer);
  }
  if (name == "net") return net_command(arguments.addresses, arguments.json);
  if (name == "help") return help(app, arguments);
  if (name == "version") return version_command(arguments.json);
  if (name == "completion") return completion(app, arguments);
  fmt::print("{}", arguments.page == "configuration" ? configuration_man_page(kPortolanVersion)
                                                     : man_page(app, kPortolanVersion));
  return kExitOk;
}

// "did you mean": the word that CLI11 did not expect, beside the commands or the options of the command.
std::string suggestion(const CLI::App& app, int argc, char** argv) {
  const auto parsed = app.get_subcommands();
  std::vector<std::string> known;
  if (parsed.empty()) {
    for (const CLI::App* command : definition::commands(app)) known.push_back(command->get_name());
  } else {
    for (const CLI::Option* option : definition::flags(*parsed.front())) {
      for (auto& name : definition::spellings(*option)) known.push_back(std::move(name));
    }
  }
  const std::vector<std::string_view> views(known.begin(), known.end());
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = std::string_view(argv[i]).substr(0, std::string_view(argv[i]).find('='));
    if (parsed.empty() ? word.starts_with('-') : !word.starts_with("--")) continue;
    if (std::ranges::find(views, word) != views.end()) continue;
    if (const std::string_view near = nearest(word, views); !near.empty()) {
      return fmt::format(" Did you mean \"{}\"?", near);
    }
  }
  return {};
}

int usage_error(const CLI::App& app, const CLI::ParseError& error, int argc, char** argv) {
  if (argc < 2) {
    fmt::print(stderr, "{}", app.help());
    return kExitUsage;
  }
  const auto parsed = app.get_subcommands();
  const std::string command = parsed.empty() ? "portolan" : "portolan " + parsed.front()->get_name();
  std::string message = error.what();
  if (parsed.empty() && argv[1][0] != '-') message = fmt::format("there is no command \"{}\"", argv[1]);
  while (message.ends_with('\n') || message.ends_with('.')) message.pop_back();
  fmt::print(stderr, "{}: {}.{}\nTry \"{} --help\".\n", command, printable(message), suggestion(app, argc, argv),
             command);
  return kExitUsage;
}

int parse_and_run(int argc, char** argv) {
  Arguments arguments;
  CLI::App app;
  app.name("portolan");
  define_commands(app, arguments);
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    const auto parsed = app.get_subcommands();
    fmt::print("{}", parsed.empty() ? app.help() : parsed.front()->help("portolan"));
    return kExitOk;
  } catch (const CLI::ParseError& error) {
    // What people try first at a program that they do not know.
    if (argc == 2 && std::string_view(argv[1]) == "--version") return version_command(false);
    return usage_error(app, error, argc, argv);
  }
  return dispatch(app, arguments);
}

// A machine's openssl.cnf may name engines and providers: shared objects, built for another OpenSSL than the one that is
// linked into us. A dynamic build has the machine's OpenSSL, and obeys its administrator.
void leave_openssl_alone() noexcept {
  if constexpr (std::string_view(kPortolanShape) != "dynamic") OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG, nullptr);
}

}  // namespace

int run_command_line(int argc, char** argv) noexcept {
  int code = kExitFailed;
  leave_openssl_alone();
  try {
    code = parse_and_run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "portolan: %s\n", error.what());
    return kExitFailed;
  }
  // A full disk behind `portolan ... > file` shows only here.
  if (std::fflush(stdout) != 0 && code == kExitOk) {
    std::fprintf(stderr, "portolan: cannot write to standard output: %s\n", std::strerror(errno));
    return kExitFailed;
  }
  return code;
}

}  // namespace portolan
