#include "cli/exit_code.h"
#include "cli/local_commands.h"
#include "config/configuration.h"
#include "plugin/registry.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cstdio>

namespace portolan {

int check_command(const std::string& file, bool json) {
  Registry registry;
  const auto configuration = load_configuration(file, registry);
  std::size_t listeners = 0;
  if (configuration) {
    for (const ServiceConfiguration& service : configuration->services) listeners += service.listen.size();
  }
  if (json) {
    nlohmann::ordered_json answer{{"ok", configuration.has_value()}, {"file", file}};
    if (configuration) {
      answer["services"] = configuration->services.size();
      answer["listeners"] = listeners;
    } else {
      answer["problems"] = nlohmann::ordered_json::array();
      for (const Problem& problem : configuration.error()) {
        answer["problems"].push_back({{"path", problem.path}, {"message", problem.message}});
      }
    }
    fmt::print("{}\n", answer.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
    return configuration ? kExitOk : kExitFailed;
  }
  if (configuration) {
    const std::size_t services = configuration->services.size();
    fmt::print("{}: ok: {} service{}, {} listener{}\n", file, services, services == 1 ? "" : "s", listeners,
               listeners == 1 ? "" : "s");
    return kExitOk;
  }
  std::string text = format_problems(file, configuration.error());
  while (text.ends_with('\n')) text.pop_back();
  fmt::print(stderr, "{}\n", text);
  return kExitFailed;
}

}  // namespace portolan
