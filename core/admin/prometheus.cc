#include "admin/admin.h"
#include "base/net_error.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <map>

namespace portolan {

namespace {

struct CoreFamily {
  std::string_view name;
  std::string_view help;
};

// In the order of CoreCounter; `refused` is given by reason instead.
constexpr std::array<CoreFamily, kCoreCounterCount> kCoreFamilies{{
    {"portolan_sessions_total", "Sessions opened."},
    {"portolan_messages_total", "Messages handled."},
    {"portolan_bytes_in_total", "Bytes received from clients."},
    {"portolan_bytes_out_total", "Bytes sent to clients."},
    {"portolan_refused_total", "Sessions and messages refused, by reason."},
    {"portolan_failed_total", "Sessions that ended by a network error."},
    {"portolan_hook_calls_total", "Calls of Lua hooks."},
    {"portolan_hook_failures_total", "Calls of Lua hooks that raised an error or were stopped."},
}};

struct Bound {
  std::string_view label;
  std::uint64_t value;  // nanoseconds, bytes
};
// Prometheus wants the same bounds for ever; finer questions are for the store, which keeps every bucket.
constexpr Bound kLatencyBounds[] = {
    {"1e-05", 10'000},     {"2.5e-05", 25'000},    {"5e-05", 50'000},      {"0.0001", 100'000},   {"0.00025", 250'000},
    {"0.0005", 500'000},   {"0.001", 1'000'000},   {"0.0025", 2'500'000},  {"0.005", 5'000'000},  {"0.01", 10'000'000},
    {"0.025", 25'000'000}, {"0.05", 50'000'000},   {"0.1", 100'000'000},   {"0.25", 250'000'000}, {"0.5", 500'000'000},
    {"1", 1'000'000'000},  {"2.5", 2'500'000'000}, {"10", 10'000'000'000},
};
constexpr Bound kSizeBounds[] = {
    {"16", 16},       {"64", 64},       {"256", 256},       {"1024", 1024},       {"4096", 4096},
    {"16384", 16384}, {"65536", 65536}, {"262144", 262144}, {"1048576", 1048576}, {"16777216", 16777216},
};

// Backslash, quote and newline escaped; what is not UTF-8 replaced, or Prometheus refuses the whole page.
std::string label_value(std::string_view text) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const auto byte = static_cast<unsigned char>(text[at]);
    std::size_t length = byte < 0x80                   ? 1
                         : byte >= 0xc2 && byte < 0xe0 ? 2
                         : byte >= 0xe0 && byte < 0xf0 ? 3
                         : byte >= 0xf0 && byte < 0xf5 ? 4
                                                       : 0;
    if (length > text.size() - at) length = 0;
    for (std::size_t i = 1; i < length; ++i) {
      if ((static_cast<unsigned char>(text[at + i]) & 0xc0) != 0x80) length = 0;
    }
    if (length == 0) {
      out += "\xef\xbf\xbd";
    } else if (byte == '\\' || byte == '"') {
      out += '\\';
      out += text[at];
    } else if (byte == '\n') {
      out += "\\n";
    } else {
      out += text.substr(at, length);
    }
    at += std::max<std::size_t>(length, 1);
  }
  return out;
}

struct Series {
  std::string labels;  // service="...",plugin="..."
  const ServiceStats* service;
  StatsSnapshot snapshot;
};

class Page {
 public:
  void family(std::string_view name, std::string_view type, std::string_view help) {
    fmt::format_to(std::back_inserter(text), "# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
  }
  template <typename Value>
  void sample(std::string_view name, std::string_view labels, Value value) {
    if (labels.empty()) {
      fmt::format_to(std::back_inserter(text), "{} {}\n", name, value);
    } else {
      fmt::format_to(std::back_inserter(text), "{}{{{}}} {}\n", name, labels, value);
    }
  }
  template <typename Value>
  void single(std::string_view name, std::string_view type, std::string_view help, Value value) {
    family(name, type, help);
    sample(name, "", value);
  }
  void histogram(std::string_view name, const Series& series, const HistogramSnapshot& values,
                 std::span<const Bound> bounds) {
    const std::string bucket = fmt::format("{}_bucket", name);
    for (const Bound& bound : bounds) {
      sample(bucket, fmt::format("{},le=\"{}\"", series.labels, bound.label), values.count_up_to(bound.value));
    }
    const std::uint64_t count = values.count();
    sample(bucket, fmt::format("{},le=\"+Inf\"", series.labels), count);
    sample(fmt::format("{}_count", name), series.labels, count);
  }

  std::string text;
};

// A counter of a plugin whose name core has already is told apart by the plugin's name.
std::string plugin_family(const std::string& plugin, const std::string& counter) {
  std::string name = fmt::format("portolan_{}_total", counter);
  const bool taken = std::ranges::any_of(kCoreFamilies, [&](const CoreFamily& core) { return core.name == name; }) ||
                     name == "portolan_accept_pauses_total" || name == "portolan_bans_total" ||
                     name.starts_with("portolan_store_");
  if (taken) name = fmt::format("portolan_{}_{}_total", plugin, counter);
  std::ranges::replace_if(
      name,
      [](char c) { return !((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'); },
      '_');
  return name;
}

void daemon_families(Page& page, const DaemonStatus& status) {
  page.family("portolan_info", "gauge", "The version that runs; always 1.");
  page.sample("portolan_info", fmt::format("version=\"{}\"", label_value(status.version)), 1);
  page.single("portolan_start_time_seconds", "gauge", "When the daemon started, Unix time.",
              static_cast<double>(status.started_ms) / 1000);
  page.single("portolan_generation", "gauge", "The generation of the configuration that serves.", status.generation);
  page.single("portolan_generation_time_seconds", "gauge", "When this generation began to serve, Unix time.",
              static_cast<double>(status.loaded_ms) / 1000);
  page.single("portolan_workers", "gauge", "Worker threads.", status.workers);
  page.single("portolan_draining", "gauge", "1 while the daemon is stopping.", status.draining ? 1 : 0);
  page.single("portolan_accept_pauses_total", "counter", "Times that accepting paused for want of descriptors.",
              status.accept_pauses);
  page.single("portolan_bans", "gauge", "Client addresses that are banned now.", status.bans);
  page.single("portolan_bans_total", "counter", "Bans since the daemon started.", status.bans_total);
  page.family("portolan_service_up", "gauge", "1 for a service that serves, 0 for one that failed to start.");
  for (const ServiceStatus& service : status.services) {
    page.sample("portolan_service_up",
                fmt::format("service=\"{}\",plugin=\"{}\"", label_value(service.name), label_value(service.plugin)),
                service.error.empty() ? 1 : 0);
  }
  if (status.store_path.empty()) return;
  page.single("portolan_store_ok", "gauge", "0 while the store cannot be written.", status.store.ok ? 1 : 0);
  page.single("portolan_store_last_flush_time_seconds", "gauge", "The last successful flush, Unix time; 0: none yet.",
              static_cast<double>(status.store.last_flush_ms) / 1000);
  page.single("portolan_store_flushes_total", "counter", "Transactions that the store committed.",
              status.store.flushes);
  page.single("portolan_store_failures_total", "counter", "Flushes that failed.", status.store.failures);
  page.single("portolan_store_records_lost_total", "counter", "Records dropped because the store could not take them.",
              status.store.records_lost);
}

}  // namespace

std::string prometheus_text(const DaemonStatus& status, const StatsRegistry& statistics) {
  Page page;
  daemon_families(page, status);

  const auto services = statistics.all();
  std::vector<Series> all;
  for (const auto& service : services) {
    std::string labels =
        fmt::format("service=\"{}\",plugin=\"{}\"", label_value(service->service()), label_value(service->plugin()));
    // The same service twice (its statistics were made anew) would be a sample twice, which is refused: the sum.
    const auto same = std::ranges::find(all, labels, &Series::labels);
    if (same == all.end()) {
      all.push_back({std::move(labels), service.get(), service->snapshot()});
      continue;
    }
    same->snapshot.add(service->snapshot());
  }

  page.family("portolan_sessions_open", "gauge", "Sessions open now.");
  for (const Series& series : all) page.sample("portolan_sessions_open", series.labels, series.snapshot.open);
  for (std::size_t i = 0; i < kCoreCounterCount; ++i) {
    const CoreFamily& core = kCoreFamilies[i];
    page.family(core.name, "counter", core.help);
    for (const Series& series : all) {
      if (i != static_cast<std::size_t>(CoreCounter::refused)) {
        page.sample(core.name, series.labels, series.snapshot.core[i]);
        continue;
      }
      for (std::size_t reason = 0; reason < kRefusalCount; ++reason) {
        page.sample(core.name, fmt::format("{},reason=\"{}\"", series.labels, to_string(static_cast<Refusal>(reason))),
                    series.snapshot.refusals[reason]);
      }
    }
  }

  // All samples of a family stand together, also when two plugins have a counter of the same name.
  std::map<std::string, std::vector<std::pair<const Series*, std::uint64_t>>> own;
  for (const Series& series : all) {
    for (const auto& [name, value] : series.snapshot.plugin)
      own[plugin_family(series.service->plugin(), name)].emplace_back(&series, value);
  }
  for (const auto& [name, samples] : own) {
    page.family(name, "counter", "A counter of the plugin's own (see `portolan help PLUGIN`), or of a script.");
    for (const auto& [series, value] : samples) page.sample(name, series->labels, value);
  }

  page.family("portolan_latency_seconds", "histogram", "From reading a message to having its answer written.");
  for (const Series& series : all) {
    page.histogram("portolan_latency_seconds", series, series.snapshot.latency, kLatencyBounds);
  }
  page.family("portolan_message_size_bytes", "histogram", "Size of messages handled.");
  for (const Series& series : all) {
    page.histogram("portolan_message_size_bytes", series, series.snapshot.message_size, kSizeBounds);
  }
  return std::move(page.text);
}

}  // namespace portolan
