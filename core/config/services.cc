#include "config/services.h"

#include "base/net_error.h"
#include "config/core_schema.h"
#include "config/nearest.h"
#include "plugin/registry.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>

namespace portolan {
namespace {

std::uint8_t transport_bit(Transport transport) {
  switch (transport) {
    case Transport::tcp: return kTcp;
    case Transport::udp: return kUdp;
    case Transport::tls: return kTls;
    case Transport::unix_stream: return kUnix;
    case Transport::rudp: return kRudp;
  }
  return 0;
}

std::string transports_text(std::uint8_t transports) {
  std::vector<std::string_view> names;
  if ((transports & kTcp) != 0) names.emplace_back("tcp://");
  if ((transports & kUdp) != 0) names.emplace_back("udp://");
  if ((transports & kTls) != 0) names.emplace_back("tls://");
  if ((transports & kRudp) != 0) names.emplace_back("rudp://");
  if ((transports & kUnix) != 0) names.emplace_back("unix://");
  return fmt::format("{}", fmt::join(names, ", "));
}

class PathProblems final : public Problems {
 public:
  PathProblems(Checker& checker, std::string path) : checker_(checker), path_(std::move(path)) {}
  void add(std::string_view key, std::string_view message) noexcept override {
    // A plugin's key may have dots in it: "health.every".
    checker_.add(key.empty() ? path_ : fmt::format("{}.{}", path_, key), std::string(message));
  }

 private:
  Checker& checker_;
  std::string path_;
};

// Takes the hooks out of the service's table, since to the schema a function is a wrong value.
void read_hooks(Value& table, const Descriptor& plugin, const std::string& path, Checker& checker,
                std::vector<std::string>& hooks) {
  std::vector<std::string_view> declared;
  for (const HookDeclaration& hook : plugin.hooks) declared.push_back(hook.name);
  std::vector<std::string> done;
  for (const auto& [key, value] : table.fields) {
    const auto hook = std::ranges::find(plugin.hooks, key, &HookDeclaration::name);
    if (hook != plugin.hooks.end()) {
      if (value.kind == Value::Kind::function) {
        hooks.push_back(key);
      } else {
        checker.add(join_path(path, key),
                    fmt::format("expected a function {}, found {}", hook->signature, value.describe()));
      }
    } else if (key.starts_with("on_")) {
      std::string message = fmt::format("the plugin \"{}\" has no such hook", plugin.name);
      message += declared.empty() ? "; it has none" : suggestion(key, declared, "its hooks");
      checker.add(join_path(path, key), std::move(message));
    } else {
      continue;
    }
    done.push_back(key);
  }
  for (const std::string& key : done) table.erase(key);
}

void check_listeners(const ServiceConfiguration& service, const Value& table, const std::string& path,
                     Checker& checker) {
  const Descriptor& plugin = *service.plugin;
  const Value* listen = table.find("listen");
  if (plugin.transports == 0) {
    if (listen != nullptr) {
      checker.add(path + ".listen", fmt::format("the plugin \"{}\" has no listeners: leave this out", plugin.name));
    }
    return;
  }
  if (listen == nullptr && !plugin.listens_always) return;
  if (listen == nullptr || (listen->kind == Value::Kind::table && listen->items.empty() && listen->fields.empty())) {
    checker.add(path + ".listen",
                fmt::format("is missing: expected one or more addresses ({})", transports_text(plugin.transports)));
    return;
  }
  bool has_tls = false;
  bool has_rudp = false;
  for (const Endpoint& endpoint : service.listen) {
    has_tls = has_tls || endpoint.transport == Transport::tls;
    has_rudp = has_rudp || endpoint.transport == Transport::rudp;
    if ((plugin.transports & transport_bit(endpoint.transport)) != 0) continue;
    checker.add(path + ".listen",
                fmt::format("the plugin \"{}\" does not serve {} (\"{}\"); it serves {}", plugin.name,
                            to_string(endpoint.transport), endpoint.to_string(), transports_text(plugin.transports)));
  }
  const Value* tls = table.find("tls");
  if (has_tls && tls == nullptr) {
    checker.add(path + ".tls",
                "is missing: a tls:// listener needs tls = { certificate = \"…\", key = \"…\" } (or, for trying out, "
                "tls = { self_signed = true })");
  } else if (!has_tls && tls != nullptr && (plugin.transports & kTls) != 0) {
    checker.add(path + ".tls", "is given, but no listener is tls://");
  } else if (!has_tls && tls != nullptr) {
    checker.add(path + ".tls", fmt::format("is given, but the plugin \"{}\" does not serve tls://", plugin.name));
  }
  if (!has_rudp && table.find("rudp") != nullptr) checker.add(path + ".rudp", "is given, but no listener is rudp://");
}

// What the kernel would refuse a second time: TLS runs over TCP, and rudp over UDP.
std::string bind_key(const Endpoint& endpoint) {
  if (endpoint.transport == Transport::unix_stream) return "unix://" + endpoint.path;
  if (endpoint.address.port() == 0) return {};
  const bool datagrams = endpoint.transport == Transport::udp || endpoint.transport == Transport::rudp;
  const std::string_view family = datagrams ? "udp" : "tcp";
  return fmt::format("{}://{}", family, endpoint.address.to_string());
}

void read_service(Value table, std::size_t index, const Registry& registry, Checker& checker,
                  Configuration& configuration) {
  const std::string path = fmt::format("services[{}]", index + 1);
  if (table.kind != Value::Kind::table) {
    checker.add(path,
                fmt::format("expected a table such as {{ plugin = \"echo\", listen = \"tcp://127.0.0.1:7007\" }}, "
                            "found {}",
                            table.describe()));
    return;
  }
  const std::size_t problems_before = checker.problems.size();
  ServiceConfiguration service;
  service.index = index;
  service.folder = config_folder_of(configuration.file);

  std::vector<std::string_view> plugin_names;
  for (const Descriptor* plugin : registry.all()) plugin_names.push_back(plugin->name);
  const Value* plugin_name = table.find("plugin");
  if (plugin_name != nullptr && plugin_name->kind == Value::Kind::text) {
    service.plugin = registry.find(plugin_name->text);
    if (service.plugin == nullptr) {
      checker.add(path + ".plugin", fmt::format("there is no plugin {}{}", quote(plugin_name->text),
                                                suggestion(plugin_name->text, plugin_names, "the plugins")));
    }
  }
  std::vector<std::string> hooks;
  if (service.plugin != nullptr) read_hooks(table, *service.plugin, path, checker, hooks);
  read_service_options(table, path, service.folder, checker, service);
  // Without its plugin, nobody knows what else may stand here.
  if (service.plugin != nullptr) {
    const Descriptor& plugin = *service.plugin;
    if (plugin.idle_timeout > Duration::zero() && table.find("idle_timeout") == nullptr)
      service.limits.idle_timeout = plugin.idle_timeout;
    std::vector<std::string_view> known;
    for (const Option& option : plugin.options) known.push_back(option.key);
    for (const HookDeclaration& hook : plugin.hooks) known.push_back(hook.name);
    for (const Option& option : service_options()) known.push_back(option.key);
    report_unknown_keys(table, known, path, checker);
    auto options = std::make_shared<OptionTree>(OptionTree::read(table, plugin.options, path, checker));
    for (const std::string& hook : hooks) options->add_hook(hook);
    std::uint8_t listens = 0;
    for (const Endpoint& endpoint : service.listen) listens |= transport_bit(endpoint.transport);
    options->set_listens(listens);
    check_listeners(service, table, path, checker);
    if (table.find("name") == nullptr) service.name = plugin.name;
    if (checker.problems.size() == problems_before && plugin.validate != nullptr) {
      PathProblems problems(checker, path);
      plugin.validate(*options, problems);
    }
    service.options = std::move(options);
  }
  configuration.services.push_back(std::move(service));
}

void check_names(const Configuration& configuration, Checker& checker) {
  std::map<std::string, std::size_t> first;
  for (const ServiceConfiguration& service : configuration.services) {
    if (service.name.empty()) continue;
    const auto [found, added] = first.emplace(service.name, service.index);
    if (added) continue;
    checker.add(fmt::format("services[{}].name", service.index + 1),
                fmt::format("the name \"{}\" is taken by services[{}]: give each service a name of its own",
                            service.name, found->second + 1));
  }
}

void check_addresses(const Configuration& configuration, Checker& checker) {
  std::map<std::string, std::string> first;
  first.emplace("unix://" + configuration.admin_socket, "admin.socket");
  if (configuration.admin_http) {
    if (std::string key = bind_key(*configuration.admin_http); !key.empty())
      first.emplace(std::move(key), "admin.http");
  }
  for (const ServiceConfiguration& service : configuration.services) {
    for (const Endpoint& endpoint : service.listen) {
      const std::string key = bind_key(endpoint);
      if (key.empty()) continue;
      const std::string path = fmt::format("services[{}].listen", service.index + 1);
      const auto [found, added] = first.emplace(key, path);
      if (!added) {
        checker.add(path, fmt::format("the address \"{}\" is used by {} already", endpoint.to_string(),
                                      found->second == path ? "the same list" : found->second));
      }
    }
  }
}

}  // namespace

void read_services(const Value& root, const Registry& registry, Checker& checker, Configuration& configuration) {
  const Value* services = root.find("services");
  if (services == nullptr) {
    checker.add("services",
                "is missing: expected a list of tables, as in services = { { plugin = \"echo\", listen = "
                "\"tcp://127.0.0.1:7007\" } }");
    return;
  }
  if (services->kind != Value::Kind::table) {
    checker.add("services", fmt::format("expected a list of tables, found {}", services->describe()));
    return;
  }
  if (services->items.empty() && !services->fields.empty()) {
    // services = { plugin = … }: one service, without the braces of a list around it.
    read_service(*services, 0, registry, checker, configuration);
  } else {
    for (const auto& [key, value] : services->fields) {
      (void)value;
      checker.add(join_path("services", key), "services are a list: each is a table of its own, without a key");
    }
    for (const std::string& key : services->other_keys) {
      checker.add("services" + key, "a list counts 1, 2, 3 without a gap; this service would be lost");
    }
    for (std::size_t index = 0; index < services->items.size(); ++index) {
      read_service(services->items[index], index, registry, checker, configuration);
    }
  }
  check_names(configuration, checker);
  check_addresses(configuration, checker);
}

}  // namespace portolan
