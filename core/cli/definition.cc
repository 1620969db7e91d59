#include "cli/definition.h"

#include "base/units.h"

#include <fmt/format.h>

#include <map>

namespace portolan {

namespace {

// CLI11 prints a footer as it is.
std::string examples_footer(std::initializer_list<std::string_view> lines) {
  std::string text = "Examples:";
  for (const std::string_view line : lines) text += fmt::format("\n  {}", line);
  return text;
}

void add_target(CLI::App& command, Arguments& arguments) {
  CLI::Option* socket =
      command
          .add_option("--socket", arguments.target.socket,
                      "The daemon's admin socket (default: $PORTOLAN_SOCKET, else the "
                      "first of ./portolan.sock, $XDG_RUNTIME_DIR/portolan/portolan.sock, /run/portolan/portolan.sock)")
          ->type_name("SOCKET");
  command.add_flag("--user", arguments.target.user, "Your own daemon, that `portolan run --user` started")
      ->excludes(socket);
  command.add_option("-c,--config", arguments.target.config_file, "The configuration of the daemon that is meant")
      ->type_name("FILE");
}

CLI::Validator duration_check() {
  return CLI::Validator(
      [](std::string& text) {
        const auto parsed = parse_duration(text);
        return parsed ? std::string() : parsed.error();
      },
      "", "duration");
}

void add_json(CLI::App& command, Arguments& arguments) { command.add_flag("--json", arguments.json, "Print JSON"); }

template <typename Value, typename Parse>
void add_parsed(CLI::App& command, const std::string& name, Value& value, Parse parse, const std::string& type,
                const std::string& help) {
  command
      .add_option_function<std::string>(
          name, [&value, parse](const std::string& text) { value = parse(text).value_or(Value{}); }, help)
      ->type_name(type)
      ->check(CLI::Validator(
          [parse](std::string& text) {
            const auto parsed = parse(text);
            return parsed ? std::string() : parsed.error();
          },
          "", type));
}

// An option whose text is one of a few words, each with its value.
template <typename Value>
void add_choice(CLI::App& command, const std::string& name, Value& value,
                std::vector<std::pair<std::string, Value>> words, const std::string& help) {
  std::vector<std::string> names;
  for (const auto& [word, ignored] : words) names.push_back(word);
  command
      .add_option_function<std::string>(
          name,
          [&value, words = std::move(words)](const std::string& chosen) {
            for (const auto& [word, meaning] : words) {
              if (word == chosen) value = meaning;
            }
          },
          help)
      ->check(CLI::IsMember(names));
}

void define_run(CLI::App& app, Arguments& arguments) {
  CLI::App* run = app.add_subcommand("run", "Serve what a configuration says, until SIGTERM or `portolan stop`");
  run->add_option("-c,--config", arguments.run.config_file,
                  "The configuration (default: $PORTOLAN_CONFIG, else /etc/portolan/portolan.lua)")
      ->type_name("FILE");
  run->add_flag("--user", arguments.run_user,
                "Your own daemon, in your own folders: the configuration is $XDG_CONFIG_HOME/portolan/portolan.lua "
                "(~/.config), the state $XDG_STATE_HOME/portolan (~/.local/state), the admin socket in "
                "$XDG_RUNTIME_DIR/portolan");
  run->add_flag("--daemon", arguments.run.daemonize, "Go to the background; return when it serves, or has failed");
  run->add_option("--pid-file", arguments.run.pid_file, "Write the process id there, and run only once by it")
      ->type_name("FILE");
  run->add_option("--state-dir", arguments.run.state_dir,
                  "Where the database, the admin socket and relative paths are (default: as configured, else "
                  "$STATE_DIRECTORY, else here)")
      ->type_name("DIR");
  add_choice<log::Format>(*run, "--log", arguments.run.log_format,
                          {{"auto", log::Format::automatic}, {"text", log::Format::text}, {"json", log::Format::json}},
                          "How the log is written (auto: text on a terminal, else JSON lines)");
  add_choice<std::optional<LogLevel>>(*run, "--log-level", arguments.run.log_level,
                                      {{"error", LogLevel::error},
                                       {"warning", LogLevel::warning},
                                       {"info", LogLevel::info},
                                       {"debug", LogLevel::debug}},
                                      "The least that is logged (default: as configured)");
  run->footer(examples_footer({"portolan run -c config/default.lua", "portolan run -c my.lua --state-dir /tmp/portolan",
                               "portolan run --user", "portolan run --daemon --pid-file /run/portolan.pid"}));
}

void define_daemon_commands(CLI::App& app, Arguments& arguments) {
  CLI::App* reload =
      app.add_subcommand("reload", "Have the daemon read its configuration again; without losing a session");
  add_target(*reload, arguments);
  reload->footer(examples_footer({"portolan reload", "portolan reload -c /etc/portolan/portolan.lua"}));

  CLI::App* stop = app.add_subcommand("stop", "End the daemon; its sessions may finish until drain_timeout");
  add_target(*stop, arguments);
  stop->add_option("--wait", arguments.wait_seconds, "Wait so long for the process to be gone")
      ->type_name("SECONDS")
      ->check(CLI::Range(0.0, 86400.0).description(""));
  stop->footer(examples_footer({"portolan stop", "portolan stop --wait 40"}));

  CLI::App* status = app.add_subcommand("status", "Show the daemon, its services and their listeners");
  add_target(*status, arguments);
  add_json(*status, arguments);
  status->footer(
      examples_footer({"portolan status", "portolan status --user", "portolan status --json | jq .generation"}));

  CLI::App* sessions = app.add_subcommand("sessions", "Show the sessions that are open");
  sessions->add_option("service", arguments.service, "Only those of this service")->type_name("SERVICE");
  add_target(*sessions, arguments);
  sessions->add_option("--limit", arguments.limit, "Show at most so many")
      ->type_name("N")
      ->capture_default_str()
      ->check(CLI::Range(1, 100'000).description(""));
  add_json(*sessions, arguments);
  sessions->footer(examples_footer({"portolan sessions", "portolan sessions echo --limit 10 --json"}));
}

void define_bans(CLI::App& app, Arguments& arguments) {
  CLI::App* bans = app.add_subcommand("bans", "Show who is banned; ban an address, or lift a ban");
  bans->add_option("action", arguments.ban_action, "add or lift; without it, the bans are shown")
      ->check(CLI::IsMember({"add", "lift"}));
  bans->add_option("address", arguments.ban_address, "192.0.2.7, or 2001:db8::7 for its /64; lift takes `all` too")
      ->type_name("ADDRESS");
  bans->add_option("--time", arguments.ban_time, "How long to ban: 90s, 1h30m, 7d (default: bans.time as configured)")
      ->type_name("DURATION")
      ->check(duration_check());
  bans->add_option("--reason", arguments.ban_reason, "Why, for those who look later")->type_name("TEXT");
  add_json(*bans, arguments);
  add_target(*bans, arguments);
  bans->footer(examples_footer({"portolan bans", "portolan bans --json | jq .bans[].address",
                                "portolan bans add 192.0.2.7 --time 1d --reason scanner",
                                "portolan bans lift 192.0.2.7", "portolan bans lift all"}));
}

void add_service(CLI::App& command, Arguments& arguments, const std::string& help, bool required) {
  command.add_option("service", arguments.service, help)->type_name("SERVICE")->required(required);
}

void define_service_commands(CLI::App& app, Arguments& arguments) {
  CLI::App* backends = app.add_subcommand("backends", "Show the backends of services that relay, and how they are");
  add_service(*backends, arguments, "Only those of this service", false);
  add_target(*backends, arguments);
  add_json(*backends, arguments);
  backends->footer(examples_footer({"portolan backends", "portolan backends web --json"}));

  CLI::App* drain = app.add_subcommand(
      "drain", "Give a service, or one of its backends, no new sessions; until undrain or a restart");
  add_service(*drain, arguments, "The service; its open sessions end when they are quiet", true);
  drain->add_option("backend", arguments.backend, "Only this backend of it")->type_name("BACKEND");
  add_target(*drain, arguments);
  add_json(*drain, arguments);
  drain->footer(examples_footer({"portolan drain echo", "portolan drain web b1"}));

  CLI::App* undrain = app.add_subcommand("undrain", "Give a service, or one of its backends, sessions again");
  add_service(*undrain, arguments, "The service", true);
  undrain->add_option("backend", arguments.backend, "Only this backend of it")->type_name("BACKEND");
  add_target(*undrain, arguments);
  add_json(*undrain, arguments);
  undrain->footer(examples_footer({"portolan undrain echo", "portolan undrain web b1"}));

  CLI::App* fault =
      app.add_subcommand("fault", "Break a service's network on purpose: add a fault, list them, remove one");
  fault->add_option("action", arguments.fault_action, "What to do")
      ->required()
      ->check(CLI::IsMember({"add", "list", "remove"}));
  add_service(*fault, arguments, "The service; list without one shows all", false);
  fault
      ->add_option("arguments", arguments.words,
                   "add: the kind of the fault, then what it takes as KEY=VALUE; remove: the fault's id, or all")
      ->type_name("WORD");
  add_target(*fault, arguments);
  add_json(*fault, arguments);
  fault->footer(examples_footer({"portolan fault add web latency latency=100ms jitter=20ms probability=0.5",
                                 "portolan fault list web", "portolan fault remove web all"}));

  CLI::App* command = app.add_subcommand("command", "Give a service a command of its plugin (`portolan help PLUGIN`)");
  add_service(*command, arguments, "The service", true);
  command->add_option("command", arguments.command, "The command")->type_name("COMMAND")->required();
  command->add_option("arguments", arguments.words, "What the command takes")->type_name("KEY=VALUE");
  add_target(*command, arguments);
  add_json(*command, arguments);
  command->footer(examples_footer({"portolan command web backends", "portolan command web drain backend=b1 --json"}));
}

void define_console(CLI::App& app, Arguments& arguments) {
  CLI::App* console = app.add_subcommand("console", "Evaluate Lua in the running daemon, line by line");
  add_target(*console, arguments);
  console->add_option("-e,--execute", arguments.console.expressions, "Evaluate this, and end; may be given again")
      ->type_name("LUA")
      ->allow_extra_args(false);
  console
      ->add_option("--service", arguments.console.service,
                   "As a function of this service (default: the first that has functions)")
      ->type_name("SERVICE");
  console->add_option("--worker", arguments.console.worker, "In this worker's Lua state, from 0")
      ->type_name("N")
      ->capture_default_str()
      ->check(CLI::Range(0, 255).description(""));
  console
      ->add_option_function<std::string>(
          "--timeout",
          [&arguments](const std::string& text) { arguments.console.time = parse_duration(text).value_or(Duration{}); },
          "How long a line may take, up to 1h (default: 30s)")
      ->type_name("DURATION")
      ->check(duration_check());
  add_json(*console, arguments);
  console->footer(examples_footer({"portolan console", "portolan console --user --service greeter",
                                   "portolan console -e 'portolan.store.get(\"visits\")'",
                                   "portolan console --json -e 'portolan.net.interfaces()' | jq .[].name",
                                   "cat maintenance.lua | portolan console --timeout 5m",
                                   "portolan console -e '.sql select * from service_totals'"}));
}

void add_key(CLI::App& command, TransferArguments& transfer) {
  command
      .add_option("--key", transfer.key,
                  "The passphrase that both sides share; whoever lists this machine's processes sees it")
      ->type_name("TEXT");
  command
      .add_option("--key-file", transfer.key_file,
                  "A file whose first line it is (default: $PORTOLAN_KEY; without any, the link is not protected)")
      ->type_name("FILE");
}

void add_store(CLI::App& command, TransferArguments& transfer) {
  command
      .add_option("--store", transfer.store,
                  "Keep what became of each file in a store of its own: "
                  "sqlite3 FILE 'select * from transfers'")
      ->type_name("FILE");
}

void define_send(CLI::App& app, Arguments& arguments) {
  TransferArguments& transfer = arguments.transfer;
  CLI::App* send = app.add_subcommand("send", "Send files and folders to a `portolan receive` or a drop box");
  // One list: CLI11 gives everything to the first of two, the place included.
  send->add_option("file", transfer.files,
                   "What to send, and as the last word where to: HOST[:PORT] by rudp (port 7660), tcp://HOST[:PORT] or "
                   "unix://PATH")
      ->type_name("FILE")
      ->required();
  add_key(*send, transfer);
  add_parsed(*send, "--rate", transfer.rate, parse_rate, "RATE",
             "Send no faster: 10MiB/s (default: as fast as it goes)");
  add_choice<rudp::Congestion>(
      *send, "--congestion", transfer.congestion,
      {{"model", rudp::Congestion::model}, {"cubic", rudp::Congestion::cubic}, {"fixed", rudp::Congestion::fixed}},
      "How rudp shares the link: by a model of it, as TCP does, or with --rate whatever happens");
  send->add_flag("--follow-links", transfer.follow_links, "Send what symbolic links in folders lead to");
  add_parsed(*send, "--stall", transfer.stall, parse_duration, "DURATION",
             "Say so, and connect again, after so long without progress (default: 10s)");
  add_parsed(*send, "--give-up", transfer.give_up, parse_duration, "DURATION",
             "Fail after so long without progress (default: 5m; 15s for a side that never answered)");
  add_store(*send, transfer);
  send->add_flag("-q,--quiet", transfer.quiet, "Print problems alone");
  add_json(*send, arguments);
  send->footer(examples_footer({"portolan send photos 192.168.1.20 --key-file ~/.portolan-key",
                                "PORTOLAN_KEY='five words of your own' portolan send a.iso b.iso nas.lan:7660",
                                "portolan send backup.tar nas.lan --rate 2MiB/s --json",
                                "portolan send log/ unix:///run/drop.sock"}));
}

void define_receive(CLI::App& app, Arguments& arguments) {
  TransferArguments& transfer = arguments.transfer;
  CLI::App* receive = app.add_subcommand("receive", "Take files that `portolan send` sends, into a folder");
  receive->add_option("folder", transfer.folder, "Where to (default: here)")->type_name("DIR");
  receive
      ->add_option("--listen", transfer.listen,
                   "ADDRESS[:PORT], tcp://ADDRESS[:PORT] or unix://PATH; may be given again (default: with a key every "
                   "address, without one 127.0.0.1; port 7660)")
      ->type_name("ADDRESS")
      ->allow_extra_args(false);
  add_key(*receive, transfer);
  receive->add_option("--allow", transfer.allow, "Only senders of this network; may be given again (default: all)")
      ->type_name("NETWORK")
      ->allow_extra_args(false);
  receive
      ->add_option("--existing", transfer.existing,
                   "What is done where there is another file of the name; the same file is left as it is")
      ->check(CLI::IsMember({"refuse", "skip", "replace", "rename"}))
      ->capture_default_str();
  add_parsed(*receive, "--max-file", transfer.max_file, parse_size, "SIZE", "The longest file (default: any)");
  add_parsed(*receive, "--max-transfer", transfer.max_transfer, parse_size, "SIZE",
             "The most in one transfer (default: any)");
  receive->add_option("--max-files", transfer.max_files, "The most files in one transfer (default: any)")
      ->type_name("N")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 40).description(""));
  add_parsed(*receive, "--quota", transfer.quota, parse_size, "SIZE",
             "The most that the folder may hold (default: any)");
  add_parsed(*receive, "--keep-free", transfer.keep_free, parse_size, "SIZE",
             "So much stays free on the disk (default: 64MiB)");
  receive->add_flag("--once", transfer.once, "End after one transfer; by the exit code, whether all of it is there");
  add_store(*receive, transfer);
  receive->add_flag("-q,--quiet", transfer.quiet, "Print problems alone");
  add_json(*receive, arguments);
  receive->footer(
      examples_footer({"portolan receive", "portolan receive ~/incoming --key-file ~/.portolan-key",
                       "portolan receive /srv/in --listen 192.168.1.20 --allow 192.168.1.0/24 --quota 20GiB",
                       "portolan receive --once --json --listen 127.0.0.1:0"}));
}

void define_stats(CLI::App& app, Arguments& arguments) {
  CLI::App* stats = app.add_subcommand("stats", "Show what was counted, from the database");
  stats->add_option("service", arguments.service, "Only this service")->type_name("SERVICE");
  stats
      ->add_option_function<std::string>(
          "--since",
          [&arguments](const std::string& text) { arguments.since = parse_duration(text).value_or(Duration{}); },
          "How far back: 90s, 1h30m, 7d; 0: all that is kept (default: 24h)")
      ->type_name("DURATION")
      ->check(duration_check());
  add_choice<Grouping>(
      *stats, "--by", arguments.by,
      {{"total", Grouping::total}, {"minute", Grouping::minute}, {"hour", Grouping::hour}, {"day", Grouping::day}},
      "A line for each of these");
  add_json(*stats, arguments);
  stats->add_option("--store", arguments.store_file, "Read this database, without asking a daemon")->type_name("FILE");
  add_target(*stats, arguments);
  stats->footer(examples_footer({"portolan stats", "portolan stats echo --since 1h --by minute",
                                 "portolan stats --store /var/lib/portolan/portolan.db --since 0 --json"}));
}

}  // namespace

void define_commands(CLI::App& app, Arguments& arguments) {
  app.description("portolan: serves protocols configured and scripted in Lua, with statistics in SQLite");
  app.set_help_flag("-h,--help", "Print this help");
  app.require_subcommand(1);
  app.get_formatter()->column_width(32);
  app.footer(
      "Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 no daemon answers, 4 nothing found.\n"
      "`portolan COMMAND --help` has examples; `portolan help` lists the plugins.");

  define_run(app, arguments);

  CLI::App* check = app.add_subcommand("check", "Check a configuration and report all of its mistakes; opens nothing");
  check->add_option("file", arguments.check_file, "The configuration")->type_name("FILE")->required();
  add_json(*check, arguments);
  check->footer(examples_footer({"portolan check /etc/portolan/portolan.lua", "portolan check my.lua --json"}));

  CLI::App* script = app.add_subcommand("script", "Run a Lua file as a daemon's script would run, without a daemon");
  script->add_option("file", arguments.script_file, "The script; - for standard input")->type_name("FILE")->required();
  script->add_option("argument", arguments.words, "What the script is given, as …")->type_name("ARGUMENT");
  script->footer(
      examples_footer({"portolan script probe.lua 192.168.1.1", "echo 'print(portolan.date())' | portolan script -"}));

  define_daemon_commands(app, arguments);
  define_bans(app, arguments);
  define_service_commands(app, arguments);
  define_console(app, arguments);
  define_stats(app, arguments);
  define_send(app, arguments);
  define_receive(app, arguments);

  CLI::App* net = app.add_subcommand("net", "Show this machine's interfaces, what kind of address one is, or a name's");
  net->add_option("address", arguments.addresses,
                  "192.0.2.1, 10.0.0.0/8, [::1]:80, fe80::1%eth0, tcp://127.0.0.1:80, or a name to resolve: nas.lan")
      ->type_name("ADDRESS");
  add_json(*net, arguments);
  net->footer(examples_footer({"portolan net", "portolan net 192.168.1.20/24 fe80::1 udp://[::1]:53",
                               "portolan net nas.lan --json", "portolan net --json"}));

  CLI::App* help = app.add_subcommand("help", "Explain a command, a plugin, or what a configuration may hold");
  help->add_option("topic", arguments.topic, "A command, a plugin, `service` or `configuration`")->type_name("TOPIC");
  help->footer(examples_footer({"portolan help", "portolan help echo", "portolan help service", "portolan help run"}));

  CLI::App* version = app.add_subcommand("version", "Print the version, and those of the libraries");
  add_json(*version, arguments);
  version->footer(examples_footer({"portolan version", "portolan version --json"}));

  CLI::App* completion = app.add_subcommand("completion", "Print the completions for a shell");
  completion->add_option("shell", arguments.shell, "The shell")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  completion->footer(
      examples_footer({"source <(portolan completion bash)", "portolan completion zsh > ~/.zfunc/_portolan",
                       "portolan completion fish > ~/.config/fish/completions/portolan.fish"}));

  CLI::App* man = app.add_subcommand("man", "Print a manual page");
  man->add_option("page", arguments.page, "portolan(1), or that of the configuration, portolan.lua(5)")
      ->check(CLI::IsMember({"portolan", "configuration"}))
      ->capture_default_str();
  man->footer(examples_footer({"portolan man | man -l -", "portolan man configuration | man -l -",
                               "portolan man > /usr/local/share/man/man1/portolan.1"}));

  for (CLI::App* command : app.get_subcommands(nullptr)) {
    command->get_formatter()->column_width(32);
  }
}

namespace definition {

std::vector<const CLI::App*> commands(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App*) { return true; });
}

std::vector<const CLI::Option*> flags(const CLI::App& command) {
  return command.get_options([](const CLI::Option* option) { return !option->get_positional(); });
}

std::vector<const CLI::Option*> positionals(const CLI::App& command) {
  return command.get_options([](const CLI::Option* option) { return option->get_positional(); });
}

bool takes_value(const CLI::Option& option) { return option.get_type_size_max() > 0; }

std::string value_name(const CLI::Option& option) {
  const std::string name = option.get_type_name();
  return name.substr(0, name.find(':'));
}

std::vector<std::string> choices(const CLI::Option& option) {
  const std::string name = option.get_type_name();
  const std::size_t open = name.find('{');
  const std::size_t close = name.find('}', open);
  std::vector<std::string> words;
  if (open == std::string::npos || close == std::string::npos) return words;
  for (std::size_t from = open + 1; from < close;) {
    const std::size_t end = std::min(name.find(',', from), close);
    words.push_back(name.substr(from, end - from));
    from = end + 1;
  }
  return words;
}

std::vector<std::string> examples(const CLI::App& command) {
  std::vector<std::string> lines;
  const std::string footer = command.get_footer();
  for (std::size_t from = footer.find('\n'); from != std::string::npos;) {
    const std::size_t end = footer.find('\n', from + 1);
    std::string line = footer.substr(from + 1, end == std::string::npos ? end : end - from - 1);
    line.erase(0, line.find_first_not_of(' '));
    if (!line.empty()) lines.push_back(line);
    from = end;
  }
  return lines;
}

std::vector<std::string> spellings(const CLI::Option& option) {
  std::vector<std::string> names;
  for (const std::string& name : option.get_snames()) names.push_back("-" + name);
  for (const std::string& name : option.get_lnames()) names.push_back("--" + name);
  return names;
}

}  // namespace definition

}  // namespace portolan
