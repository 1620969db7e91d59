// Portolan as a chat, beside a chat in Go and the MQTT broker Mosquitto: one room, and everybody hears everything.
#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <fstream>
#include <utility>

#include "benches.h"
#include "load_chat.h"
#include "measure.h"

namespace portolan::bench {
namespace {

constexpr int kRounds = 11;
constexpr double kSeconds = 0.5;
constexpr double kTimesGo = 4.0;
constexpr double kTimesMosquitto = 1.5;
constexpr const char* kMosquitto = "/usr/sbin/mosquitto";

const std::vector<Column> kColumns = {{"deliveries_per_second", "deliveries/s", 0},
                                      {"deliveries_per_cpu_second", "deliveries/CPU s", 0},
                                      {"server_busy_percent", "busy %", 0},
                                      {"sleeps_per_delivery", "sleeps/delivery", 4},
                                      {"p99_us", "p99 us", 0},
                                      {"ratio_to_go", "deliveries/CPU s / Go", 2},
                                      {"ratio_to_mosquitto", "/ Mosquitto", 2}};

Contender mosquitto(const Servers& servers) {
  const std::string file = servers.directory() + "/mosquitto.conf";
  Contender contender{"mosquitto", "Mosquitto", servers.command({kMosquitto, "-c", file}), "mqtt", "tcp", ""};
  if (!executable(kMosquitto)) {
    contender.unavailable = "not installed";
    return contender;
  }
  const auto address = free_loopback_address(SOCK_STREAM);
  if (!address) {
    contender.unavailable = address.error();
    return contender;
  }
  contender.address = *address;
  std::ofstream(file) << fmt::format(
      "listener {} 127.0.0.1\nallow_anonymous true\npersistence false\nlog_type none\nset_tcp_nodelay true\n",
      ntohs(address->sin_port));
  return contender;
}

// The better of the rows of that server.
const Series* best_of(const std::vector<Series>& all, std::string_view key) {
  const Series* best = nullptr;
  for (const Series& series : all) {
    if (series.contender->key != key || !series.usable()) continue;
    if (!best || series.median_of(&Sample::per_cpu_second) > best->median_of(&Sample::per_cpu_second)) best = &series;
  }
  return best;
}

}  // namespace

std::vector<Table> bench_chat(const Options& options) {
  Servers servers(options);
  std::vector<Contender> contenders;
  if (options.wants("portolan")) {
    const std::string entry = fmt::format(
        "    {{ plugin = \"chat\", name = \"chat\", listen = \"tcp://127.0.0.1:0\", user_rate = 0, history = 0, {} "
        "}},\n",
        kNoLimits);
    contenders.push_back(servers.portolan("portolan", "", entry, "chat"));
  }
  if (options.wants("go"))
    for (Contender& contender : servers.go("chat")) contenders.push_back(std::move(contender));
  if (options.wants("mosquitto")) contenders.push_back(mosquitto(servers));
  const ChatShape shape;
  Table table{"chat",
              fmt::format("{} members of one room, {} of them each with one 64-byte message under way to all others",
                          shape.members, shape.senders),
              kColumns,
              {},
              {}};
  if (contenders.empty()) return {table};
  const Bounds bounds{options.seconds.value_or(kSeconds), UINT64_MAX};
  // The load has to know what it speaks to: each kind has its own rounds' measure.
  const Measure chat = [&](Process& server, const sockaddr_in& address) {
    const auto broker = std::ranges::find_if(contenders, [&](const Contender& contender) {
      return contender.address && contender.address->sin_port == address.sin_port;
    });
    ChatShape wanted = shape;
    wanted.mqtt = broker != contenders.end();
    ChatLoad load(wanted);
    return sample_load(load, server, address, bounds);
  };
  const auto all = run_rounds("chat", contenders, options.rounds.value_or(kRounds), chat);
  const Series* go = best_of(all, "go");
  const Series* broker = best_of(all, "mosquitto");
  for (const Series& series : all) {
    Row row = start_row(series);
    const auto ratio = [&](const Series* base) -> std::optional<double> {
      if (!base) return std::nullopt;
      const auto found = ratio_to(series, *base, &Sample::per_cpu_second);
      return found ? std::optional(found->median) : std::nullopt;
    };
    if (series.contender->key == "portolan")
      row.target = fmt::format("deliveries/CPU s >= {:.1f}x Go, >= {:.1f}x Mosquitto", kTimesGo, kTimesMosquitto);
    if (row.verdict == Verdict::kNone) {
      const auto to_go = ratio(go);
      const auto to_broker = ratio(broker);
      row.values = {series.median_of(&Sample::rate),
                    series.median_of(&Sample::per_cpu_second),
                    series.median_of(&Sample::busy),
                    series.median_of(&Sample::sleeps),
                    series.median_of(&Sample::p99_us),
                    to_go,
                    to_broker};
      if (series.contender->key == "portolan" && (to_go || to_broker)) {
        const bool good =
            to_go.value_or(kTimesGo) >= kTimesGo && to_broker.value_or(kTimesMosquitto) >= kTimesMosquitto;
        row.verdict = good ? Verdict::kOk : Verdict::kMiss;
      }
    }
    table.rows.push_back(std::move(row));
  }
  table.notes.emplace_back("the Mosquitto row counts a sender's own message as a delivery, too: it gets it back");
  return {table};
}

}  // namespace portolan::bench
