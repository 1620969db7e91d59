// What a flow leaves of a link to one of the kernel's TCP that starts at the same moment, and the queue that it keeps
// when it is alone. The link is clean, and its drop-tail queue one bandwidth-delay product.
#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <optional>

#include "benches.h"
#include "link_peers.h"
#include "measure.h"

namespace portolan::bench {
namespace {

constexpr double kSeconds = 30;
constexpr double kSettleSeconds = 5;  // of which nothing counts
constexpr double kMaxShare = 60;
constexpr double kMaxQueueMs = 25;
constexpr int kRivalPort = 7002;

struct Contest {
  double share = 0;  // percent of what came out of the link
  double both = 0;   // Mbit/s of the wire
  double queue_p95_ms = 0;
};

// Those of both flows in the same direction: the rival's sender is where the peer's is.
LinkEnds against(const LinkPeers& peers, const LinkPeer& peer, std::string_view rival,
                 const LinkConditions& conditions) {
  LinkEnds ends = peers.ends(peer, conditions);
  if (rival.empty()) return ends;
  const auto fill = [&](std::string_view command) {
    return peers.fill(fmt::format(fmt::runtime(command), kRivalPort, rival), conditions);
  };
  const bool near_sends = peer.sender == Sender::kNear;
  ends.near.push_back(fill(near_sends ? "exec {{bench}}/link_tcp send {{send}} {{host}} {} {}"
                                      : "exec {{bench}}/link_tcp fetch /dev/null {{host}} {} {}"));
  ends.far.push_back(fill(near_sends ? "exec {{bench}}/link_tcp receive /dev/null {} {}"
                                     : "exec {{bench}}/link_tcp serve {{send}} {} {}"));
  return ends;
}

double bytes_in_window(const WayFigures& way) {
  const auto from = std::min(way.tenths.size(), static_cast<std::size_t>(kSettleSeconds * 10));
  return std::accumulate(way.tenths.begin() + static_cast<std::ptrdiff_t>(from), way.tenths.end(), 0.0);
}

Result<Contest> contend(const LinkPeers& peers, const LinkPeer& peer, std::string_view rival,
                        const LinkConditions& conditions) {
  peers.clear_received();
  const auto figures = peers.run(against(peers, peer, rival, conditions), conditions);
  if (!figures) return Failure(figures.error());
  if (!figures->timed_out) return Failure("was done before the time was over");
  const bool near_sends = peer.sender == Sender::kNear;
  double theirs = 0;
  for (const FlowFigures& flow : near_sends ? figures->flows_there : figures->flows_back) {
    if (flow.source_port == kRivalPort || flow.destination_port == kRivalPort) theirs += bytes_in_window(flow.way);
  }
  const WayFigures& way = near_sends ? figures->there : figures->back;
  const double all = bytes_in_window(way);
  return Contest{all > 0 ? (all - theirs) / all * 100 : 0, all * 8e-6 / (kSeconds - kSettleSeconds), way.queue_p95_ms};
}

struct Figures {
  std::vector<double> shares, rates, queues;
};

std::optional<double> middle(std::vector<double> values) { return median(quartiles(std::move(values))); }

Row measure_row(const LinkPeers& peers, const LinkPeer& peer, LinkConditions conditions, int seeds,
                LinkProgress& progress) {
  Row row;
  row.server = peer.label;
  row.why = peers.unavailable(peer);
  if (!row.why.empty()) {
    row.verdict = Verdict::kSkipped;
    return row;
  }
  for (const std::string_view rival : {"", "cubic", "bbr"}) {
    Figures found;
    for (conditions.seed = 1; conditions.seed <= seeds && !interrupted(); ++conditions.seed) {
      progress.begin(fmt::format("RTT {} ms: {} {}", conditions.rtt_ms, peer.label,
                                 rival.empty() ? "alone" : fmt::format("against TCP {}", rival)));
      const auto contest = contend(peers, peer, rival, conditions);
      progress.end(contest ? fmt::format("{:.0f} %", contest->share) : contest.error());
      if (!contest) {
        row.verdict = Verdict::kFailed;
        row.why = contest.error();
        row.values.clear();
        return row;
      }
      found.shares.push_back(contest->share);
      found.rates.push_back(contest->both);
      found.queues.push_back(contest->queue_p95_ms);
    }
    if (!rival.empty()) row.values.push_back(middle(found.shares));
    row.values.insert(row.values.end(), {middle(found.rates), middle(found.queues)});
  }
  if (peer.key == "ours" || peer.key.starts_with("bulk")) {
    row.target = fmt::format("alone queue p95 <= {:.0f}, share beside CUBIC <= {:.0f}", kMaxQueueMs, kMaxShare);
    const bool well = row.values[1].value_or(1e9) <= kMaxQueueMs && row.values[2].value_or(1e9) <= kMaxShare;
    row.verdict = well ? Verdict::kOk : Verdict::kMiss;
  }
  return row;
}

}  // namespace

std::vector<Table> bench_rudp_share(const Options& options) {
  const LinkBenchOptions& link = options.link;
  LinkPeers peers(options);
  // More than the link carries in that time.
  peers.make_payload(link.megabits_per_second / 8 * (kSeconds + 5));
  const int seeds = link.seeds.value_or(1);
  int able = 0;
  for (const LinkPeer& peer : LinkPeers::of_files()) able += link.wants(peer.key) && peers.unavailable(peer).empty();
  LinkProgress progress("rudp share", able * 3 * seeds * static_cast<int>(link.rtt_ms.size()));
  std::vector<Table> tables;
  for (const double rtt_ms : link.rtt_ms) {
    Table& table = tables.emplace_back(Table{
        "rudp share",
        fmt::format("{:.0f} s over {} Mbit/s, RTT {} ms, queue of one bandwidth-delay product; the first {:.0f} s "
                    "do not count",
                    kSeconds, link.megabits_per_second, rtt_ms, kSettleSeconds),
        {{"alone_wire_megabits_per_second", "alone Mbit/s", 1},
         {"alone_queue_p95_ms", "queue p95 ms", 1},
         {"share_beside_cubic_percent", "share beside CUBIC %", 0},
         {"wire_megabits_per_second_with_cubic", "both Mbit/s", 1},
         {"queue_p95_ms_with_cubic", "queue p95 ms", 1},
         {"share_beside_bbr_percent", "share beside BBR %", 0},
         {"wire_megabits_per_second_with_bbr", "both Mbit/s", 1},
         {"queue_p95_ms_with_bbr", "queue p95 ms", 1}},
        {},
        {},
        "peer"});
    const LinkConditions conditions{.megabits_per_second = link.megabits_per_second,
                                    .queue_ms = rtt_ms,
                                    .rtt_ms = rtt_ms,
                                    .limit_seconds = kSeconds};
    for (const LinkPeer& peer : LinkPeers::of_files()) {
      if (link.wants(peer.key) && !interrupted()) {
        table.rows.push_back(measure_row(peers, peer, conditions, seeds, progress));
      }
    }
    table.notes.emplace_back("Mbit/s are those of the wire, headers and repetitions included");
  }
  return tables;
}

}  // namespace portolan::bench
