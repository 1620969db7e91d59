#include "app/build.h"
#include "cli/exit_code.h"
#include "cli/local_commands.h"
#include "cli/terminal.h"
#include "config/configuration.h"
#include "config/help_text.h"
#include "config/nearest.h"
#include "plugin/registry.h"

#include <ares.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <lua.hpp>
#include <nlohmann/json.hpp>
#include <openssl/crypto.h>
#include <sqlite3.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

namespace portolan {

int help_command(const std::string& topic, const std::string& overview, const std::vector<std::string_view>& commands) {
  const Registry registry;
  if (topic.empty()) {
    std::size_t widest = 0;
    for (const Descriptor* plugin : registry.all()) widest = std::max(widest, plugin->name.size());
    fmt::print("{}\nPlugins (`portolan help PLUGIN` has their options):\n", overview);
    for (const Descriptor* plugin : registry.all()) {
      fmt::print("  {:<{}}  {}\n", plugin->name, std::max<std::size_t>(widest, 13), plugin->summary);
    }
    fmt::print("  {:<{}}  what every service has: listeners, limits, TLS\n", "service",
               std::max<std::size_t>(widest, 13));
    fmt::print("  {:<{}}  what the file holds beside services\n", "configuration", std::max<std::size_t>(widest, 13));
    return kExitOk;
  }
  if (topic == "service") {
    fmt::print("{}\n", emphasized(Emphasis::bold, "What every service has, beside the options of its plugin:"));
    fmt::print("{}", help_for_options(service_options()));
    return kExitOk;
  }
  if (topic == "configuration") {
    fmt::print("{}\n", emphasized(Emphasis::bold, "The keys of a configuration (a Lua file that returns a table):"));
    fmt::print("{}", help_for_options(core_options()));
    return kExitOk;
  }
  if (const Descriptor* plugin = registry.find(topic)) {
    fmt::print("{}", help_for_plugin(*plugin));
    return kExitOk;
  }
  std::vector<std::string_view> known = commands;
  for (const Descriptor* plugin : registry.all()) known.push_back(plugin->name);
  known.emplace_back("service");
  known.emplace_back("configuration");
  const std::string_view near = nearest(topic, known);
  fmt::print(stderr, "portolan help: no command and no plugin is called \"{}\"{}\n", topic,
             near.empty() ? "; `portolan help` lists them" : fmt::format("; did you mean \"{}\"?", near));
  return kExitNotFound;
}

int version_command(bool json) {
  const Registry registry;
  std::vector<std::string> plugins;
  for (const Descriptor* plugin : registry.all()) plugins.emplace_back(plugin->name);
  if (json) {
    const nlohmann::ordered_json answer{{"version", kPortolanVersion},
                                        {"shape", kPortolanShape},
                                        {"machine", kPortolanMachine},
                                        {"line_editing", kEditsLines},
                                        {"plugins", plugins},
                                        {"contract", kContractVersion},
                                        {"schema", kSchemaVersion},
                                        {"lua", LUA_RELEASE},
                                        {"sqlite", sqlite3_libversion()},
                                        {"openssl", OpenSSL_version(OPENSSL_VERSION)},
                                        {"c_ares", ares_version(nullptr)}};
    fmt::print("{}\n", answer.dump(2));
    return kExitOk;
  }
  fmt::print("portolan {} for {} (plugin contract {}, database schema {})\n", kPortolanVersion, kPortolanMachine,
             kContractVersion, kSchemaVersion);
  fmt::print("{}; built in: {}\n",
             kLoadsPlugins ? fmt::format("{}, loads plugins", kPortolanShape)
                           : fmt::format("{}, loads no plugins", kPortolanShape),
             fmt::join(plugins, ", "));
  fmt::print("{}, SQLite {}, {}, c-ares {}\n", LUA_RELEASE, sqlite3_libversion(), OpenSSL_version(OPENSSL_VERSION),
             ares_version(nullptr));
  return kExitOk;
}

}  // namespace portolan
