#include "relay_servers.h"

#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <fstream>
#include <string_view>
#include <utility>

namespace portolan::bench {
namespace {

constexpr const char* kHaproxy = "/usr/sbin/haproxy";
constexpr const char* kNginx = "/usr/sbin/nginx";
constexpr const char* kNginxStream = "/usr/lib/nginx/modules/ngx_stream_module.so";

// Nothing is logged and nothing times out. HAProxy refuses to start without descriptors for all its sessions and for
// half as many ends of pipes: with these it needs fewer than the 20,000 that a machine may allow.
constexpr int kHaproxySessions = 7'500;
constexpr int kNginxConnections = 19'000;  // two for a session
constexpr std::string_view kHaproxyFile = R"(global
  nbthread {threads}
  maxconn {sessions}
defaults
  mode tcp
  option splice-auto
  maxconn {sessions}
  timeout connect 10s
  timeout client 1h
  timeout server 1h
listen relay
  bind {address}
  server backend {backend}
)";
constexpr std::string_view kNginxFile = R"(load_module {module};
daemon off;
pid {directory}/nginx.pid;
error_log stderr emerg;
worker_processes {workers};
events {{
  worker_connections {connections};
}}
stream {{
  server {{
    listen {address}{flags};
    proxy_pass {backend};
    proxy_half_close on;
    proxy_connect_timeout 10s;
    proxy_timeout 1h;
  }}
}}
)";

}  // namespace

RelayServers::RelayServers(const Options& options, RelayShape shape)
    : options_(options), shape_(std::move(shape)), servers_(options) {
  const auto add = [&](const std::string& key, const std::string& label, const std::string& missing) {
    if (options.wants(key)) contenders_.push_back({key, label, {}, "relay", shape_.scheme, missing});
  };
  const auto unless_there = [](const std::string& path, const char* word) {
    return executable(path) ? std::string{} : std::string{word};
  };
  if (shape_.with_floor) add("floor", "splice floor", unless_there(options.directory + "/bench_floor", "not built"));
  add("portolan", "portolan", unless_there(options.portolan, "not built"));
  if (shape_.with_haproxy) add("haproxy", "HAProxy", unless_there(kHaproxy, "not installed"));
  add("nginx", "nginx", unless_there(kNginx, "not installed"));
  const auto control = std::ranges::find(contenders_, shape_.control, &Contender::key);
  const auto judged = std::ranges::find(contenders_, "portolan", &Contender::key);
  // Wanted only where there is a verdict to keep honest.
  if (control == contenders_.end() || judged == contenders_.end() || !judged->unavailable.empty()) return;
  Contender again = *control;
  again.label += " again";
  contenders_.push_back(std::move(again));
}

Contender RelayServers::backend(const std::string& mode) const {
  Contender contender = servers_.floor(mode, mode == "udp" ? "udp" : "tcp");
  if (mode == "sink") contender.service = "sink";
  contender.command.cpu = options_.load_cpu;
  contender.command.error_file += ".backend";
  return contender;
}

Result<Contender> RelayServers::prepare(const Contender& contender, const sockaddr_in& backend) {
  const std::string target = host_and_port(backend);
  if (contender.key == "floor") {
    Contender floor = servers_.floor("relay");
    floor.service = "relay";
    floor.command.arguments.push_back(fmt::format("{}", ntohs(backend.sin_port)));
    return floor;
  }
  if (contender.key == "portolan") return portolan(contender.label, target);
  const auto address = free_loopback_address(shape_.scheme == "udp" ? SOCK_DGRAM : SOCK_STREAM);
  if (!address) return Failure(address.error());
  return contender.key == "haproxy" ? haproxy(*address, target) : nginx(*address, target);
}

Contender RelayServers::portolan(const std::string& label, const std::string& backend) {
  const std::string_view limits =
      shape_.scheme == "tcp"
          ? ", max_sessions = 0, max_sessions_per_client = 0, idle_timeout = \"0\", first_message_timeout = \"0\""
          : "";
  return servers_.portolan(label, "",
                           fmt::format("    {{ plugin = \"relay\", name = \"relay\", listen = \"{0}://127.0.0.1:0\", "
                                       "backends = \"{0}://{1}\"{2} }},\n",
                                       shape_.scheme, backend, limits),
                           "relay", shape_.scheme, shape_.workers);
}

Contender RelayServers::haproxy(const sockaddr_in& address, const std::string& backend) const {
  const std::string file =
      write_file(servers_.directory() + "/haproxy.cfg",
                 fmt::format(kHaproxyFile, fmt::arg("threads", shape_.workers), fmt::arg("sessions", kHaproxySessions),
                             fmt::arg("address", host_and_port(address)), fmt::arg("backend", backend)));
  Contender contender{"haproxy", "HAProxy", servers_.command({kHaproxy, "-db", "-f", file}), "relay", "tcp", ""};
  contender.address = address;
  return contender;
}

Contender RelayServers::nginx(const sockaddr_in& address, const std::string& backend) const {
  std::string flags = shape_.scheme == "udp" ? " udp reuseport" : "";
  if (shape_.scheme == "tcp" && shape_.workers > 1) flags = " reuseport";
  const std::string& directory = servers_.directory();
  const std::string file = write_file(
      directory + "/nginx.conf",
      fmt::format(kNginxFile, fmt::arg("module", kNginxStream), fmt::arg("directory", directory),
                  fmt::arg("workers", shape_.workers), fmt::arg("connections", kNginxConnections),
                  fmt::arg("address", host_and_port(address)), fmt::arg("flags", flags), fmt::arg("backend", backend)));
  Contender contender{"nginx", "nginx",       servers_.command({kNginx, "-p", directory, "-e", "stderr", "-c", file}),
                      "relay", shape_.scheme, ""};
  contender.address = address;
  // Its workers would outlive a master that is killed.
  contender.command.death_signal = SIGTERM;
  return contender;
}

}  // namespace portolan::bench
