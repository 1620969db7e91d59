#include "plugin/registry.h"

#include "app/build.h"
#include "base/file_status.h"
#include "config/configuration.h"
#include "config/nearest.h"
#include "config/schema.h"
#include "plugin/commands.h"

#include <fmt/format.h>

#include <dlfcn.h>

#include <algorithm>
#include <filesystem>
#include <system_error>

namespace portolan {

#define PORTOLAN_PLUGIN(name) extern const Descriptor plugin_##name;
#include "plugins/built_in.def"
#undef PORTOLAN_PLUGIN

namespace {

std::vector<const Descriptor*> built_in() {
  return {
#define PORTOLAN_PLUGIN(name) &plugin_##name,
#include "plugins/built_in.def"
#undef PORTOLAN_PLUGIN
  };
}

constexpr const char* kEntryPoint = "portolan_plugin";
constexpr std::size_t kLongestName = 32;

bool is_word(std::string_view text) {
  return !text.empty() && text.size() <= kLongestName &&
         std::ranges::all_of(text, [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_'; });
}

std::string check_hooks(const Descriptor& descriptor) {
  for (std::size_t at = 0; at < descriptor.hooks.size(); ++at) {
    const std::string_view name = descriptor.hooks[at].name;
    if (!is_word(name) || !name.starts_with("on_")) {
      return fmt::format("its hook \"{}\" is not named on_something", name);
    }
    for (std::size_t other = 0; other < at; ++other) {
      if (descriptor.hooks[other].name == name) return fmt::format("its hook \"{}\" is declared twice", name);
    }
  }
  return {};
}

std::string check_counters(const Descriptor& descriptor) {
  for (std::size_t at = 0; at < descriptor.counters.size(); ++at) {
    const std::string_view name = descriptor.counters[at].name;
    if (!is_word(name)) return fmt::format("its counter \"{}\" has a name that is not made of a-z, 0-9 and _", name);
    for (std::size_t other = 0; other < at; ++other) {
      if (descriptor.counters[other].name == name) return fmt::format("its counter \"{}\" is declared twice", name);
    }
  }
  return {};
}

// What stands for the service and the command in a request to the admin API.
bool is_of_the_request(std::string_view argument) { return argument == "service" || argument == "command"; }

std::string check_arguments(const CommandDeclaration& command) {
  const auto declared = parse_argument_declarations(command.arguments);
  if (!declared) return declared.error();
  for (const ArgumentDeclaration& argument : declared->named) {
    if (!is_word(argument.name)) return fmt::format("\"{}\" is not made of a-z, 0-9 and _", argument.name);
    if (is_of_the_request(argument.name)) return fmt::format("\"{}\" is taken by the request itself", argument.name);
    if (std::ranges::count(declared->named, argument.name, &ArgumentDeclaration::name) > 1)
      return fmt::format("\"{}\" is declared twice", argument.name);
  }
  const bool of_core =
      std::ranges::find(core_commands(), command.name, &CommandDeclaration::name) != core_commands().end();
  if (of_core && std::ranges::none_of(declared->named, &ArgumentDeclaration::required))
    return "one must be required, because without arguments the command is core's";
  return {};
}

std::string check_commands(const Descriptor& descriptor) {
  for (const CommandDeclaration& command : descriptor.commands) {
    if (!is_word(command.name))
      return fmt::format("its command \"{}\" has a name that is not made of a-z, 0-9 and _", command.name);
    if (std::ranges::count(descriptor.commands, command.name, &CommandDeclaration::name) > 1)
      return fmt::format("its command \"{}\" is declared twice", command.name);
    if (const std::string wrong = check_arguments(command); !wrong.empty())
      return fmt::format("the arguments of its command \"{}\" make no sense: {}", command.name, wrong);
  }
  return {};
}

// Opens one shared object. Answers its descriptor, or why there is none.
std::expected<const Descriptor*, std::string> open_plugin(const std::string& path, void*& library) {
  if constexpr (!kLoadsPlugins) {
    // What glibc offers here wants the very same glibc on the machine, and gives a plugin no way back to us.
    return std::unexpected("this is a static build, which has its built-in plugins only: use one of another shape");
  }
  library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* why = dlerror();
    return std::unexpected(fmt::format("it cannot be loaded: {}", why != nullptr ? why : "no reason given"));
  }
  using EntryPoint = const Descriptor* (*)();
  // POSIX promises that this conversion works; the language only allows it.
  const auto entry = reinterpret_cast<EntryPoint>(dlsym(library, kEntryPoint));
  if (entry == nullptr) {
    return std::unexpected(
        fmt::format("it is no plugin: it does not export {} (see PORTOLAN_EXPORT_PLUGIN)", kEntryPoint));
  }
  const Descriptor* descriptor = entry();
  if (descriptor == nullptr) return std::unexpected(fmt::format("its {} gives no descriptor", kEntryPoint));
  return descriptor;
}

}  // namespace

Registry::Registry() : plugins_(built_in()) {}

const Descriptor* Registry::find(std::string_view name) const noexcept {
  for (const Descriptor* plugin : plugins_) {
    if (plugin->name == name) return plugin;
  }
  return nullptr;
}

std::string Registry::check(const Descriptor& descriptor) {
  // First of all: with another version, nothing behind this number is where it is looked for.
  if (descriptor.contract_version != kContractVersion) {
    return fmt::format(
        "it was built for version {} of the plugin contract, and this is version {}: build it again "
        "with these headers",
        descriptor.contract_version, kContractVersion);
  }
  if (!is_word(descriptor.name)) return "its name is not 1 to 32 of a-z, 0-9 and _";
  if (descriptor.summary.empty()) return "it has no summary";
  if (descriptor.make == nullptr) return "it has no make function";
  constexpr unsigned kAllTransports = kTcp | kUdp | kTls | kUnix | kRudp;
  if ((descriptor.transports & ~kAllTransports) != 0) return "it names transports that do not exist";
  if (descriptor.placement > Placement::single_worker) return "it has no known placement";
  if (std::string wrong = check_schema(descriptor.options); !wrong.empty()) return wrong;
  if (std::string wrong = check_hooks(descriptor); !wrong.empty()) return wrong;
  if (std::string wrong = check_counters(descriptor); !wrong.empty()) return wrong;
  if (std::string wrong = check_commands(descriptor); !wrong.empty()) return wrong;
  for (const Option& option : descriptor.options) {
    if (std::ranges::find(service_options(), option.key, &Option::key) != service_options().end()) {
      return fmt::format("its option \"{}\" is one that every service has", option.key);
    }
    // on_ is for functions: such a key would be taken for a mistyped hook.
    if (option.key.starts_with("on_")) return fmt::format("its option \"{}\" is named like a hook", option.key);
  }
  return {};
}

std::vector<std::string> Registry::load(const std::string& path) {
  namespace fs = std::filesystem;
  std::vector<std::string> refused;
  std::vector<std::string> files;
  std::error_code error;
  const auto found = file_status(path);
  if (!found) {
    refused.push_back(fmt::format("plugin_path {}: there is no such file or folder", path));
  } else if (!found->is_directory()) {
    files.push_back(path);
  } else {
    fs::directory_iterator entry(path, error);
    for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
      if (entry->path().extension() == ".so") files.push_back(entry->path().string());
    }
    if (error) refused.push_back(fmt::format("plugin_path {}: cannot be read: {}", path, error.message()));
    // The order of a directory is an accident; who gets a name that two want should not be.
    std::ranges::sort(files);
  }

  for (const std::string& file : files) {
    const fs::path canonical = fs::canonical(file, error);
    // dlopen would search for a name without a slash in the system's folders.
    const std::string full = error ? fs::absolute(file, error).string() : canonical.string();
    if (std::ranges::find(loaded_, full) != loaded_.end()) continue;
    void* library = nullptr;
    std::string wrong;
    const auto descriptor = open_plugin(full, library);
    if (!descriptor) {
      wrong = descriptor.error();
    } else {
      wrong = check(**descriptor);
      if (wrong.empty() && find((*descriptor)->name) != nullptr) {
        wrong = fmt::format("there is another plugin named \"{}\"", (*descriptor)->name);
      }
    }
    if (!wrong.empty()) {
      refused.push_back(fmt::format("plugin {} is refused: {}", file, wrong));
      if (library != nullptr) dlclose(library);
      continue;
    }
    plugins_.push_back(*descriptor);
    loaded_.push_back(full);
  }
  return refused;
}

}  // namespace portolan
