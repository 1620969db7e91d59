#include "config/configuration.h"

#include "base/log.h"
#include "base/units.h"
#include "config/core_schema.h"
#include "config/schema.h"
#include "config/services.h"
#include "config/value.h"
#include "plugin/registry.h"
#include "script/sandbox.h"

#include <fmt/format.h>
#include <lua.hpp>

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <tuple>

namespace portolan {
namespace {

constexpr std::size_t kMostSource = std::size_t{4} << 20U;
constexpr std::size_t kCheckMemory = std::size_t{64} << 20U;
constexpr std::uint64_t kCheckInstructions = 100'000'000;
constexpr int kPipePatienceMs = 10'000;

std::unexpected<std::vector<Problem>> one_problem(std::string message) {
  return std::unexpected(std::vector<Problem>{{{}, std::move(message)}});
}

// Problems in the order of the file as far as it is known: core's keys by name, then services by number.
struct Position {
  std::size_t service = 0;
  std::string_view rest;
  auto operator<=>(const Position&) const = default;
};

Position position_of(const Problem& problem) {
  constexpr std::string_view kServices = "services[";
  Position position{0, problem.path};
  if (problem.path == "services") position.service = 1;
  if (!problem.path.starts_with(kServices)) return position;
  const char* const end = problem.path.data() + problem.path.size();
  const auto result = std::from_chars(problem.path.data() + kServices.size(), end, position.service);
  ++position.service;
  position.rest = std::string_view(result.ptr, static_cast<std::size_t>(end - result.ptr));
  return position;
}

// What a configuration says must not steer the terminal that reads of its mistakes, nor fill it.
std::string harmless(std::string_view text, std::size_t longest) {
  std::string out;
  for (const char c : text.substr(0, longest)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) {
      out += fmt::format("\\x{:02x}", byte);
    } else {
      out += c;
    }
  }
  if (text.size() > longest) out += "…";
  return out;
}

std::expected<Value, std::string> run(const std::string& file, const std::string& source, std::size_t& memory_used) {
  Sandbox sandbox({.memory = kCheckMemory});
  sandbox.set_log(LogLevel::debug, {});
  if (auto result = sandbox.run(file, source, kCheckInstructions); !result) return std::unexpected(result.error());
  if (lua_type(sandbox.state(), -1) != LUA_TTABLE) {
    return std::unexpected(
        fmt::format("a configuration ends with `return {{ … }}`; this one returned {}",
                    lua_isnoneornil(sandbox.state(), -1) ? "nothing" : luaL_typename(sandbox.state(), -1)));
  }
  sandbox.collect_garbage();
  memory_used = sandbox.memory_used();
  return read_value(sandbox.state(), -1);
}

}  // namespace

std::string format_problems(const std::string& file, const std::vector<Problem>& problems) {
  constexpr std::size_t kLongestPath = 200;
  constexpr std::size_t kLongestMessage = 2000;
  std::string text;
  for (const Problem& problem : problems) {
    if (!text.empty()) text += '\n';
    const std::string message = harmless(problem.message, kLongestMessage);
    if (problem.path.empty()) {
      // What Lua says starts with file:line already.
      const bool named = problem.message.starts_with(file + ":");
      text += named ? message : fmt::format("{}: {}", file, message);
    } else {
      text += fmt::format("{}: {}: {}", file, harmless(problem.path, kLongestPath), message);
    }
  }
  return text;
}

std::expected<Configuration, std::vector<Problem>> parse_configuration(const std::string& file, std::string source,
                                                                       Registry& registry,
                                                                       const std::string& state_dir_override) {
  if (source.size() > kMostSource) {
    return one_problem(fmt::format("is {} long: a configuration may have at most {}",
                                   format_size(static_cast<std::int64_t>(source.size())),
                                   format_size(static_cast<std::int64_t>(kMostSource))));
  }
  std::size_t memory_used = 0;
  auto root = run(file, source, memory_used);
  if (!root) return one_problem(std::move(root.error()));

  Configuration configuration;
  configuration.file = file;
  configuration.source = std::move(source);
  configuration.state_dir = read_state_dir(*root, state_dir_override);
  std::vector<Problem> problems;
  Checker checker{problems, configuration.state_dir};
  read_core(*root, checker, configuration);
  for (const std::string& path : configuration.plugin_path) {
    // A plugin that does not load takes nothing with it but the services that name it.
    for (const std::string& refused : registry.load(path)) log::warning("{}", refused);
  }
  read_services(*root, registry, checker, configuration);
  if (memory_used > configuration.script_memory) {
    checker.add("script.memory", fmt::format("is {}, but the configuration itself takes {}",
                                             format_size(static_cast<std::int64_t>(configuration.script_memory)),
                                             format_size(static_cast<std::int64_t>(memory_used))));
  }
  if (!problems.empty()) {
    std::ranges::stable_sort(problems, {}, &position_of);
    return std::unexpected(std::move(problems));
  }
  return configuration;
}

std::expected<Configuration, std::vector<Problem>> load_configuration(const std::string& file, Registry& registry,
                                                                      const std::string& state_dir_override) {
  const auto cannot = [](int error) { return one_problem(fmt::format("cannot be read: {}", std::strerror(error))); };
  // Opening a pipe that nobody writes to would wait for ever.
  const int descriptor = open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) return cannot(errno);
  std::string source;
  std::string buffer(std::size_t{64} << 10U, '\0');
  int error = 0;
  while (source.size() <= kMostSource) {
    const ssize_t count = read(descriptor, buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) {
      // A pipe whose writer has not written yet, as in `portolan check <(make-my-configuration)`.
      pollfd entry{.fd = descriptor, .events = POLLIN, .revents = 0};
      if (poll(&entry, 1, kPipePatienceMs) > 0) continue;
      errno = ETIMEDOUT;
    }
    if (count < 0) error = errno;
    if (count <= 0) break;
    source.append(buffer, 0, static_cast<std::size_t>(count));
  }
  close(descriptor);
  if (error != 0) return cannot(error);
  return parse_configuration(file, std::move(source), registry, state_dir_override);
}

}  // namespace portolan
