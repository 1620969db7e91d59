// What a byte costs where no link is in the way: both ends in one network namespace, over its loopback. The kernel
// receives there in the sender's turn, so the two ends' figures are to be read together.
#include <fmt/format.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "benches.h"
#include "link_peers.h"
#include "measure.h"

namespace portolan::bench {
namespace {

constexpr double kMegabytes = 500;
constexpr int kRounds = 3;

struct Cost {
  std::vector<double> rate;                    // MB/s
  std::vector<double> sender, receiver, both;  // MB for a second of CPU
};

std::optional<double> middle(const std::vector<double>& values) { return median(quartiles(values)); }

struct Moved {
  double sent = 0;
  double received = 0;
};

// iperf3 goes as fast as it can, so that most is lost for want of room in the receiver's socket.
Result<Moved> moved_by_iperf3(const std::string& path) {
  std::ifstream file(path);
  const auto report = nlohmann::json::parse(file, nullptr, false);
  try {
    if (report.contains("error")) return Failure(report["error"].get<std::string>());
    const auto& end = report.at("end");
    return Moved{end.at("sum_sent").at("bytes").get<double>(), end.at("sum_received").at("bytes").get<double>()};
  } catch (const nlohmann::json::exception&) {
    return Failure("no report");
  }
}

Result<void> measure_once(const LinkPeers& peers, const LinkPeer& peer, const LinkConditions& conditions, Cost& cost) {
  peers.clear_received();
  const auto figures = peers.run(peers.ends(peer, conditions), conditions);
  if (!figures) return Failure(figures.error());
  if (figures->timed_out) return Failure(fmt::format("took more than {:.0f} s", conditions.limit_seconds));
  Moved moved{peers.payload_bytes(), peers.payload_bytes()};
  if (peer.key == "iperf3") {
    const auto reported = moved_by_iperf3(peers.received_directory() + "/iperf3.json");
    if (!reported) return Failure(reported.error());
    moved = *reported;
  } else if (!peers.received_is_payload()) {
    return Failure("what was received is not what was sent");
  }
  const bool near_sends = peer.sender == Sender::kNear;
  const double near = figures->near_cpu_seconds;
  const double far = figures->far_cpu_seconds;
  const double sending = moved.sent / 1e6 / (near_sends ? near : far);
  const double receiving = moved.received / 1e6 / (near_sends ? far : near);
  cost.rate.push_back(moved.received / 1e6 / figures->seconds);
  cost.sender.push_back(sending);
  cost.receiver.push_back(receiving);
  cost.both.push_back(1 / (1 / sending + 1 / receiving));
  return {};
}

}  // namespace

std::vector<Table> bench_rudp_loopback(const Options& options) {
  const LinkBenchOptions& link = options.link;
  const int rounds = options.rounds.value_or(kRounds);
  LinkPeers peers(options);
  peers.make_payload(kMegabytes);
  Table table{"rudp loopback",
              fmt::format("{:.0f} MB over a loopback, median of {}", kMegabytes, rounds),
              {{"megabytes_per_second", "MB/s", 0},
               {"megabytes_per_sender_cpu_second", "MB per sender CPU s", 0},
               {"megabytes_per_receiver_cpu_second", "MB per receiver CPU s", 0},
               {"megabytes_per_cpu_second", "MB per CPU s of both", 0}},
              {},
              {},
              "peer"};
  const LinkConditions conditions{.limit_seconds = link.limit_seconds, .loopback = true};
  for (const LinkPeer& peer : LinkPeers::of_loopback()) {
    // iperf3 is no peer of the link's benches, so that no list can leave it out.
    if (peer.key != "iperf3" && !link.wants(peer.key)) continue;
    Row row;
    row.server = peer.label;
    row.why = peers.unavailable(peer);
    if (!row.why.empty()) row.verdict = Verdict::kSkipped;
    Cost cost;
    for (int round = 0; round < rounds && row.verdict == Verdict::kNone && !interrupted(); ++round) {
      fmt::print(stderr, "rudp loopback: round {} of {}: {}\n", round + 1, rounds, peer.label);
      if (auto done = measure_once(peers, peer, conditions, cost); !done) {
        row.verdict = Verdict::kFailed;
        row.why = done.error();
      }
    }
    if (row.verdict == Verdict::kNone) {
      row.values = {middle(cost.rate), middle(cost.sender), middle(cost.receiver), middle(cost.both)};
    }
    table.rows.push_back(std::move(row));
  }
  table.notes.emplace_back(
      "ngtcp2 and rudp with a key encrypt, and all but iperf3 write a file; what iperf3 loses is not counted for the "
      "receiver");
  return {table};
}

}  // namespace portolan::bench
