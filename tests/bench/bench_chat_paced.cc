// A large room at a fixed pace: how long a message takes to all who are in it.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "benches.h"
#include "load_paced.h"
#include "measure.h"

namespace portolan::bench {
namespace {

constexpr int kRounds = 5;
constexpr double kSeconds = 4;
constexpr double kMostP99Ms = 50;

const std::vector<Column> kColumns = {{"deliveries_per_second", "deliveries/s", 0},
                                      {"p50_ms", "p50 ms", 1},
                                      {"p99_ms", "p99 ms", 1},
                                      {"p99_worst_ms", "worst p99 ms", 1},
                                      {"max_ms", "max ms", 1},
                                      {"server_busy_percent", "server busy %", 0},
                                      {"generator_busy_percent", "generator busy %", 0},
                                      {"sent_late_ms", "sent late ms", 1},
                                      {"deliveries_per_cpu_second", "deliveries/CPU s", 0},
                                      {"ratio_to_go", "/ Go", 2}};

// Of all rounds: a maximum that is the median of several is none.
double worst_of(const Series& series, double Sample::* figure) {
  double worst = 0;
  for (const auto& sample : series.rounds)
    if (sample) worst = std::max(worst, (*sample).*figure);
  return worst;
}

const Series* best_go(const std::vector<Series>& all) {
  const Series* best = nullptr;
  for (const Series& series : all) {
    if (series.contender->key != "go" || !series.usable()) continue;
    if (!best || series.median_of(&Sample::p99_us) < best->median_of(&Sample::p99_us)) best = &series;
  }
  return best;
}

}  // namespace

std::vector<Table> bench_chat_paced(const Options& options) {
  PacedShape shape;
  // Descriptors for the driver itself and for the server's own files stay free.
  const int asked = shape.members;
  shape.members =
      static_cast<int>(std::min<std::size_t>(static_cast<std::size_t>(asked), raise_descriptor_limit() - 100));
  Servers servers(options);
  std::vector<Contender> contenders;
  if (options.wants("portolan")) {
    const std::string entry = fmt::format(
        "    {{ plugin = \"chat\", name = \"chat\", listen = \"tcp://127.0.0.1:0\", user_rate = 0, {} }},\n",
        kNoLimits);
    contenders.push_back(servers.portolan("portolan", "  drain_timeout = \"0s\",\n", entry, "chat"));
  }
  if (options.wants("go")) {
    for (Contender& contender : servers.go("chat")) {
      // It would write every newcomer's name to every member: most of a minute before anything is measured.
      contender.command.environment.emplace("CHAT_QUIET", "1");
      contenders.push_back(std::move(contender));
    }
  }
  Table table{
      "chat-paced",
      fmt::format("{} members of one room, {} messages of 64 bytes a second in it, in an open loop; the latency of "
                  "a delivery is from the moment at which its message was due",
                  shape.members, shape.per_second),
      kColumns,
      {},
      {}};
  if (contenders.empty()) return {table};
  const Bounds bounds{options.seconds.value_or(kSeconds)};
  const auto all = run_rounds("chat-paced", contenders, options.rounds.value_or(kRounds),
                              [&](Process& server, const sockaddr_in& address) {
                                PacedLoad load(shape);
                                return sample_load(load, server, address, bounds);
                              });
  const Series* go = best_go(all);
  for (const Series& series : all) {
    Row row = start_row(series);
    const bool judged = series.contender->key == "portolan";
    if (judged) row.target = fmt::format("p99 < {:.0f} ms", kMostP99Ms);
    if (row.verdict == Verdict::kNone) {
      const double p99_ms = series.median_of(&Sample::p99_us).value_or(0) / 1e3;
      row.values = {series.median_of(&Sample::rate),
                    series.median_of(&Sample::p50_us).value_or(0) / 1e3,
                    p99_ms,
                    worst_of(series, &Sample::p99_us) / 1e3,
                    worst_of(series, &Sample::max_us) / 1e3,
                    series.median_of(&Sample::busy),
                    series.median_of(&Sample::generator_busy),
                    worst_of(series, &Sample::late_us) / 1e3,
                    series.median_of(&Sample::per_cpu_second),
                    go ? median(ratio_to(series, *go, &Sample::per_cpu_second)) : std::nullopt};
      if (judged) row.verdict = p99_ms < kMostP99Ms ? Verdict::kOk : Verdict::kMiss;
    }
    add_remark(table, series);
    table.rows.push_back(std::move(row));
  }
  table.notes.emplace_back(
      "p50, p99 and the CPU are medians of the rounds, the worst p99, the maximum and how late the generator sent are "
      "of the worst round");
  if (shape.members < asked) table.notes.emplace_back("the limit of open files allowed no more members than these");
  return {table};
}

}  // namespace portolan::bench
