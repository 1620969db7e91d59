// Portolan as a relay, beside a floor, HAProxy and nginx: the same backend behind all, the same load before them, in the
// same run.
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "benches.h"
#include "load_bulk.h"
#include "load_connect.h"
#include "load_idle.h"
#include "load_tcp.h"
#include "load_udp.h"
#include "measure.h"
#include "relay_servers.h"

namespace portolan::bench {
namespace {

constexpr int kRounds = 15;
constexpr int kRoundsOfTwo = 11;
constexpr double kSeconds = 0.25;
constexpr double kBulkSeconds = 0.4;
constexpr int kPairs = 5'000;
constexpr double kMaxBytesPerPair = 1024;

enum class Rival { kHaproxy, kNginx, kBetter };
enum class Wanted { kAtMost, kAtLeast };

struct Shown {
  Column column;
  double Sample::* figure;
  double scale = 1;
};

const std::vector<Shown> kTraffic = {{{"requests_per_second", "req/s", 0}, &Sample::rate},
                                     {{"cpu_us_per_request", "relay CPU us/req", 2}, &Sample::cost},
                                     {{"relay_busy_percent", "busy %", 0}, &Sample::busy},
                                     {{"sleeps_per_request", "sleeps/req", 2}, &Sample::sleeps}};
const std::vector<Shown> kLatency = {{{"p50_us", "p50 us", 0}, &Sample::p50_us},
                                     {{"p99_us", "p99 us", 0}, &Sample::p99_us}};
// A request of the bulk load is a kilobyte, so a microsecond for a request is a second for a gigabyte.
const std::vector<Shown> kBulk = {{{"gigabytes_per_second", "GB/s", 2}, &Sample::rate, 1e-6},
                                  {{"cpu_seconds_per_gigabyte", "relay CPU s/GB", 3}, &Sample::cost},
                                  {{"relay_busy_percent", "busy %", 0}, &Sample::busy},
                                  {{"sleeps_per_megabyte", "sleeps/MB", 2}, &Sample::sleeps, 1e3}};
const std::vector<Shown> kDatagrams = {{{"datagrams_per_second", "datagrams/s", 0}, &Sample::rate},
                                       {{"datagrams_per_cpu_second", "datagrams/CPU s", 0}, &Sample::per_cpu_second},
                                       {{"relay_busy_percent", "busy %", 0}, &Sample::busy},
                                       {{"sleeps_per_datagram", "sleeps/datagram", 2}, &Sample::sleeps}};

// One table: the figure that is judged, and what is shown beside it.
struct Goal {
  std::string bench;
  std::string title;
  std::string name;  // of the figure
  double Sample::* figure;
  double bound;  // times the rival's
  Rival rival;
  const std::vector<Shown>& shown;
  Wanted wanted = Wanted::kAtMost;
};

// ---- Tables ------------------------------------------------------------------------------------------------

// The first row of that relay: the second is the control.
const Series* find_relay(const std::vector<Series>& all, std::string_view key) {
  const auto found = std::ranges::find_if(all, [&](const Series& s) { return s.contender->key == key; });
  return found != all.end() && found->usable() ? &*found : nullptr;
}

const Series* find_rival(const std::vector<Series>& all, const Goal& goal) {
  const Series* haproxy = find_relay(all, "haproxy");
  const Series* nginx = find_relay(all, "nginx");
  if (goal.rival == Rival::kHaproxy) return haproxy;
  if (goal.rival == Rival::kNginx || haproxy == nullptr) return nginx;
  if (nginx == nullptr) return haproxy;
  return haproxy->median_of(goal.figure) <= nginx->median_of(goal.figure) ? haproxy : nginx;
}

Noise noise_of_control(const std::vector<Series>& all, double Sample::* figure) {
  const auto control =
      std::ranges::find_if(all, [](const Series& s) { return s.contender->label.ends_with(" again"); });
  if (control == all.end() || !control->usable()) return {};
  return noise_of(&*control, find_relay(all, control->contender->key), figure);
}

const char* name_of(Rival rival) {
  switch (rival) {
    case Rival::kHaproxy: return "HAProxy";
    case Rival::kNginx: return "nginx";
    case Rival::kBetter: return "better peer";
  }
  return "";
}

Table relay_table(const Goal& goal, const std::vector<Series>& all) {
  Table table{goal.bench, goal.title, {}, {}, {}};
  const Series* floor = find_relay(all, "floor");
  const Series* rival = find_rival(all, goal);
  const Noise noise = noise_of_control(all, goal.figure);
  for (const Shown& shown : goal.shown) table.columns.push_back(shown.column);
  if (floor != nullptr) table.columns.push_back({"ratio_to_floor", fmt::format("{} / floor", goal.name), 2});
  table.columns.push_back({"ratio_to_rival", fmt::format("{} / {}", goal.name, name_of(goal.rival)), 2});
  table.columns.insert(table.columns.end(), {{"ratio_to_rival_low", "low", 2}, {"ratio_to_rival_high", "high", 2}});
  for (const Series& series : all) {
    Row row = start_row(series);
    const bool judged = series.contender->key == "portolan";
    const bool at_most = goal.wanted == Wanted::kAtMost;
    if (judged) {
      row.target = fmt::format("{} {} {:.2f}x {}", goal.name, at_most ? "<=" : ">=", goal.bound, name_of(goal.rival));
    }
    if (row.verdict == Verdict::kNone) {
      for (const Shown& shown : goal.shown) {
        row.values.push_back(series.median_of(shown.figure).value_or(0) * shown.scale);
      }
      if (floor != nullptr) {
        const auto above_floor = ratio_to(series, *floor, goal.figure);
        row.values.push_back(above_floor ? std::optional(above_floor->median) : std::nullopt);
      }
      if (const auto ratio = rival != nullptr ? ratio_to(series, *rival, goal.figure) : std::nullopt) {
        row.values.insert(row.values.end(), {ratio->median, ratio->low, ratio->high});
        if (judged) {
          row.verdict = at_most ? judge_at_most(ratio->median, goal.bound, noise)
                                : judge_at_least(ratio->median, goal.bound, noise);
        }
      }
    }
    if (!series.remark.empty()) table.notes.push_back(fmt::format("{}: {}", row.server, series.remark));
    table.rows.push_back(std::move(row));
  }
  if (noise.share > 0) table.notes.push_back(noise_note(noise, "the " + goal.name));
  if (goal.rival == Rival::kBetter && rival != nullptr) {
    table.notes.push_back(fmt::format("the better peer here is {}", rival->contender->label));
  }
  return table;
}

// ---- Runs --------------------------------------------------------------------------------------------------

// As run_rounds, with a backend of its own behind every start.
std::vector<Series> run_relays(const std::string& what, RelayServers& relays, const std::string& backend_mode,
                               int rounds, const Measure& measure) {
  const Contender behind = relays.backend(backend_mode);
  return run_starts(what, relays.contenders(), rounds, [&](const Contender& contender) -> Result<Sample> {
    auto backend = Process::start(behind.command);
    if (!backend) return Failure("backend: " + backend.error());
    const auto address = backend->wait_for_listener(behind.service, behind.scheme);
    if (!address) return Failure("backend: " + address.error());
    const auto relay = relays.prepare(contender, *address);
    if (!relay) return Failure(relay.error());
    auto sample = measure_once(*relay, measure);
    if (const std::string death = backend->cause_of_death(); !death.empty()) return Failure("backend: " + death);
    return sample;
  });
}

template <typename MakeLoad>
Measure loaded(const Bounds& bounds, const MakeLoad& make_load) {
  return [=](Process& server, const sockaddr_in& address) {
    auto load = make_load();
    return sample_load(load, server, address, bounds);
  };
}

int rounds_of(const Options& options, int workers) {
  return options.rounds.value_or(workers == 1 ? kRounds : kRoundsOfTwo);
}

std::string named(const std::string& name, int workers) {
  return workers == 1 ? name : fmt::format("{}, {} workers", name, workers);
}

RelayShape tcp_shape(int workers) { return {.workers = workers, .with_floor = workers == 1, .control = "haproxy"}; }

std::vector<Table> request_tables(const Options& options, int workers) {
  RelayServers relays(options, tcp_shape(workers));
  const std::string name = named("relay request", workers);
  const auto all = run_relays(name, relays, "echo", rounds_of(options, workers),
                              loaded(Bounds{options.seconds.value_or(kSeconds)}, [] { return TcpLoad(TcpShape{}); }));
  const std::string title = "TCP relay, 64 connections, one 64-byte message under way on each";
  return {relay_table({name, title, "CPU", &Sample::cost, 0.95, Rival::kBetter, kTraffic}, all),
          relay_table({name + ", latency", title, "p99", &Sample::p99_us, 1.0, Rival::kBetter, kLatency}, all)};
}

std::vector<Table> connect_tables(const Options& options, int workers) {
  RelayServers relays(options, tcp_shape(workers));
  const std::string name = named("relay connect", workers);
  const Bounds bounds{options.seconds.value_or(kSeconds), ConnectLoad::kMaxConnections};
  const auto all = run_relays(name, relays, "echo", rounds_of(options, workers),
                              loaded(bounds, [] { return ConnectLoad(Closing::kReset); }));
  const std::string title = fmt::format(
      "TCP relay: connect, one 64-byte message, its answer, reset; {} connections at a time (a request is a "
      "connection)",
      ConnectLoad::kAtOnce);
  return {relay_table({name, title, "CPU", &Sample::cost, 0.9, Rival::kHaproxy, kTraffic}, all),
          relay_table({name + ", latency", title, "p99", &Sample::p99_us, 1.0, Rival::kBetter, kLatency}, all)};
}

Table bulk_table(const Options& options, int workers, int streams, double bound) {
  RelayServers relays(options, tcp_shape(workers));
  const std::string name = named(fmt::format("relay bulk x{}", streams), workers);
  const Bounds bounds{options.seconds.value_or(kBulkSeconds), BulkLoad::kMaxKilobytes};
  const auto all =
      run_relays(name, relays, "sink", rounds_of(options, workers), loaded(bounds, [=] { return BulkLoad(streams); }));
  const std::string title =
      fmt::format("TCP relay, {} in one direction, written {} KiB at a time",
                  streams == 1 ? "a stream" : fmt::format("{} streams", streams), BulkLoad::kWriteSize / 1024);
  return relay_table({name, title, "CPU", &Sample::cost, bound, Rival::kHaproxy, kBulk}, all);
}

std::vector<Table> bulk_tables(const Options& options, int workers) {
  return {bulk_table(options, workers, 1, 0.5), bulk_table(options, workers, 32, 0.3)};
}

}  // namespace

std::vector<Table> bench_relay_request(const Options& options) { return request_tables(options, 1); }

std::vector<Table> bench_relay_connect(const Options& options) { return connect_tables(options, 1); }

std::vector<Table> bench_relay_bulk(const Options& options) { return bulk_tables(options, 1); }

std::vector<Table> bench_relay_memory(const Options& options) {
  // A pair takes two descriptors of the relay; some are for the relay's own files.
  const int pairs = static_cast<int>(std::min<std::size_t>(kPairs, (raise_descriptor_limit() - 200) / 2));
  RelayServers relays(options, {});
  const auto measure = [&](Process& server, const sockaddr_in& address) {
    return sample_memory(server, address, pairs);
  };
  const auto all = run_relays("relay memory", relays, "echo", options.rounds.value_or(3), measure);
  Table table{
      "relay memory",
      fmt::format("{} idle relayed pairs, a message passed over each; memory private to the relay's processes", pairs),
      {{"bytes_per_pair", "bytes/pair", 0}, {"private_mib", "private MiB in all", 1}},
      {},
      {}};
  for (const Series& series : all) {
    Row row = start_row(series);
    const bool judged = series.contender->key == "portolan";
    if (judged) row.target = fmt::format("<= {:.0f} bytes", kMaxBytesPerPair);
    if (row.verdict == Verdict::kNone) {
      const double bytes = series.median_of(&Sample::cost).value_or(0);
      row.values = {bytes, series.median_of(&Sample::rate).value_or(0) / (1024 * 1024)};
      if (judged) row.verdict = bytes <= kMaxBytesPerPair ? Verdict::kOk : Verdict::kMiss;
    }
    if (!series.remark.empty()) table.notes.push_back(fmt::format("{}: {}", row.server, series.remark));
    table.rows.push_back(std::move(row));
  }
  if (pairs < kPairs) table.notes.emplace_back("the limit of open files allowed no more pairs than these");
  return {table};
}

std::vector<Table> bench_relay_udp(const Options& options) {
  RelayServers relays(options, {.scheme = "udp", .with_floor = false, .with_haproxy = false, .control = "nginx"});
  const auto all = run_relays("relay udp", relays, "udp", rounds_of(options, 1),
                              loaded(Bounds{options.seconds.value_or(kSeconds)}, [] { return UdpLoad(); }));
  const std::string title =
      fmt::format("UDP relay, {} sockets, {} datagrams of {} bytes under way on each (there and back counts as one)",
                  UdpLoad::kSockets, UdpLoad::kUnderWay, UdpLoad::kMessageSize);
  return {relay_table({"relay udp", title, "datagrams/CPU s", &Sample::per_cpu_second, 1.5, Rival::kNginx, kDatagrams,
                       Wanted::kAtLeast},
                      all)};
}

std::vector<Table> bench_relay_two(const Options& options) {
  std::vector<Table> tables;
  for (auto* run : {request_tables, connect_tables, bulk_tables})
    std::ranges::move(run(options, 2), std::back_inserter(tables));
  return tables;
}

}  // namespace portolan::bench
