// Portolan beside a floor and Go, under the same load in the same run.
#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <utility>

#include "benches.h"
#include "load_connect.h"
#include "load_tcp.h"
#include "load_udp.h"
#include "measure.h"

namespace portolan::bench {
namespace {

// Many short rounds: the figures of a pair are then close in time, which says more than a long round does.
constexpr int kRounds = 21;
constexpr double kSeconds = 0.2;
constexpr std::string_view kControl = "floor again";
constexpr int kPipelined = 16;

enum class Goal { kCpu, kThroughput };

struct Plan {
  std::string bench;
  std::string title;
  Goal goal = Goal::kCpu;
  double bound = 1.10;  // times the floor
  bool below_go = true;
  std::uint64_t max_requests = UINT64_MAX;
};

const std::vector<Column> kColumns = {
    {"requests_per_second", "req/s", 0},  {"cpu_us_per_request", "server CPU us/req", 2},
    {"server_busy_percent", "busy %", 0}, {"sleeps_per_request", "sleeps/req", 2},
    {"cpu_ratio", "CPU / floor", 2},      {"cpu_ratio_low", "low", 2},
    {"cpu_ratio_high", "high", 2},        {"throughput_ratio", "req/s / floor", 2}};

const Series* find_floor(const std::vector<Series>& all, std::string_view label) {
  const auto found = std::ranges::find_if(all, [&](const Series& s) { return s.contender->label == label; });
  return found != all.end() && found->usable() ? &*found : nullptr;
}

// The better of the Go rows, by what the bench is about.
const Series* find_best_go(const std::vector<Series>& all, Goal goal) {
  const Series* best = nullptr;
  for (const Series& series : all) {
    if (series.contender->key != "go" || !series.usable()) continue;
    const bool better =
        best == nullptr || (goal == Goal::kCpu ? series.median_of(&Sample::cost) < best->median_of(&Sample::cost)
                                               : series.median_of(&Sample::rate) > best->median_of(&Sample::rate));
    if (better) best = &series;
  }
  return best;
}

void judge(Row& row, const Plan& plan, const Series& series, const Series* floor, const Series* go,
           const Noise& noise) {
  if (!plan.below_go) go = nullptr;
  if (plan.goal == Goal::kThroughput) {
    row.target = "req/s >= floor";
  } else {
    row.target = fmt::format("CPU <= {:.2f}x floor{}", plan.bound, go != nullptr ? ", < Go" : "");
  }
  if (row.verdict != Verdict::kNone || floor == nullptr) return;
  const auto ratio = ratio_to(series, *floor, plan.goal == Goal::kCpu ? &Sample::cost : &Sample::rate);
  if (!ratio) return;
  if (plan.goal == Goal::kThroughput) {
    row.verdict = judge_at_least(ratio->median, 1.0, noise);
    return;
  }
  row.verdict = judge_at_most(ratio->median, plan.bound, noise);
  if (go != nullptr && series.median_of(&Sample::cost) >= go->median_of(&Sample::cost)) row.verdict = Verdict::kMiss;
}

Table traffic_table(const Plan& plan, const std::vector<Series>& all) {
  Table table{plan.bench, plan.title, kColumns, {}, {}};
  const Series* floor = find_floor(all, "floor");
  const Noise noise =
      noise_of(find_floor(all, kControl), floor, plan.goal == Goal::kCpu ? &Sample::cost : &Sample::rate);
  const Series* go = find_best_go(all, plan.goal);
  bool generator_bound = false;
  for (const Series& series : all) {
    Row row = start_row(series);
    if (row.verdict == Verdict::kNone) {
      row.values = {series.median_of(&Sample::rate), series.median_of(&Sample::cost), series.median_of(&Sample::busy),
                    series.median_of(&Sample::sleeps)};
      const auto cpu = floor != nullptr ? ratio_to(series, *floor, &Sample::cost) : std::nullopt;
      const auto rate = floor != nullptr ? ratio_to(series, *floor, &Sample::rate) : std::nullopt;
      row.values.push_back(cpu ? std::optional(cpu->median) : std::nullopt);
      row.values.push_back(cpu ? std::optional(cpu->low) : std::nullopt);
      row.values.push_back(cpu ? std::optional(cpu->high) : std::nullopt);
      row.values.push_back(rate ? std::optional(rate->median) : std::nullopt);
      generator_bound |= plan.goal == Goal::kThroughput && series.median_of(&Sample::busy) < 90.0;
      if (!series.remark.empty()) table.notes.push_back(fmt::format("{}: {}", row.server, series.remark));
    }
    if (series.contender->key == "portolan") judge(row, plan, series, floor, go, noise);
    table.rows.push_back(std::move(row));
  }
  if (noise.share > 0) {
    table.notes.push_back(noise_note(noise, plan.goal == Goal::kCpu ? "the CPU per request" : "the req/s"));
  }
  if (generator_bound) {
    table.notes.emplace_back(
        "a server below 90 % busy waited for the load generator: its req/s is the generator's, so read the "
        "CPU");
  }
  if (go != nullptr && go->contender->label != "Go") {
    table.notes.emplace_back("the better Go here is the one with GOMAXPROCS=1");
  }
  return table;
}

template <typename MakeLoad>
Table run_traffic(const Options& options, const Plan& plan, const std::vector<Contender>& contenders,
                  const MakeLoad& make_load) {
  const Bounds bounds{options.seconds.value_or(kSeconds), plan.max_requests};
  const auto all = run_rounds(plan.bench, contenders, options.rounds.value_or(kRounds),
                              [&](Process& server, const sockaddr_in& address) {
                                auto load = make_load();
                                return sample_load(load, server, address, bounds);
                              });
  return traffic_table(plan, all);
}

std::vector<Contender> side_by_side(const Options& options, Servers& servers, const std::string& mode,
                                    const std::string& scheme, std::string_view service_options, bool with_go) {
  std::vector<Contender> contenders;
  if (options.wants("floor")) contenders.push_back(servers.floor(mode, scheme));
  if (options.wants("portolan")) {
    const std::string service = mode == "binary" ? "binary" : "echo";
    const std::string entry =
        fmt::format("    {{ plugin = \"{0}\", name = \"{0}\", listen = \"{1}://127.0.0.1:0\", {2}{3} }},\n", service,
                    scheme, service_options, kNoLimits);
    contenders.push_back(servers.portolan("portolan", "", entry, service, scheme));
  }
  // Wanted only where there is a verdict to keep honest.
  if (options.wants("floor") && options.wants("portolan") && contenders.back().unavailable.empty()) {
    contenders.push_back(servers.floor(mode, scheme));
    contenders.back().label = kControl;
  }
  if (options.wants("go") && with_go) {
    for (Contender& contender : servers.go(mode)) contenders.push_back(std::move(contender));
  }
  return contenders;
}

std::vector<Table> closed_and_pipelined(const Options& options, const std::string& mode, Framing framing,
                                        std::string_view service_options, const std::string& what) {
  Servers servers(options);
  const auto contenders = side_by_side(options, servers, mode, "tcp", service_options, true);
  const Plan closed{mode, fmt::format("{}, 64 connections, one 64-byte message under way on each", what)};
  const Plan pipelined{fmt::format("{} x{}", mode, kPipelined),
                       fmt::format("{}, 64 connections, {} 64-byte messages sent at once on each", what, kPipelined),
                       Goal::kThroughput};
  std::vector<Table> tables;
  tables.push_back(run_traffic(options, closed, contenders, [&] { return TcpLoad({.framing = framing}); }));
  tables.push_back(
      run_traffic(options, pipelined, contenders, [&] { return TcpLoad({.batch = kPipelined, .framing = framing}); }));
  return tables;
}

}  // namespace

std::vector<Table> bench_echo(const Options& options) {
  return closed_and_pipelined(options, "echo", Framing::kRaw, "mode = \"raw\", ", "TCP echo");
}

std::vector<Table> bench_binary(const Options& options) {
  return closed_and_pipelined(options, "binary", Framing::kBinary, "", "binary echo frames over TCP");
}

std::vector<Table> bench_udp(const Options& options) {
  Servers servers(options);
  const auto contenders = side_by_side(options, servers, "udp", "udp", "mode = \"raw\", ", false);
  const Plan plan{"udp",
                  fmt::format("UDP echo, {} sockets, {} datagrams of {} bytes under way on each", UdpLoad::kSockets,
                              UdpLoad::kUnderWay, UdpLoad::kMessageSize),
                  Goal::kCpu, 1.15, false};
  return {run_traffic(options, plan, contenders, [] { return UdpLoad(); })};
}

std::vector<Table> bench_connect(const Options& options) {
  Servers servers(options);
  const auto contenders = side_by_side(options, servers, "echo", "tcp", "mode = \"raw\", ", true);
  const Plan plan{"connect",
                  fmt::format("connect, one 64-byte message, its answer, close; {} connections at a time (a request is "
                              "a connection)",
                              ConnectLoad::kAtOnce),
                  Goal::kCpu,
                  1.15,
                  false,
                  ConnectLoad::kMaxConnections};
  return {run_traffic(options, plan, contenders, [] { return ConnectLoad(); })};
}

}  // namespace portolan::bench
