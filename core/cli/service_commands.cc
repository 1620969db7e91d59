#include "cli/service_commands.h"

#include "base/clock.h"
#include "cli/exit_code.h"
#include "cli/terminal.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <map>
#include <utility>

namespace portolan {

namespace {

using namespace answer;

using Given = std::map<std::string, std::string>;

std::unexpected<CommandFailure> misused(std::string message) {
  return std::unexpected(CommandFailure{kExitUsage, std::move(message)});
}

std::expected<Answer, CommandFailure> give(const DaemonTarget& target, const std::string& service,
                                           const std::string& command, const Given& given = {}) {
  std::string path = fmt::format("/command?service={}&command={}", percent_encoded(service), percent_encoded(command));
  for (const auto& [key, value] : given) path += fmt::format("&{}={}", percent_encoded(key), percent_encoded(value));
  return ask(target, "POST", path);
}

std::expected<Given, CommandFailure> given_by(const std::vector<std::string>& words) {
  Given given;
  for (const std::string& word : words) {
    const std::size_t equals = word.find('=');
    if (equals == 0 || equals == std::string::npos)
      return misused(fmt::format("\"{}\" is not KEY=VALUE", printable(word)));
    const std::string key = word.substr(0, equals);
    if (key == "service" || key == "command") return misused(fmt::format("no command takes \"{}\"", key));
    if (!given.emplace(key, word.substr(equals + 1)).second)
      return misused(fmt::format("\"{}\" is given twice", printable(key)));
  }
  return given;
}

// ---- What any command may answer, for people -------------------------------------------------------------------

bool is_flat(const Answer& value) {
  return std::ranges::none_of(value, [](const Answer& field) { return field.is_structured(); });
}

std::string cell(const Answer& value) {
  if (value.is_null()) return "";
  if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
  return value.is_string() ? printable(value.get<std::string>()) : value.dump();
}

// A row for each object, a column for each key that one of them has.
std::string table_of(const Answer& objects) {
  std::vector<std::string> keys;
  std::vector<Table::Column> columns;
  for (const Answer& object : objects) {
    for (const auto& [key, value] : object.items()) {
      if (std::ranges::find(keys, key) != keys.end()) continue;
      keys.push_back(key);
      std::string title = printable(key);
      std::ranges::transform(title, title.begin(), [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
      columns.push_back({title, value.is_number()});
    }
  }
  Table table(std::move(columns));
  for (const Answer& object : objects) {
    std::vector<std::string> cells;
    for (const std::string& key : keys) cells.push_back(object.contains(key) ? cell(object[key]) : "");
    table.add(std::move(cells));
  }
  return table.text();
}

void print_answer(const Answer& answer) {
  if (answer.is_array() && answer.empty()) {
    fmt::print("nothing\n");
  } else if (answer.is_array() &&
             std::ranges::all_of(answer, [](const Answer& one) { return one.is_object() && is_flat(one); })) {
    fmt::print("{}", table_of(answer));
  } else if (answer.is_array() && is_flat(answer)) {
    for (const Answer& one : answer) fmt::print("{}\n", cell(one));
  } else if (answer.is_object() && is_flat(answer)) {
    for (const auto& [key, value] : answer.items()) fmt::print("{:<14} {}\n", printable(key), cell(value));
  } else if (answer.is_structured()) {
    print_json(answer);
  } else {
    fmt::print("{}\n", cell(answer));
  }
}

// ---- Lists of one service, or of all that have them ------------------------------------------------------------

bool knows(const Answer& service, std::string_view command) {
  return std::ranges::any_of(list(service, "commands"), [&](const Answer& known) { return known == command; });
}

// The objects that the command lists, each with its service in front. Without a service: of all that know the command.
std::expected<Answer, CommandFailure> collect(const DaemonTarget& target, const std::string& service,
                                              const std::string& command) {
  std::vector<std::string> services;
  if (!service.empty()) {
    services.push_back(service);
  } else {
    const auto status = ask(target, "GET", "/status");
    if (!status) return std::unexpected(status.error());
    for (const Answer& one : list(*status, "services")) {
      if (knows(one, command) && text(one, "error").empty()) services.push_back(one.value("name", std::string()));
    }
    if (services.empty())
      return std::unexpected(CommandFailure{kExitNotFound, fmt::format("no service has {}", command)});
  }
  Answer all = Answer::array();
  for (const std::string& name : services) {
    const auto rows = give(target, name, command);
    if (!rows) return std::unexpected(rows.error());
    if (!rows->is_array())
      return std::unexpected(
          CommandFailure{kExitFailed, fmt::format("service \"{}\" does not answer {} with a list", name, command)});
    for (const Answer& row : *rows) {
      Answer whole = Answer::object({{"service", name}});
      if (row.is_object()) whole.update(row);
      all.push_back(std::move(whole));
    }
  }
  return all;
}

Emphasis emphasis_of(std::string_view state) {
  if (state == "up") return Emphasis::good;
  return state == "unknown" || state == "drained" || state == "removed" ? Emphasis::dim : Emphasis::bad;
}

std::string backends_table(const Answer& backends) {
  const std::int64_t now = unix_ms();
  Table table({{"SERVICE"},
               {"BACKEND"},
               {"ADDRESS"},
               {"STATE"},
               {"REASON"},
               {"SINCE", true},
               {"WEIGHT", true},
               {"SESSIONS", true},
               {"WAITING", true},
               {"TOTAL", true},
               {"FAILED", true},
               {"BREAKER"}});
  for (const Answer& backend : backends) {
    const std::int64_t since = number(backend, "since_ms");
    const std::string state = text(backend, "state");
    table.add({text(backend, "service"), text(backend, "name") + (flag(backend, "backup") ? " (backup)" : ""),
               text(backend, "address"), emphasized(emphasis_of(state), state), text(backend, "reason"),
               since > 0 ? rough_age(now - since) : "", count(backend, "weight"), count(backend, "sessions"),
               count(backend, "waiting"), count(backend, "total"), count(backend, "failed"), text(backend, "breaker")});
  }
  return table.text();
}

// "b1 of web", or "web".
std::string drained_thing(const std::string& service, const std::string& backend) {
  return printable(backend.empty() ? service : backend + " of " + service);
}

}  // namespace

int command_command(const DaemonTarget& target, const std::string& service, const std::string& command,
                    const std::vector<std::string>& words, bool json) {
  const auto given = given_by(words);
  if (!given) return complain("command", given.error());
  const auto answer = give(target, service, command, *given);
  if (!answer) return complain("command", answer.error());
  json ? print_json(*answer) : print_answer(*answer);
  return kExitOk;
}

int backends_command(const DaemonTarget& target, const std::string& service, bool json) {
  const auto backends = collect(target, service, "backends");
  if (!backends) return complain("backends", backends.error());
  if (json) {
    print_json(*backends);
  } else if (backends->empty()) {
    fmt::print("there is no backend\n");
  } else {
    fmt::print("{}", backends_table(*backends));
  }
  return kExitOk;
}

int drain_command(const DaemonTarget& target, const std::string& order, const std::string& service,
                  const std::string& backend, bool json) {
  const auto answer = give(target, service, order, backend.empty() ? Given{} : Given{{"backend", backend}});
  if (!answer) return complain(order, answer.error());
  const std::string thing = drained_thing(service, backend);
  if (json) {
    print_json(*answer);
  } else if (order == "undrain") {
    fmt::print("{} takes new sessions again\n", thing);
  } else if (const std::int64_t open = number(*answer, "sessions"); open > 0) {
    fmt::print("{} takes no new sessions; {} open\n", thing, open);
  } else {
    fmt::print("{} takes no new sessions\n", thing);
  }
  return kExitOk;
}

int fault_command(const DaemonTarget& target, const std::string& action, const std::string& service,
                  const std::vector<std::string>& words, bool json) {
  const auto wrong = [](std::string_view usage) {
    return complain("fault", {kExitUsage, fmt::format("it is `portolan fault {}`", usage)});
  };
  std::expected<Answer, CommandFailure> answer;
  if (action == "list") {
    if (!words.empty()) return wrong("list [SERVICE]");
    answer = collect(target, service, "faults");
  } else if (action == "remove") {
    if (words.size() != 1) return wrong("remove SERVICE ID|all");
    answer = give(target, service, "fault_remove", {{"id", words.front()}});
  } else {
    if (words.empty() || words.front().contains('=')) return wrong("add SERVICE KIND [KEY=VALUE...]");
    auto given = given_by({words.begin() + 1, words.end()});
    if (!given) return complain("fault", given.error());
    if (!given->emplace("kind", words.front()).second) return wrong("add SERVICE KIND [KEY=VALUE...]");
    answer = give(target, service, "fault_add", *given);
  }
  if (!answer) return complain("fault", answer.error());
  if (json) {
    print_json(*answer);
  } else if (answer->is_array() && answer->empty()) {
    fmt::print("there is no fault\n");
  } else {
    print_answer(*answer);
  }
  return kExitOk;
}

std::string backends_summary(const DaemonTarget& target, const Answer& service) {
  if (!knows(service, "backends")) return {};
  const auto backends = give(target, service.value("name", std::string()), "backends");
  if (!backends || !backends->is_array() || backends->empty()) return {};
  const auto up = std::ranges::count_if(*backends, [](const Answer& one) { return text(one, "state") == "up"; });
  return fmt::format("{} of {} backends up", up, backends->size());
}

}  // namespace portolan
