// How late small messages come over a link that loses packets: 200 bytes, 100 a second, whatever became of those
// before. Latency is from the moment at which a message was due to the moment at which the far program has it.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>

#include "benches.h"
#include "link_peers.h"
#include "measure.h"

namespace portolan::bench {
namespace {

constexpr double kSeconds = 30;
constexpr double kPatience = 5;  // for the last ones to come
constexpr int kPerSecond = 100;
constexpr double kMessageBytes = 200;
constexpr double kJudgedLoss = 5;
const std::vector<double> kLosses{1, 5, 10};

// Sorted; a message that never came is infinitely late.
Result<std::vector<double>> read_latencies(const std::string& path, std::size_t said) {
  std::ifstream file(path);
  std::vector<double> all;
  std::vector<bool> heard(said);
  double number = 0;
  double us = 0;
  while (file >> number >> us) {
    const auto at = static_cast<std::size_t>(number);
    if (at >= said || heard[at]) return Failure(fmt::format("message {} came twice, or was never said", at));
    heard[at] = true;
    all.push_back(us / 1000);
  }
  if (all.empty()) return Failure("no message came");
  all.resize(said, std::numeric_limits<double>::infinity());
  std::ranges::sort(all);
  return all;
}

std::optional<double> at_share(const std::vector<double>& sorted, double share) {
  const auto rank = static_cast<std::size_t>(std::ceil(share * static_cast<double>(sorted.size())));
  const double value = sorted[std::max<std::size_t>(rank, 1) - 1];
  return std::isfinite(value) ? std::optional(value) : std::nullopt;
}

Result<Row> measure_row(const LinkPeers& peers, const LinkPeer& peer, LinkConditions conditions, int seeds,
                        LinkProgress& progress) {
  const auto said = static_cast<std::size_t>(kSeconds * kPerSecond);
  std::vector<double> all;
  double wire = 0;
  for (conditions.seed = 1; conditions.seed <= seeds && !interrupted(); ++conditions.seed) {
    peers.clear_received();
    progress.begin(fmt::format("RTT {} ms, loss {} %, seed {}: {}", conditions.rtt_ms, conditions.loss_percent,
                               conditions.seed, peer.label));
    const auto figures = peers.run(peers.ends(peer, conditions), conditions);
    const auto latencies = figures ? read_latencies(peers.received_file(), said) : Failure(figures.error());
    progress.end(latencies ? fmt::format("p99 {:.1f} ms", at_share(*latencies, 0.99).value_or(HUGE_VAL))
                           : latencies.error());
    if (!latencies) return Failure(latencies.error());
    all.insert(all.end(), latencies->begin(), latencies->end());
    wire += figures->there.offered_bytes / (static_cast<double>(said) * kMessageBytes) / seeds;
  }
  std::ranges::sort(all);
  if (all.empty()) return Failure("interrupted");
  const auto came = std::ranges::count_if(all, [](double latency) { return std::isfinite(latency); });
  const double missing = 100 - static_cast<double>(came) / static_cast<double>(all.size()) * 100;
  Row row;
  row.values = {at_share(all, 0.5), at_share(all, 0.99), at_share(all, 0.999), at_share(all, 1), missing, wire};
  return row;
}

}  // namespace

std::vector<Table> bench_rudp_messages(const Options& options) {
  const LinkBenchOptions& link = options.link;
  const auto& losses = link.loss_percent.empty() ? kLosses : link.loss_percent;
  const int seeds = link.seeds.value_or(1);
  LinkPeers peers(options);
  int able = 0;
  for (const LinkPeer& peer : LinkPeers::of_messages()) able += link.wants(peer.key) && peers.unavailable(peer).empty();
  LinkProgress progress("rudp messages",
                        able * seeds * static_cast<int>(link.rtt_ms.size()) * static_cast<int>(losses.size()));
  std::vector<Table> tables;
  for (const double rtt_ms : link.rtt_ms) {
    for (const double loss : losses) {
      if (interrupted()) break;
      Table& table =
          tables.emplace_back(Table{"rudp messages",
                                    fmt::format("{} messages of {} bytes, {} a second, RTT {} ms, loss {} % each way",
                                                kSeconds * kPerSecond, kMessageBytes, kPerSecond, rtt_ms, loss),
                                    {{"p50_ms", "p50 ms", 1},
                                     {"p99_ms", "p99 ms", 1},
                                     {"p999_ms", "p99.9 ms", 1},
                                     {"max_ms", "max ms", 1},
                                     {"missing_percent", "missing %", 2},
                                     {"wire_bytes_there_per_byte", "wire there", 2}},
                                    {},
                                    {},
                                    "peer"});
      const LinkConditions conditions{.megabits_per_second = link.megabits_per_second,
                                      .queue_ms = link.queue_ms,
                                      .rtt_ms = rtt_ms,
                                      .loss_percent = loss,
                                      .limit_seconds = kSeconds + kPatience};
      for (const LinkPeer& peer : LinkPeers::of_messages()) {
        if (!link.wants(peer.key) || interrupted()) continue;
        const std::string missing = peers.unavailable(peer);
        auto measured = missing.empty() ? measure_row(peers, peer, conditions, seeds, progress) : Failure(missing);
        Row row = measured ? std::move(*measured) : Row{};
        row.server = peer.label;
        if (!measured) {
          row.verdict = missing.empty() ? Verdict::kFailed : Verdict::kSkipped;
          row.why = measured.error();
        } else if (peer.label == "portolan, FEC" && loss <= kJudgedLoss) {
          const double bound = 1.2 * rtt_ms / 2 + 10;
          row.target = fmt::format("p99 <= {:.0f} ms", bound);
          row.verdict = row.values[1].value_or(HUGE_VAL) <= bound ? Verdict::kOk : Verdict::kMiss;
        }
        table.rows.push_back(std::move(row));
      }
      table.notes.push_back(fmt::format("the link itself takes {:.1f} ms", rtt_ms / 2));
    }
  }
  return tables;
}

}  // namespace portolan::bench
