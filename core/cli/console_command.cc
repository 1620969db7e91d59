#include "cli/console_command.h"

#include "app/build.h"
#include "base/clock.h"
#include "base/unique_fd.h"
#include "base/units.h"
#include "cli/console_input.h"
#include "cli/console_link.h"
#include "cli/console_printer.h"
#include "cli/console_words.h"
#include "cli/daemon_commands.h"
#include "cli/exit_code.h"
#include "cli/stats_command.h"
#include "cli/terminal.h"
#include "cli/user_folders.h"

#include <fmt/format.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <utility>

namespace portolan {

namespace {

constexpr const char* kHistoryFile = "/console_history";
constexpr const char* kPrompt = "> ";
constexpr const char* kContinued = ">> ";

// An address, where the path of a socket is meant.
bool is_network_address(std::string_view socket) noexcept {
  return std::ranges::any_of(std::initializer_list<std::string_view>{"tcp://", "tls://", "http://", "https://"},
                             [&](std::string_view scheme) { return socket.starts_with(scheme); });
}

class Console {
 public:
  Console(const ConsoleOptions& options, std::string socket, std::unique_ptr<ConsoleLink> link)
      : options_(options), link_(std::move(link)), printer_(options.json) {
    target_.socket = std::move(socket);
    // Ctrl-C is read, in its turn, beside the daemon and the keyboard.
    sigset_t interrupt;
    sigemptyset(&interrupt);
    sigaddset(&interrupt, SIGINT);
    sigprocmask(SIG_BLOCK, &interrupt, nullptr);
    around_.interrupts = (interrupts_ = UniqueFd(signalfd(-1, &interrupt, SFD_CLOEXEC | SFD_NONBLOCK))).get();
    around_.daemon = link_->descriptor();
    around_.on_daemon = [this] { return hear(); };
    around_.complete = [this](std::string_view before) { return complete(before); };
  }

  int run();

 private:
  enum class Outcome : std::uint8_t { done, failed, incomplete, over };

  int run_expressions();
  int run_lines(bool interactive);
  void greet() const;
  // A line, or what lines have come together to.
  Outcome enter(const std::string& text);
  Outcome send(std::string_view page, std::string_view text);
  Outcome command(const std::string& line);
  Outcome stats(const std::string& service) const;
  void help() const;
  // Prints what the daemon has said; false: it has ended the session.
  bool hear();
  Outcome fail(std::string_view why);
  Completion complete(std::string_view before);
  void learn_views();

  const ConsoleOptions& options_;
  DaemonTarget target_;
  std::unique_ptr<ConsoleLink> link_;
  ConsolePrinter printer_;
  UniqueFd interrupts_;
  ConsoleInput::Surroundings around_;
  std::vector<std::string> views_;
  bool knows_views_ = false;
  bool over_ = false;         // the daemon has ended the session
  bool interrupted_ = false;  // by Ctrl-C, in the middle of a line
};

Console::Outcome Console::fail(std::string_view why) {
  printer_.error(why);
  return Outcome::failed;
}

bool Console::hear() {
  const bool open = link_->receive();
  for (ConsoleMessage message; link_->take(message);) printer_.print(message);
  printer_.finish();
  if (open) return true;
  over_ = true;
  printer_.error("the daemon has ended the session");
  return false;
}

// ---- A line ------------------------------------------------------------------------------------------------------

Console::Outcome Console::send(std::string_view page, std::string_view text) {
  if (text.size() > kMostConsoleLine)
    return fail(fmt::format("a line has at most {}", format_size(std::int64_t{kMostConsoleLine})));
  printer_.begin();
  const std::string time = fmt::format("&time={}ms", to_ms(options_.time));
  if (const auto taken = link_->ask(page, time, text); !taken) return fail(taken.error().message);
  bool cancelled = false;
  bool incomplete = false;
  for (;;) {
    const bool open = link_->receive();
    for (ConsoleMessage message; link_->take(message);) {
      if (message.kind == "incomplete") incomplete = true;
      if (message.kind == "done") {
        printer_.finish();
        if (incomplete) return Outcome::incomplete;
        return printer_.failed() || cancelled ? Outcome::failed : Outcome::done;
      }
      printer_.print(message);
    }
    if (!open) {
      over_ = true;
      printer_.error("the daemon has ended the session");
      return Outcome::over;
    }
    std::fflush(stdout);
    const Woken woken = wait_for_any(around_, false);
    if (!woken.interrupt) continue;
    // The second one does not wait for what the first one has brought about.
    if (std::exchange(cancelled, true)) {
      over_ = true;
      return Outcome::over;
    }
    interrupted_ = true;
    (void)link_->ask("cancel");
  }
}

Console::Outcome Console::enter(const std::string& text) {
  const std::size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string::npos) return Outcome::done;
  return text[begin] == '.' ? command(text.substr(begin)) : send("line", text);
}

Console::Outcome Console::command(const std::string& line) {
  const std::size_t space = std::min(line.find_first_of(" \t"), line.size());
  const std::string name = line.substr(0, space);
  std::string rest = line.substr(std::min(line.find_first_not_of(" \t", space), line.size()));
  rest.erase(rest.find_last_not_of(" \t") + 1);
  const auto outcome = [](int code) { return code == kExitOk ? Outcome::done : Outcome::failed; };
  if (name == ".exit" || name == ".quit") return Outcome::over;
  if (name == ".sql")
    return rest.empty() ? fail(".sql what? As in: .sql select * from service_totals") : send("sql", rest);
  if (name == ".services") return outcome(status_command(target_, options_.json));
  if (name == ".sessions") return outcome(sessions_command(target_, rest, 100, options_.json));
  if (name == ".stats") return stats(rest);
  if (name == ".reload") return outcome(reload_command(target_));
  if (name != ".help") return fail(fmt::format("there is no command {}: .help lists them", printable(name)));
  help();
  return Outcome::done;
}

Console::Outcome Console::stats(const std::string& service) const {
  const auto path = flushed_store_path(target_);
  if (!path) {
    complain("stats", path.error());
    return Outcome::failed;
  }
  const int code =
      stats_command({.path = *path, .service = service, .json = options_.json, .terminal = output_is_terminal()});
  return code == kExitOk ? Outcome::done : Outcome::failed;
}

void Console::help() const {
  fmt::print(
      "A line is Lua: the values of an expression are shown, a statement is carried out, and what is begun\n"
      "goes on in the next line. Globals that are set stay in this console; those of the services are behind\n"
      "them. What waits does: portolan.sleep, dial, query, store ({} at the most). Ctrl-C ends it.\n\n",
      format_duration(options_.time));
  for (const DotCommand& one : dot_commands())
    fmt::print("  {:<22}{}\n", fmt::format("{} {}", one.name, one.arguments), one.help);
  fmt::print(
      "\nFor example:\n  portolan.store.get(\"visits\")\n  for i = 1, 3 do print(i) portolan.sleep(1) end\n"
      "  .sql select service, sessions from service_totals\n");
}

// ---- Completion --------------------------------------------------------------------------------------------------

Completion Console::complete(std::string_view before) {
  const TypedWord typed = typed_word(before);
  Completion found{.start = typed.start, .words = {}};
  const std::string_view word = before.substr(typed.start);
  if (typed.kind == TypedWord::Kind::command) {
    found.words = command_words(word);
  } else if (typed.kind == TypedWord::Kind::sql) {
    learn_views();
    for (const std::string& view : views_)
      if (view.starts_with(word)) found.words.push_back(view);
    if (!word.empty())
      for (std::string& keyword : sql_words(word)) found.words.push_back(std::move(keyword));
  } else if (typed.kind == TypedWord::Kind::lua) {
    const auto answer = link_->ask("complete", {}, before.substr(typed.path));
    if (answer) {
      for (const Answer& one : answer::list(*answer, "words"))
        if (one.is_string()) found.words.push_back(one.get<std::string>());
    }
    if (typed.path == typed.start && !word.empty())
      for (std::string& keyword : lua_words(word)) found.words.push_back(std::move(keyword));
  }
  std::ranges::sort(found.words);
  return found;
}

// Once: what there is to ask changes with the version only.
void Console::learn_views() {
  if (std::exchange(knows_views_, true)) return;
  if (!link_->ask("sql", "&time=2s", "select name from sqlite_schema where type in ('view', 'table')")) return;
  for (bool open = true; open;) {
    open = link_->receive();
    for (ConsoleMessage message; link_->take(message);) {
      if (message.kind == "done") return;
      if (message.kind == "rows") views_ = ConsolePrinter::first_column(message.text);
      if (message.kind == "value") views_ = ConsolePrinter::names_of_json(message.text);
    }
    if (open) wait_for_any({.daemon = link_->descriptor()}, false);
  }
}

// ---- Where lines come from ---------------------------------------------------------------------------------------

int Console::run_expressions() {
  bool failed = false;
  for (const std::string& expression : options_.expressions) {
    const Outcome outcome = enter(expression);
    if (outcome == Outcome::incomplete) fail("it ends in the middle of a statement");
    failed = failed || outcome != Outcome::done;
    // Ctrl-C is for all that was to come.
    if (outcome == Outcome::over || interrupted_) break;
  }
  return failed ? kExitFailed : kExitOk;
}

void Console::greet() const {
  const std::string service = answer::text(link_->facts(), "service");
  fmt::print("portolan {}: generation {}, worker {}, {}. .help explains, Ctrl-D ends.\n", kPortolanVersion,
             answer::number(link_->facts(), "generation"), answer::number(link_->facts(), "worker"),
             service.empty() ? "of no service" : fmt::format("service \"{}\"", service));
}

int Console::run_lines(bool interactive) {
  if (const auto own = find_user_folders()) around_.history = own->state_dir + kHistoryFile;
  const bool terminal = isatty(STDIN_FILENO) == 1;
  const auto input = interactive ? terminal_input(around_) : plain_input(around_, false);
  if (interactive) greet();
  bool failed = false;
  std::string text;  // begun and not whole
  for (std::string line;;) {
    const auto got = input->read(text.empty() ? kPrompt : kContinued, line);
    if (got == ConsoleInput::Got::end) break;
    if (got == ConsoleInput::Got::interrupted) {
      if (!terminal) return kExitFailed;
      text.clear();
      continue;
    }
    if (interactive && line.find_first_not_of(" \t") != std::string::npos) input->remember(line);
    text += (text.empty() ? "" : "\n") + line;
    const Outcome outcome = enter(text);
    if (outcome == Outcome::incomplete) continue;
    // .exit is no failure; the end of the daemon is.
    if (outcome == Outcome::over) return over_ || (failed && !interactive) ? kExitFailed : kExitOk;
    failed = failed || outcome == Outcome::failed;
    if (std::exchange(interrupted_, false) && !terminal) return kExitFailed;
    text.clear();
  }
  if (interactive) fmt::print("\n");
  if (!text.empty()) {
    fail("the input ends in the middle of a statement");
    failed = true;
  }
  // On a terminal somebody has seen what failed.
  return over_ || (failed && !interactive) ? kExitFailed : kExitOk;
}

int Console::run() {
  if (!options_.expressions.empty()) return run_expressions();
  return run_lines(isatty(STDIN_FILENO) == 1 && output_is_terminal());
}

}  // namespace

int console_command(const ConsoleOptions& options) {
  const auto socket =
      is_network_address(options.target.socket) ? options.target.socket : find_admin_socket(options.target);
  if (!socket) return complain("console", socket.error());
  if (is_network_address(*socket)) {
    return complain(
        "console",
        {kExitUsage, fmt::format("the console does not go over TCP ({}): whoever reaches a port could run scripts. "
                                 "Run it on the daemon's machine (ssh HOST portolan console), or name its admin "
                                 "socket with --socket PATH",
                                 *socket)});
  }
  std::string wish = fmt::format("?worker={}&style={}", options.worker,
                                 options.json           ? "json"
                                 : output_is_terminal() ? "table"
                                                        : "text");
  if (!options.service.empty()) wish += "&service=" + percent_encoded(options.service);
  auto link = ConsoleLink::open(*socket, wish);
  if (!link) return complain("console", link.error());
  return Console(options, *socket, std::move(*link)).run();
}

}  // namespace portolan
