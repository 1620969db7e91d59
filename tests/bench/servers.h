// The servers that a bench sets side by side, and how each is started.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "options.h"
#include "process.h"

namespace portolan::bench {

struct Contender {
  std::string key;    // floor, portolan, go, haproxy, nginx or mosquitto
  std::string label;  // the row's name
  Command command;
  std::string service;
  std::string scheme;
  std::string unavailable;               // why there is nothing to start; empty when there is
  std::optional<sockaddr_in> address{};  // where it was told to listen; otherwise it says where it does
};

bool executable(const std::string& path);
std::string host_and_port(const sockaddr_in& address);
std::string write_file(const std::string& path, const std::string& text);  // answers the path

class Servers {
 public:
  explicit Servers(const Options& options) : options_(options) {}

  Contender floor(const std::string& mode, const std::string& scheme = "tcp") const;
  // `settings` are the top-level lines and `services` the entries of the list in a configuration.
  Contender portolan(const std::string& label, std::string_view settings, std::string_view services,
                     const std::string& service, const std::string& scheme = "tcp", int workers = 1);
  // The Go server at its default and with GOMAXPROCS=1.
  std::vector<Contender> go(const std::string& peer) const;

  Command command(std::vector<std::string> arguments) const;
  const std::string& directory() const { return directory_.path(); }  // gone with the servers

 private:
  const Options& options_;
  TemporaryDirectory directory_;
  int configurations_ = 0;
};

// What a service needs to serve any load of the benches: no limit of its own gets in the way.
inline constexpr std::string_view kNoLimits =
    "max_sessions = 20000, max_sessions_per_client = 0, idle_timeout = \"0s\", first_message_timeout = "
    "\"0s\"";

}  // namespace portolan::bench
