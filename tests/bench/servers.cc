#include "servers.h"

#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace portolan::bench {

std::string host_and_port(const sockaddr_in& address) { return fmt::format("127.0.0.1:{}", ntohs(address.sin_port)); }

std::string write_file(const std::string& path, const std::string& text) {
  std::ofstream(path) << text;
  return path;
}

bool executable(const std::string& path) { return !path.empty() && ::access(path.c_str(), X_OK) == 0; }

Command Servers::command(std::vector<std::string> arguments) const {
  Command command;
  command.arguments = std::move(arguments);
  command.error_file = directory_.path() + "/stderr";
  command.cpu = options_.server_cpu;
  return command;
}

Contender Servers::floor(const std::string& mode, const std::string& scheme) const {
  const std::string binary = options_.directory + "/bench_floor";
  Contender contender{"floor", "floor", command({binary, mode}), mode == "binary" ? "binary" : "echo", scheme, ""};
  if (!executable(binary)) contender.unavailable = "not built";
  return contender;
}

Contender Servers::portolan(const std::string& label, std::string_view settings, std::string_view services,
                            const std::string& service, const std::string& scheme, int workers) {
  const std::string base = fmt::format("{}/{}", directory_.path(), configurations_++);
  std::filesystem::create_directory(base);
  const std::string file = base + "/bench.lua";
  std::ofstream(file) << fmt::format(
      "return {{\n  workers = {},\n  state_dir = \"{}\",\n{}  services = {{\n{}  }},\n}}\n", workers, base, settings,
      services);
  Contender contender{"portolan", label, command({options_.portolan, "run", "-c", file}), service, scheme, ""};
  if (!executable(options_.portolan)) contender.unavailable = "not built";
  return contender;
}

std::vector<Contender> Servers::go(const std::string& peer) const {
  const std::string binary = fmt::format("{}/go_{}", options_.directory, peer);
  Contender by_default{"go", "Go", command({binary}), peer, "tcp", ""};
  if (!executable(binary)) {
    by_default.unavailable = "not installed";
    return {by_default};
  }
  Contender single = by_default;
  single.label = "Go, GOMAXPROCS=1";
  single.command.environment["GOMAXPROCS"] = "1";
  return {by_default, single};
}

}  // namespace portolan::bench
