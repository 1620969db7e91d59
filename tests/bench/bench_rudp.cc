// A file over an emulated link that loses packets, in every cell of round-trip time and loss, beside the kernel's TCP,
// QUIC, ENet, UDT and scp. What the targets say is of the default link: 50 Mbit/s, a queue of 50 ms, 25 MB.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "benches.h"
#include "link_peers.h"
#include "measure.h"

namespace portolan::bench {
namespace {

constexpr int kSeeds = 3;
constexpr double kPayloadShare = 1450.0 / 1514;  // of a full packet on the wire, at the least that UDP or TCP needs
constexpr double kShortRttMs = 20;
constexpr double kSteadyShare = 0.95;
constexpr double kMaxWire = 1.06;  // bytes sent for one of the payload, beside what loss costs
constexpr double kMaxQueueMs = 25;
constexpr double kLateUs = 2'000;
// At an RTT of 100 ms, start-up included, by loss in percent.
const std::map<double, double> kLongGoals{{0, 38}, {1, 38}, {5, 36}, {10, 32}, {20, 28}};
const std::vector<double> kLosses{0, 1, 5, 10, 20};

struct FileSample {
  double goodput = 0;  // Mbit/s
  double steady = 0;   // Mbit/s, without start and end
  double wire_there = 0;
  double wire_back = 0;
  double sender_cpu = 0;  // seconds per GB
  double receiver_cpu = 0;
  double queue_p95_ms = 0;
  double late_p99_us = 0;
  bool cut = false;
};

struct FileSeries {
  const LinkPeer* peer = nullptr;
  std::vector<FileSample> samples;
  std::string unavailable;
  std::string failure;

  bool usable() const { return failure.empty() && !samples.empty(); }
  std::optional<double> median_of(double FileSample::* figure) const {
    std::vector<double> values;
    for (const FileSample& sample : samples) values.push_back(sample.*figure);
    return usable() ? median(quartiles(std::move(values))) : std::nullopt;
  }
  bool cut() const { return std::ranges::any_of(samples, &FileSample::cut); }
};

struct Cell {
  double rtt_ms = 0;
  double loss_percent = 0;
  std::vector<FileSeries> all;
};

double ceiling(const LinkBenchOptions& link, double loss_percent) {
  return link.megabits_per_second * kPayloadShare * (1 - loss_percent / 100);
}

// ---- Runs --------------------------------------------------------------------------------------------------

// What came out of the link from a quarter of the time to almost its end, as payload: so much of it as of all.
double steady_goodput(const WayFigures& way, double seconds, double payload_bytes) {
  const auto from = static_cast<std::size_t>(seconds * 10 * 0.25);
  const auto to = std::min(way.tenths.size(), static_cast<std::size_t>(seconds * 10 * 0.95));
  double bytes = 0;
  for (std::size_t i = from; i < to; ++i) bytes += way.tenths[i];
  if (to <= from || way.delivered_bytes == 0) return 0;
  return bytes * 8e-6 / (static_cast<double>(to - from) / 10) * payload_bytes / way.delivered_bytes;
}

Result<FileSample> send_once(const LinkPeers& peers, const LinkPeer& peer, const LinkConditions& conditions) {
  peers.clear_received();
  const auto figures = peers.run(peers.ends(peer, conditions), conditions);
  if (!figures) return Failure(figures.error());
  const bool near_sends = peer.sender == Sender::kNear;
  const WayFigures& there = near_sends ? figures->there : figures->back;
  const WayFigures& back = near_sends ? figures->back : figures->there;
  double bytes = peers.payload_bytes();
  if (!figures->timed_out && !peers.received_is_payload()) return Failure("what was received is not what was sent");
  if (figures->timed_out) {
    // A name that only the receiver knows, or room that it has reserved, says nothing: then it is what at most can be.
    bytes = std::min({bytes, std::max(1.0, peers.received_bytes()), there.delivered_bytes * kPayloadShare});
  }
  return FileSample{
      .goodput = bytes * 8e-6 / figures->seconds,
      .steady = steady_goodput(there, figures->seconds, bytes),
      .wire_there = there.offered_bytes / bytes,
      .wire_back = back.offered_bytes / bytes,
      .sender_cpu = (near_sends ? figures->near_cpu_seconds : figures->far_cpu_seconds) / (bytes / 1e9),
      .receiver_cpu = (near_sends ? figures->far_cpu_seconds : figures->near_cpu_seconds) / (bytes / 1e9),
      .queue_p95_ms = there.queue_p95_ms,
      .late_p99_us = figures->late_p99_us,
      .cut = figures->timed_out,
  };
}

Cell measure_cell(const Options& options, const LinkPeers& peers, double rtt_ms, double loss_percent,
                  LinkProgress& progress) {
  Cell cell{rtt_ms, loss_percent, {}};
  for (const LinkPeer& peer : LinkPeers::of_files()) {
    if (options.link.wants(peer.key)) cell.all.push_back({&peer, {}, peers.unavailable(peer), {}});
  }
  LinkConditions conditions{.megabits_per_second = options.link.megabits_per_second,
                            .queue_ms = options.link.queue_ms,
                            .rtt_ms = rtt_ms,
                            .loss_percent = loss_percent,
                            .limit_seconds = options.link.limit_seconds};
  for (conditions.seed = 1; conditions.seed <= options.link.seeds.value_or(kSeeds); ++conditions.seed) {
    for (FileSeries& series : cell.all) {
      if (!series.unavailable.empty() || interrupted()) continue;
      progress.begin(
          fmt::format("RTT {} ms, loss {} %, seed {}: {}", rtt_ms, loss_percent, conditions.seed, series.peer->label));
      const auto sample = send_once(peers, *series.peer, conditions);
      progress.end(sample ? fmt::format("{:.1f} Mbit/s{}", sample->goodput, sample->cut ? ", cut" : "")
                          : sample.error());
      if (sample) {
        series.samples.push_back(*sample);
      } else {
        series.failure = sample.error();
      }
    }
  }
  return cell;
}

// ---- Tables ------------------------------------------------------------------------------------------------

const FileSeries* find_peer(const Cell& cell, std::string_view key) {
  const auto found = std::ranges::find_if(cell.all, [&](const FileSeries& s) { return s.peer->key == key; });
  return found != cell.all.end() && found->usable() ? &*found : nullptr;
}

// Puts several bounds into one target and one verdict.
class Judge {
 public:
  void at_least(const std::string& name, double value, double bound) { note(name, ">=", bound, value >= bound); }
  void at_most(const std::string& name, double value, double bound) { note(name, "<=", bound, value <= bound); }
  void settle(Row& row, bool judged) const {
    row.target = target_;
    if (judged && !target_.empty()) row.verdict = well_ ? Verdict::kOk : Verdict::kMiss;
  }

 private:
  void note(const std::string& name, const char* relation, double bound, bool well) {
    target_ += fmt::format("{}{} {} {:.2f}", target_.empty() ? "" : ", ", name, relation, bound);
    well_ = well_ && well;
  }

  std::string target_;
  bool well_ = true;
};

bool is_default_link(const LinkBenchOptions& link) {
  const LinkBenchOptions plain;
  return link.megabits_per_second == plain.megabits_per_second && link.queue_ms == plain.queue_ms &&
         link.megabytes == plain.megabytes;
}

void judge(Row& row, const FileSeries& series, const Cell& cell, const LinkBenchOptions& link) {
  const auto figure = [&](double FileSample::* which) { return series.median_of(which).value_or(0); };
  Judge judge;
  if (cell.rtt_ms <= kShortRttMs) {
    judge.at_least("steady", figure(&FileSample::steady), kSteadyShare * ceiling(link, cell.loss_percent));
  } else if (const auto goal = kLongGoals.find(cell.loss_percent); goal != kLongGoals.end() && is_default_link(link)) {
    judge.at_least("Mbit/s", figure(&FileSample::goodput), goal->second);
  }
  if (cell.loss_percent > 0) {
    double best = 0;
    for (const std::string_view key : {"bbr", "ngtcp2"}) {
      const FileSeries* rival = find_peer(cell, key);
      if (rival != nullptr) best = std::max(best, rival->median_of(&FileSample::goodput).value_or(0));
    }
    if (best > 0) judge.at_least("Mbit/s", figure(&FileSample::goodput), best);
  } else {
    judge.at_most("queue p95", figure(&FileSample::queue_p95_ms), kMaxQueueMs);
  }
  judge.at_most("wire there", figure(&FileSample::wire_there), kMaxWire / (1 - cell.loss_percent / 100));
  judge.settle(row, series.usable());
}

Row start_peer_row(const FileSeries& series) {
  Row row;
  row.server = series.peer->label;
  if (!series.unavailable.empty()) {
    row.verdict = Verdict::kSkipped;
    row.why = series.unavailable;
  } else if (!series.usable()) {
    row.verdict = Verdict::kFailed;
    row.why = series.failure.empty() ? "interrupted" : series.failure;
  }
  return row;
}

bool is_ours(const FileSeries& series) { return series.peer->key == "ours" || series.peer->key.starts_with("bulk"); }

std::string cut_note(const LinkBenchOptions& link) {
  return fmt::format("\u2020 a run was cut after {:.0f} s, and what had come by then counts", link.limit_seconds);
}

Table cell_table(const Cell& cell, const LinkBenchOptions& link) {
  Table table{
      "rudp",
      fmt::format("{} MB over {} Mbit/s, queue {} ms, RTT {} ms, loss {} % each way; median of {}", link.megabytes,
                  link.megabits_per_second, link.queue_ms, cell.rtt_ms, cell.loss_percent, link.seeds.value_or(kSeeds)),
      {{"megabits_per_second", "Mbit/s", 1},
       {"percent_of_ceiling", "% of ceiling", 1},
       {"steady_megabits_per_second", "steady", 1},
       {"wire_bytes_there_per_byte", "wire there", 3},
       {"wire_bytes_back_per_byte", "wire back", 3},
       {"sender_cpu_seconds_per_gigabyte", "sender CPU s/GB", 1},
       {"receiver_cpu_seconds_per_gigabyte", "receiver CPU s/GB", 1},
       {"queue_p95_ms", "queue p95 ms", 1}},
      {},
      {},
      "peer"};
  double late = 0;
  bool cut = false;
  for (const FileSeries& series : cell.all) {
    Row row = start_peer_row(series);
    if (series.usable()) {
      const double goodput = *series.median_of(&FileSample::goodput);
      row.values = {goodput, goodput / ceiling(link, cell.loss_percent) * 100};
      for (double FileSample::* figure :
           {&FileSample::steady, &FileSample::wire_there, &FileSample::wire_back, &FileSample::sender_cpu,
            &FileSample::receiver_cpu, &FileSample::queue_p95_ms}) {
        row.values.push_back(series.median_of(figure));
      }
      if (series.cut()) row.marks = {"\u2020"};
      cut = cut || series.cut();
      late = std::max(late, series.median_of(&FileSample::late_p99_us).value_or(0));
    }
    if (is_ours(series) && series.unavailable.empty()) judge(row, series, cell, link);
    table.rows.push_back(std::move(row));
  }
  table.notes.push_back(fmt::format("the ceiling is {:.1f} Mbit/s", ceiling(link, cell.loss_percent)));
  if (cut) table.notes.push_back(cut_note(link));
  if (late > kLateUs) {
    table.notes.push_back(
        fmt::format("packets were handed over late by {:.1f} ms at p99: something else used the machine", late / 1000));
  }
  return table;
}

// One figure of all cells of a round-trip time.
Table overview(const std::vector<Cell>& cells, double rtt_ms, const LinkBenchOptions& link, const std::string& what,
               int decimals, double FileSample::* figure, bool with_ceiling) {
  Table table{"rudp", fmt::format("{}, RTT {} ms, by loss each way", what, rtt_ms), {}, {}, {}, "peer"};
  Row top{"ceiling", {}, {}, Verdict::kNone, {}};
  std::vector<const Cell*> shown;
  for (const Cell& cell : cells) {
    if (cell.rtt_ms != rtt_ms) continue;
    shown.push_back(&cell);
    table.columns.push_back(
        {fmt::format("loss_{}_percent", cell.loss_percent), fmt::format("{} %", cell.loss_percent), decimals});
    top.values.push_back(ceiling(link, cell.loss_percent));
  }
  if (with_ceiling) table.rows.push_back(std::move(top));
  if (shown.empty()) return table;
  bool cut = false;
  for (std::size_t i = 0; i < shown.front()->all.size(); ++i) {
    Row row = start_peer_row(shown.front()->all[i]);
    if (row.verdict == Verdict::kFailed) row = {row.server, {}, {}, Verdict::kNone, {}};
    for (const Cell* cell : shown) {
      row.values.push_back(cell->all[i].median_of(figure));
      row.marks.emplace_back(cell->all[i].cut() ? "\u2020" : "");
      cut = cut || cell->all[i].cut();
    }
    table.rows.push_back(std::move(row));
  }
  if (cut) table.notes.push_back(cut_note(link));
  return table;
}

}  // namespace

std::vector<Table> bench_rudp_bulk(const Options& options) {
  const LinkBenchOptions& link = options.link;
  const auto& losses = link.loss_percent.empty() ? kLosses : link.loss_percent;
  LinkPeers peers(options);
  peers.make_payload(link.megabytes);
  int able = 0;
  for (const LinkPeer& peer : LinkPeers::of_files()) able += link.wants(peer.key) && peers.unavailable(peer).empty();
  LinkProgress progress("rudp", able * link.seeds.value_or(kSeeds) * static_cast<int>(link.rtt_ms.size()) *
                                    static_cast<int>(losses.size()));
  std::vector<Cell> cells;
  std::vector<Table> tables;
  for (const double rtt_ms : link.rtt_ms) {
    for (const double loss : losses) {
      if (interrupted()) break;
      cells.push_back(measure_cell(options, peers, rtt_ms, loss, progress));
      tables.push_back(cell_table(cells.back(), link));
    }
  }
  for (const double rtt_ms : link.rtt_ms) {
    tables.push_back(overview(cells, rtt_ms, link, "Mbit/s of payload", 1, &FileSample::goodput, true));
    tables.push_back(overview(cells, rtt_ms, link, "bytes sent on the wire for one of the payload", 2,
                              &FileSample::wire_there, false));
  }
  return tables;
}

}  // namespace portolan::bench
