// What Portolan's own parts cost: a session, statistics, a start, a Lua hook.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "benches.h"
#include "load_idle.h"
#include "load_tcp.h"
#include "measure.h"

namespace portolan::bench {
namespace {

constexpr int kSessions = 10'000;
constexpr double kMaxBytesPerSession = 512;
constexpr double kMaxStatsRatio = 1.03;
constexpr double kMaxStartMs = 50;
constexpr double kMaxIdleMib = 8;

constexpr std::string_view kStoreOn = "  store = { path = \"portolan.db\", flush_every = \"1s\" },\n";
constexpr std::string_view kStoreOff = "  store = false,\n  stats = false,\n";

std::string echo_service() {
  return fmt::format(
      "    {{ plugin = \"echo\", name = \"echo\", listen = \"tcp://127.0.0.1:0\", mode = \"raw\", {} }},\n", kNoLimits);
}

}  // namespace

std::vector<Table> bench_memory(const Options& options) {
  // Descriptors for the driver itself and for the server's own files stay free.
  const int sessions = static_cast<int>(std::min<std::size_t>(kSessions, raise_descriptor_limit() - 100));
  Servers servers(options);
  std::vector<Contender> contenders;
  if (options.wants("floor")) contenders.push_back(servers.floor("echo"));
  if (options.wants("portolan")) contenders.push_back(servers.portolan("portolan", "", echo_service(), "echo"));
  if (options.wants("go")) contenders.push_back(servers.go("echo").front());
  const auto measure = [&](Process& server, const sockaddr_in& address) {
    return sample_memory(server, address, sessions);
  };
  const auto all = run_rounds("memory", contenders, options.rounds.value_or(3), measure);

  Table table{"memory",
              fmt::format("{} idle TCP sessions, each answered once; memory private to the server process", sessions),
              {{"bytes_per_session", "bytes/session", 0}, {"private_mib", "private MiB in all", 1}},
              {},
              {}};
  for (const Series& series : all) {
    Row row = start_row(series);
    const bool judged = series.contender->key == "portolan";
    if (judged) row.target = fmt::format("<= {:.0f} bytes", kMaxBytesPerSession);
    if (row.verdict == Verdict::kNone) {
      const double bytes = series.median_of(&Sample::cost).value_or(0);
      row.values = {bytes, series.median_of(&Sample::rate).value_or(0) / (1024 * 1024)};
      if (judged) row.verdict = bytes <= kMaxBytesPerSession ? Verdict::kOk : Verdict::kMiss;
    }
    add_remark(table, series);
    table.rows.push_back(std::move(row));
  }
  if (sessions < kSessions) table.notes.emplace_back("the limit of open files allowed no more sessions than these");
  return {table};
}

std::vector<Table> bench_stats(const Options& options) {
  Servers servers(options);
  std::vector<Contender> contenders;
  if (options.wants("portolan")) {
    contenders.push_back(servers.portolan("statistics off", kStoreOff, echo_service(), "echo"));
    contenders.push_back(servers.portolan("statistics on", kStoreOn, echo_service(), "echo"));
    contenders.push_back(servers.portolan("off again", kStoreOff, echo_service(), "echo"));
  }
  // A second holds one flush, wherever the round begins.
  const Bounds bounds{options.seconds.value_or(1.0)};
  const auto all =
      run_rounds("stats", contenders, options.rounds.value_or(21), [&](Process& server, const sockaddr_in& address) {
        TcpLoad load({});
        return sample_load(load, server, address, bounds);
      });
  Table table{"stats",
              "TCP echo with statistics and the store (flushed every second) against the same without",
              {{"requests_per_second", "req/s", 0},
               {"cpu_us_per_request", "server CPU us/req", 2},
               {"cpu_ratio", "CPU / off", 2},
               {"cpu_ratio_low", "low", 2},
               {"cpu_ratio_high", "high", 2}},
              {},
              {}};
  const Series* off = find_labelled(all, "statistics off");
  const Noise noise = noise_of(find_labelled(all, "off again"), off, &Sample::cost);
  for (const Series& series : all) {
    Row row = start_row(series);
    const bool judged = series.contender->label == "statistics on";
    if (judged) row.target = fmt::format("CPU <= {:.2f}x off", kMaxStatsRatio);
    if (row.verdict == Verdict::kNone) {
      row.values = {series.median_of(&Sample::rate), series.median_of(&Sample::cost)};
      if (const auto ratio = off != nullptr ? ratio_to(series, *off, &Sample::cost) : std::nullopt) {
        row.values.insert(row.values.end(), {ratio->median, ratio->low, ratio->high});
        if (judged) row.verdict = judge_at_most(ratio->median, kMaxStatsRatio, noise);
      }
    }
    add_remark(table, series);
    table.rows.push_back(std::move(row));
  }
  if (noise.share > 0) table.notes.push_back(noise_note(noise, "the CPU per request"));
  return {table};
}

std::vector<Table> bench_start(const Options& options) {
  Servers servers(options);
  std::vector<Contender> contenders;
  if (options.wants("floor")) contenders.push_back(servers.floor("echo"));
  if (options.wants("portolan")) {
    contenders.push_back(servers.portolan("portolan", kStoreOn, echo_service(), "echo"));
    contenders.push_back(servers.portolan("portolan, no store", kStoreOff, echo_service(), "echo"));
  }
  if (options.wants("go")) contenders.push_back(servers.go("echo").front());
  const auto measure = [&](const Contender& contender) -> Result<Sample> {
    const auto begin = Clock::now();
    auto server = Process::start(contender.command);
    if (!server) return Failure(std::move(server).error());
    const auto address = server->wait_for_listener(contender.service, contender.scheme);
    if (!address) return Failure(address.error());
    auto answered = connect_and_ask(*address);
    if (!answered) return Failure(std::move(answered).error());
    Sample sample{.cost = seconds_since(begin) * 1000};
    *answered = Descriptor{};
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    sample.rate = static_cast<double>(server->resident_bytes()) / (1024 * 1024);
    sample.remark = server->stop();
    return sample;
  };
  const auto all = run_starts("start", contenders, options.rounds.value_or(20), measure);

  Table table{"start",
              "from fork to the first answered echo, and the resident memory of the idle server after it",
              {{"start_ms", "start ms", 1}, {"idle_rss_mib", "idle RSS MiB", 1}},
              {},
              {}};
  for (const Series& series : all) {
    Row row = start_row(series);
    const bool judged = series.contender->key == "portolan";
    if (judged) row.target = fmt::format("< {:.0f} ms, < {:.0f} MiB", kMaxStartMs, kMaxIdleMib);
    if (row.verdict == Verdict::kNone) {
      const double start_ms = series.median_of(&Sample::cost).value_or(0);
      const double mib = series.median_of(&Sample::rate).value_or(0);
      row.values = {start_ms, mib};
      if (judged) row.verdict = start_ms < kMaxStartMs && mib < kMaxIdleMib ? Verdict::kOk : Verdict::kMiss;
    }
    add_remark(table, series);
    table.rows.push_back(std::move(row));
  }
  return {table};
}

std::vector<Table> bench_hook(const Options& options) {
  constexpr int kLinesAtOnce = 64;
  constexpr int kConnections = 16;
  constexpr std::string_view kNative = "native: transform = \"upper\"";
  constexpr std::string_view kHook = "Lua hook: line:upper()";
  Servers servers(options);
  std::vector<Contender> contenders;
  const auto add = [&](std::string_view label, const std::string& name, std::string_view work) {
    const std::string entry = fmt::format(
        "    {{ plugin = \"echo\", name = \"{}\", listen = \"tcp://127.0.0.1:0\", mode = \"lines\", {}, {} "
        "}},\n",
        name, work, kNoLimits);
    contenders.push_back(servers.portolan(std::string(label), "", entry, name));
  };
  if (options.wants("portolan")) {
    add(kNative, "lines", "transform = \"upper\"");
    add(kHook, "hooked", "on_line = function(line, session) return line:upper() end");
  }
  const Bounds bounds{options.seconds.value_or(1.0)};
  const TcpShape shape{.connections = kConnections, .batch = kLinesAtOnce, .framing = Framing::kUpperLines};
  const auto all =
      run_rounds("hook", contenders, options.rounds.value_or(5), [&](Process& server, const sockaddr_in& address) {
        TcpLoad load(shape);
        return sample_load(load, server, address, bounds);
      });
  Table table{"hook",
              fmt::format("lines of {} bytes turned to upper case, {} connections, {} lines sent at once on each",
                          shape.message_size, kConnections, kLinesAtOnce),
              {{"lines_per_second", "lines/s", 0},
               {"cpu_ns_per_line", "server CPU ns/line", 0},
               {"cpu_ratio", "CPU / native", 2}},
              {},
              {}};
  const Series* native = find_labelled(all, kNative);
  for (const Series& series : all) {
    Row row = start_row(series);
    if (row.verdict == Verdict::kNone) {
      const double ns = series.median_of(&Sample::cost).value_or(0) * 1000;
      row.values = {series.median_of(&Sample::rate), ns,
                    median(native != nullptr ? ratio_to(series, *native, &Sample::cost) : std::nullopt)};
      if (native != nullptr && &series != native) {
        table.notes.push_back(fmt::format("one call of the hook costs {:.0f} ns more than the native transform",
                                          ns - native->median_of(&Sample::cost).value_or(0) * 1000));
      }
    }
    add_remark(table, series);
    table.rows.push_back(std::move(row));
  }
  return {table};
}

}  // namespace portolan::bench
