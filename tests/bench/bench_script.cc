// A protocol written in Lua (a line echo) beside the same in C++ and in HAProxy's Lua.
#include <algorithm>

#include "benches.h"
#include "load_tcp.h"
#include "measure.h"

#include <fmt/format.h>

namespace portolan::bench {
namespace {

constexpr std::string_view kNative = "native echo";
constexpr std::string_view kScript = "Lua: session:lines()";
constexpr std::string_view kHaproxyScript = "HAProxy Lua applet";
constexpr const char* kHaproxy = "/usr/sbin/haproxy";

constexpr std::string_view kApplet = R"(core.register_service("echo", "tcp", function(applet)
  while true do
    local line = applet:getline()
    if line == nil or #line == 0 then return end
    applet:send(line)
  end
end)
)";
// Without tune.lua.forced-yield and timeouts it stops a session's script after so many instructions or seconds.
constexpr const char* kHaproxyFile = R"(global
  nbthread 1
  maxconn 5000
  lua-load {script}
  tune.lua.service-timeout 1h
  tune.lua.session-timeout 1h
defaults
  mode tcp
  timeout client 1h
  timeout server 1h
  timeout connect 10s
listen echo
  bind {address}
  tcp-request content use-service lua.echo
)";

Contender haproxy(const Servers& servers) {
  Contender contender{"haproxy", std::string(kHaproxyScript), {}, "echo", "tcp", ""};
  if (!executable(kHaproxy)) {
    contender.unavailable = "not installed";
    return contender;
  }
  const auto address = free_loopback_address(SOCK_STREAM);
  if (!address) {
    contender.unavailable = address.error();
    return contender;
  }
  const std::string script = write_file(servers.directory() + "/echo.lua", std::string(kApplet));
  const std::string file =
      write_file(servers.directory() + "/haproxy.cfg",
                 fmt::format(kHaproxyFile, fmt::arg("script", script), fmt::arg("address", host_and_port(*address))));
  contender.command = servers.command({kHaproxy, "-db", "-f", file});
  contender.address = *address;
  return contender;
}

}  // namespace

std::vector<Table> bench_script(const Options& options) {
  Servers servers(options);
  std::vector<Contender> contenders;
  const auto add = [&](std::string_view label, std::string_view plugin, std::string_view work) {
    contenders.push_back(servers.portolan(
        std::string(label), "",
        fmt::format("    {{ plugin = \"{}\", name = \"echo\", listen = \"tcp://127.0.0.1:0\", {}, {} }},\n", plugin,
                    work, kNoLimits),
        "echo"));
  };
  if (options.wants("portolan")) {
    add(kNative, "echo", "mode = \"lines\"");
    add(kScript, "script",
        "on_session = function(session) for line in session:lines() do session:write(line, \"\\n\") end end");
  }
  if (options.wants("haproxy")) contenders.push_back(haproxy(servers));
  const Bounds bounds{options.seconds.value_or(1.0)};
  std::vector<Table> tables;
  for (const int batch : {1, 16}) {
    const TcpShape shape{.connections = 64, .batch = batch, .framing = Framing::kLines};
    const auto all = run_rounds(fmt::format("script x{}", batch), contenders, options.rounds.value_or(5),
                                [&](Process& server, const sockaddr_in& address) {
                                  TcpLoad load(shape);
                                  return sample_load(load, server, address, bounds);
                                });
    Table table{batch == 1 ? "script" : "script x16",
                fmt::format("lines of {} bytes echoed, {} connections, {} under way on each", shape.message_size,
                            shape.connections, batch),
                {{"lines_per_second", "lines/s", 0},
                 {"cpu_ns_per_line", "server CPU ns/line", 0},
                 {"cpu_ratio", "CPU / Lua", 2}},
                {},
                {}};
    const Series* ours = find_labelled(all, kScript);
    for (const Series& series : all) {
      Row row = start_row(series);
      if (row.verdict == Verdict::kNone) {
        const auto ratio = ours ? ratio_to(series, *ours, &Sample::cost) : std::nullopt;
        row.values = {series.median_of(&Sample::rate), series.median_of(&Sample::cost).value_or(0) * 1000,
                      median(ratio)};
        if (series.contender->key == "haproxy" && ratio) {
          row.target = "CPU >= 1.30x Lua here";
          row.verdict = judge_at_least(ratio->median, 1.3, Noise{});
        }
      }
      add_remark(table, series);
      table.rows.push_back(std::move(row));
    }
    tables.push_back(std::move(table));
  }
  return tables;
}

}  // namespace portolan::bench
