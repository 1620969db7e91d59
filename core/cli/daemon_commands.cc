#include "cli/daemon_commands.h"

#include "base/clock.h"
#include "base/unique_fd.h"
#include "base/units.h"
#include "cli/daemon_answer.h"
#include "cli/exit_code.h"
#include "cli/service_commands.h"
#include "cli/terminal.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>

namespace portolan {

namespace {

using Json = Answer;
using namespace answer;

// A reload reads files, makes Lua states and asks every worker.
constexpr Duration kReloadPatience = std::chrono::minutes(2);

// Waits for a process that is not our child; false when it is still there at the deadline.
bool wait_for_end(pid_t process, double seconds) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  const auto left_ms = [&] {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    return std::max<std::int64_t>(left.count(), 0);
  };
#ifdef SYS_pidfd_open
  if (const UniqueFd handle(static_cast<int>(::syscall(SYS_pidfd_open, process, 0))); handle) {
    for (std::int64_t left = 0; (left = left_ms()) > 0;) {
      pollfd entry{.fd = handle.get(), .events = POLLIN, .revents = 0};
      if (::poll(&entry, 1, static_cast<int>(std::min<std::int64_t>(left, 60'000))) > 0) return true;
    }
    return false;
  }
#endif
  // No pidfd (an old kernel), or gone already.
  while (::kill(process, 0) == 0 || errno == EPERM) {
    if (left_ms() == 0) return false;
    ::poll(nullptr, 0, 50);
  }
  return true;
}

// "drained, 2 of 3 backends up".
std::string state_of(const DaemonTarget& target, const Json& service) {
  if (!text(service, "error").empty()) return "failed";
  std::string state = flag(service, "drained") ? "drained" : "";
  if (const std::string backends = backends_summary(target, service); !backends.empty())
    state += (state.empty() ? "" : ", ") + backends;
  return state.empty() ? "serves" : state;
}

void print_status(const DaemonTarget& target, const Json& status) {
  const std::int64_t now = unix_ms();
  fmt::print("portolan {}, process {}, up {}\n", text(status, "version"), number(status, "pid"),
             rough_age(now - number(status, "started_ms")));
  const std::int64_t workers = number(status, "workers");
  fmt::print("configuration  {}, generation {} since {} ago, {} worker{}\n", text(status, "config_file"),
             number(status, "generation"), rough_age(now - number(status, "loaded_ms")), workers,
             workers == 1 ? "" : "s");
  if (const std::string path = text(status, "store_path"); path.empty()) {
    fmt::print("store          none\n");
  } else {
    const Json store = status.value("store", Json::object());
    const std::int64_t flushed = number(store, "last_flush_ms");
    const std::string last =
        flushed > 0 ? fmt::format("last written {} ago", rough_age(now - flushed)) : "nothing written yet";
    fmt::print("store          {}: {}, {}\n", path,
               flag(store, "ok") ? emphasized(Emphasis::good, "ok") : emphasized(Emphasis::bad, text(store, "error")),
               last);
  }
  if (const std::int64_t pauses = number(status, "accept_pauses"); pauses > 0) {
    fmt::print("descriptors    ran out {} time{}: raise the limit, or lower max_sessions\n", pauses,
               pauses == 1 ? "" : "s");
  }
  if (const std::int64_t banned = number(status, "bans"); banned > 0) {
    fmt::print("bans           {} address{}: see `portolan bans`\n", banned, banned == 1 ? "" : "es");
  }
  if (const Json& reasons = list(status, "not_ready"); reasons.empty()) {
    fmt::print("ready          {}\n", emphasized(Emphasis::good, "yes"));
  } else {
    for (const Json& reason : reasons) {
      if (!reason.is_string()) continue;
      fmt::print("not ready      {}\n", emphasized(Emphasis::bad, printable(reason.get<std::string>())));
    }
  }
  Table table({{"SERVICE"}, {"PLUGIN"}, {"OPEN", true}, {"STATE"}, {"LISTENERS"}});
  for (const Json& service : list(status, "services")) {
    std::string where = text(service, "error");
    if (!where.empty()) where = "does not serve: " + where;
    for (const Json& listener : list(service, "listeners")) {
      if (!listener.is_string()) continue;
      if (!where.empty()) where += ' ';
      where += printable(listener.get<std::string>());
    }
    table.add(
        {text(service, "name"), text(service, "plugin"), count(service, "open"), state_of(target, service), where});
  }
  if (!table.empty()) fmt::print("\n{}", table.text());
}

}  // namespace

int reload_command(const DaemonTarget& target) {
  const auto answer = ask(target, "POST", "/reload", kReloadPatience);
  if (!answer) {
    if (answer.error().exit_code == kExitNoDaemon) return complain("reload", answer.error());
    fmt::print(stderr, "portolan reload: nothing was changed:\n{}\n", answer.error().message);
    return answer.error().exit_code;
  }
  fmt::print("reloaded: generation {} serves\n", number(*answer, "generation"));
  return kExitOk;
}

int stop_command(const DaemonTarget& target, double wait_seconds) {
  pid_t process = 0;
  if (wait_seconds > 0) {
    const auto status = ask(target, "GET", "/status");
    if (!status) return complain("stop", status.error());
    process = static_cast<pid_t>(number(*status, "pid"));
  }
  if (const auto answer = ask(target, "POST", "/stop"); !answer) return complain("stop", answer.error());
  if (process <= 0) {
    fmt::print("stopping: sessions may finish until drain_timeout\n");
    return kExitOk;
  }
  if (wait_for_end(process, wait_seconds)) {
    fmt::print("stopped\n");
    return kExitOk;
  }
  fmt::print(stderr, "portolan stop: process {} is still draining its sessions after {} s\n", process, wait_seconds);
  return kExitFailed;
}

int status_command(const DaemonTarget& target, bool json) {
  const auto status = ask(target, "GET", "/status");
  if (!status) return complain("status", status.error());
  json ? print_json(*status) : print_status(target, *status);
  return kExitOk;
}

int sessions_command(const DaemonTarget& target, const std::string& service, std::uint32_t limit, bool json) {
  std::string path = fmt::format("/sessions?limit={}", limit);
  if (!service.empty()) path += "&service=" + percent_encoded(service);
  const auto answer = ask(target, "GET", path);
  if (!answer) return complain("sessions", answer.error());
  if (json) {
    print_json(*answer);
    return kExitOk;
  }
  const std::int64_t now = unix_ms();
  Table table({{"SESSION", true},
               {"SERVICE"},
               {"PEER"},
               {"OVER"},
               {"AGE", true},
               {"IDLE", true},
               {"MESSAGES", true},
               {"IN", true},
               {"OUT", true},
               {"UNSENT", true}});
  for (const Json& session : list(*answer, "sessions")) {
    table.add({fmt::format("{}", number(session, "id")), text(session, "service"), text(session, "peer"),
               text(session, "transport"), rough_age(now - number(session, "started_ms")),
               rough_age(number(session, "idle_ms")), count(session, "messages"),
               format_size(number(session, "bytes_in")), format_size(number(session, "bytes_out")),
               format_size(number(session, "unsent"))});
  }
  if (table.empty()) {
    fmt::print("no session is open\n");
    return kExitOk;
  }
  fmt::print("{}", table.text());
  if (flag(*answer, "limit_reached")) fmt::print("that is the limit of {}; there may be more (--limit)\n", limit);
  return kExitOk;
}

int bans_command(const DaemonTarget& target, bool json) {
  const auto answer = ask(target, "GET", "/bans");
  if (!answer) return complain("bans", answer.error());
  if (json) {
    print_json(*answer);
    return kExitOk;
  }
  const std::int64_t now = unix_ms();
  Table table({{"ADDRESS"}, {"AGE", true}, {"LEFT", true}, {"VIOLATIONS", true}, {"SERVICE"}, {"REASON"}});
  for (const Json& ban : list(*answer, "bans")) {
    table.add({text(ban, "address"), rough_age(now - number(ban, "since_ms")), rough_age(number(ban, "until_ms") - now),
               count(ban, "violations"), text(ban, "service"), text(ban, "reason")});
  }
  fmt::print("{}", table.empty() ? "nobody is banned\n" : table.text());
  return kExitOk;
}

int ban_command(const DaemonTarget& target, const std::string& address, const std::string& time,
                const std::string& reason, bool json) {
  std::string path = "/ban?address=" + percent_encoded(address);
  if (!time.empty()) path += "&time=" + percent_encoded(time);
  if (!reason.empty()) path += "&reason=" + percent_encoded(reason);
  const auto answer = ask(target, "POST", path);
  if (!answer) return complain("bans", answer.error());
  json ? print_json(*answer) : fmt::print("banned {}\n", text(*answer, "address"));
  return kExitOk;
}

int unban_command(const DaemonTarget& target, const std::string& address, bool json) {
  const auto answer = ask(target, "POST", "/unban?address=" + percent_encoded(address));
  if (!answer) return complain("bans", answer.error());
  const std::int64_t lifted = number(*answer, "lifted");
  json ? print_json(*answer) : fmt::print("lifted {} ban{}\n", lifted, lifted == 1 ? "" : "s");
  return kExitOk;
}

std::expected<std::string, CommandFailure> flushed_store_path(const DaemonTarget& target) {
  const auto status = ask(target, "GET", "/status");
  if (!status) return std::unexpected(status.error());
  std::string path = status->value("store_path", std::string());
  if (path.empty()) {
    return std::unexpected(CommandFailure{kExitFailed, "the daemon has no store: its configuration switches it off"});
  }
  if (const auto flushed = ask(target, "POST", "/flush"); !flushed) {
    fmt::print(stderr, "portolan: the newest figures are missing, the daemon could not write them: {}\n",
               flushed.error().message);
  }
  return path;
}

}  // namespace portolan
