#include "cli/exit_code.h"
#include "cli/local_commands.h"
#include "config/configuration.h"
#include "net/worker_io.h"
#include "plugin/instance.h"
#include "plugin/registry.h"
#include "script/runtime.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>

namespace portolan {

namespace {

std::expected<std::string, std::string> read_script(const std::string& path) {
  std::FILE* file = path == "-" ? stdin : std::fopen(path.c_str(), "re");
  if (!file) return std::unexpected(fmt::format("cannot read {}: {}", path, std::strerror(errno)));
  std::string text;
  char block[65536];
  for (std::size_t count; (count = std::fread(block, 1, sizeof block, file)) > 0;) text.append(block, count);
  const bool failed = std::ferror(file) != 0;
  if (file != stdin) std::fclose(file);
  if (failed) return std::unexpected(fmt::format("cannot read {}: {}", path, std::strerror(errno)));
  return text;
}

// In Lua, whatever is in it.
std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) out += fmt::format("\\{:03}", static_cast<unsigned char>(c));
  return out + "\"";
}

// The script as a function of a service without listeners, its lines numbered as they are.
std::string as_configuration(std::string text, const std::vector<std::string>& words) {
  if (text.starts_with('#')) text.insert(0, "--");
  std::string arguments;
  for (const std::string& word : words) arguments += (arguments.empty() ? "" : ", ") + quoted(word);
  return fmt::format(
      "return {{ stats = false, script = {{ memory = \"256MiB\", instructions = "
      "1000000000 }}, "
      "services = {{ {{ plugin = \"script\", name = \"script\", on_start = function() local function main(...) {}\nend "
      "return main({}) end }} }} }}",
      text, arguments);
}

}  // namespace

int script_command(const std::string& path, const std::vector<std::string>& words) {
  auto text = read_script(path);
  if (!text) {
    fmt::print(stderr, "portolan script: {}\n", text.error());
    return kExitFailed;
  }
  Registry registry;
  const std::string name = path == "-" ? "stdin" : path;
  const auto configuration = parse_configuration(name, as_configuration(std::move(*text), words), registry);
  if (!configuration) {
    fmt::print(stderr, "{}\n", format_problems(name, configuration.error()));
    return kExitFailed;
  }
  Loop loop;
  WorkerIo io(loop, 0);
  auto script = Script::load(*configuration);
  if (!script) {
    fmt::print(stderr, "portolan script: {}\n", script.error());
    return kExitFailed;
  }
  ScriptRuntime& runtime = (*script)->runtime();
  runtime.sandbox().print_to(stdout);
  const ServiceConfiguration& service = configuration->services.front();
  auto shared = std::make_shared<ServiceShared>();
  shared->stats = std::make_shared<ServiceStats>(service.name, *service.plugin, 1);
  auto instance =
      Instance::make(io, {.configuration = service, .shared = shared, .tls = nullptr, .script = script->get()});
  if (!instance) {
    fmt::print(stderr, "portolan script: {}\n", instance.error());
    return kExitFailed;
  }
  WorkerStats& stats = shared->stats->worker(0);
  // Its function begins in the first turn; the last of its tasks ends it.
  while (stats[CoreCounter::hook_calls].value() == 0 || runtime.tasks() > 0) loop.turn(true);
  return stats[CoreCounter::hook_failures].value() == 0 ? kExitOk : kExitFailed;
}

}  // namespace portolan
