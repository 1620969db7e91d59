#include "stats_command.h"

#include "base/clock.h"
#include "base/units.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <cstdio>
#include <map>
#include <tuple>
#include <utility>
#include <vector>

namespace portolan {
namespace {

constexpr int kUnreadable = 1;
constexpr int kNothingFound = 4;

constexpr std::array<std::pair<const char*, double>, 3> kQuantiles = {{{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}}};

std::uint64_t core_of(const ReportRow& row, CoreCounter counter) { return row.core[static_cast<std::size_t>(counter)]; }

const char* name_of(Grouping by) {
  switch (by) {
    case Grouping::minute: return "minute";
    case Grouping::hour: return "hour";
    case Grouping::day: return "day";
    case Grouping::total: break;
  }
  return "total";
}

// ---- JSON: exact ---------------------------------------------------------------------------------------------

nlohmann::ordered_json quantiles_of(const HistogramSnapshot& histogram, double unit) {
  if (histogram.empty()) return nullptr;
  nlohmann::ordered_json out;
  for (const auto& [name, share] : kQuantiles) {
    const std::uint64_t value = histogram.quantile(share);
    if (unit == 1) {
      out[name] = value;
    } else {
      out[name] = static_cast<double>(value) / unit;
    }
  }
  return out;
}

void print_json(const StatsCommandOptions& options, std::int64_t since, std::int64_t now,
                const std::vector<ReportRow>& rows) {
  nlohmann::ordered_json out;
  out["store"] = options.path;
  if (options.since.count() > 0) {
    out["since"] = iso_time(since);
  } else {
    out["since"] = nullptr;
  }
  out["until"] = iso_time(now);
  out["by"] = name_of(options.by);
  out["rows"] = nlohmann::ordered_json::array();
  for (const ReportRow& row : rows) {
    nlohmann::ordered_json entry;
    entry["time"] = iso_time(row.start);
    entry["unix_time"] = row.start;
    entry["service"] = row.service;
    entry["plugin"] = row.plugin;
    for (std::size_t i = 0; i < kCoreCounterCount; ++i) entry[std::string(kCoreCounterNames[i])] = row.core[i];
    entry["open_peak"] = row.open_peak;
    entry["latency_us"] = quantiles_of(row.latency, 1000);
    entry["size_bytes"] = quantiles_of(row.message_size, 1);
    entry["refusals"] = nlohmann::ordered_json::object();
    for (const auto& [reason, count] : row.refusals) entry["refusals"][reason] = count;
    entry["counters"] = nlohmann::ordered_json::object();
    for (const auto& [name, value] : row.counters) entry["counters"][name] = value;
    out["rows"].push_back(std::move(entry));
  }
  // A name from the file that is not UTF-8 is shown as far as it goes rather than thrown over.
  fmt::print("{}\n", out.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
}

// ---- Tables --------------------------------------------------------------------------------------------------

std::string latency_text(std::uint64_t nanoseconds) {
  const auto value = static_cast<double>(nanoseconds);
  if (value < 1e3) return fmt::format("{}ns", nanoseconds);
  if (value < 1e6) return fmt::format("{:.3g}us", value / 1e3);
  if (value < 1e9) return fmt::format("{:.3g}ms", value / 1e6);
  return fmt::format("{:.4g}s", value / 1e9);
}

std::string size_text(std::uint64_t bytes) {
  static constexpr std::array<const char*, 6> kUnits = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  return unit == 0 ? fmt::format("{}B", bytes) : fmt::format("{:.1f}{}", value, kUnits[unit]);
}

// Cells of plain ASCII or UTF-8 as one code point per column. A name from the file must not steer the terminal.
std::string harmless(const std::string& text) {
  std::string out;
  for (const char c : text) out += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
  return out;
}

std::size_t width_of(const std::string& text) {
  return static_cast<std::size_t>(std::ranges::count_if(text, [](char c) { return (c & 0xc0) != 0x80; }));
}

class Table {
 public:
  Table(std::vector<std::string> heads, std::size_t left_columns) : left_(left_columns) {
    rows_.push_back(std::move(heads));
  }
  void add(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }

  void print(bool terminal) const {
    std::vector<std::size_t> widths(rows_.front().size());
    for (const auto& row : rows_) {
      for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width_of(row[i]));
    }
    if (terminal) print_rule(widths, "┌", "┬", "┐");
    for (std::size_t line = 0; line < rows_.size(); ++line) {
      std::string text;
      for (std::size_t i = 0; i < widths.size(); ++i) {
        const std::string& cell = rows_[line][i];
        const std::string space(widths[i] - width_of(cell), ' ');
        std::string padded = i < left_ ? cell + space : space + cell;
        if (terminal && line == 0) padded = "\x1b[1m" + padded + "\x1b[0m";
        text += terminal ? "│ " + padded + " " : (i == 0 ? "" : "  ") + padded;
      }
      if (terminal) {
        text += "│";
      } else {
        text.erase(text.find_last_not_of(' ') + 1);
      }
      fmt::print("{}\n", text);
      if (terminal && line == 0) print_rule(widths, "├", "┼", "┤");
    }
    if (terminal) print_rule(widths, "└", "┴", "┘");
  }

 private:
  static void print_rule(const std::vector<std::size_t>& widths, const char* left, const char* middle,
                         const char* right) {
    std::string text = left;
    for (std::size_t i = 0; i < widths.size(); ++i) {
      if (i > 0) text += middle;
      for (std::size_t n = 0; n < widths[i] + 2; ++n) text += "─";
    }
    fmt::print("{}{}\n", text, right);
  }

  std::size_t left_;
  std::vector<std::vector<std::string>> rows_;
};

void print_tables(const StatsCommandOptions& options, const std::vector<ReportRow>& rows) {
  const bool timed = options.by != Grouping::total;
  // Human units where a human reads; what is piped on stays whole numbers that awk can add up.
  const auto count = [&](std::uint64_t value) {
    return options.terminal ? format_count(value) : fmt::to_string(value);
  };
  const auto bytes = [&](std::uint64_t value) { return options.terminal ? size_text(value) : fmt::to_string(value); };
  const auto latency = [&](const HistogramSnapshot& histogram, double share) -> std::string {
    if (histogram.empty()) return "-";
    const std::uint64_t value = histogram.quantile(share);
    return options.terminal ? latency_text(value) : fmt::format("{:.3f}", static_cast<double>(value) / 1000);
  };
  const std::string unit = options.terminal ? "" : "_us";
  std::vector<std::string> heads;
  if (timed) heads.emplace_back("time");
  for (const std::string& head :
       {std::string("service"), std::string("plugin"), std::string("sessions"), std::string("messages"),
        std::string("bytes_in"), std::string("bytes_out"), std::string("refused"), std::string("failed"), "p50" + unit,
        "p90" + unit, "p99" + unit, std::string("size_p99")}) {
    heads.push_back(head);
  }
  Table table(std::move(heads), timed ? 3 : 2);
  for (const ReportRow& row : rows) {
    std::vector<std::string> cells;
    if (timed) cells.push_back(iso_time(row.start));
    cells.push_back(harmless(row.service));
    cells.push_back(harmless(row.plugin));
    cells.push_back(count(core_of(row, CoreCounter::sessions)));
    cells.push_back(count(core_of(row, CoreCounter::messages)));
    cells.push_back(bytes(core_of(row, CoreCounter::bytes_in)));
    cells.push_back(bytes(core_of(row, CoreCounter::bytes_out)));
    cells.push_back(count(core_of(row, CoreCounter::refused)));
    cells.push_back(count(core_of(row, CoreCounter::failed)));
    for (const auto& [name, share] : kQuantiles) cells.push_back(latency(row.latency, share));
    cells.push_back(row.message_size.empty() ? "-" : bytes(row.message_size.quantile(0.99)));
    table.add(std::move(cells));
  }
  table.print(options.terminal);

  // Under the table, in one piece for the whole range.
  for (const auto& [title, head, member] : {std::tuple("refusals", "reason", &ReportRow::refusals),
                                            std::tuple("counters", "counter", &ReportRow::counters)}) {
    std::map<std::pair<std::string, std::string>, std::uint64_t> sums;
    for (const ReportRow& row : rows) {
      for (const auto& [name, value] : row.*member) sums[{row.service, name}] += value;
    }
    if (sums.empty()) continue;
    Table details({"service", head, "count"}, 2);
    for (const auto& [key, value] : sums) details.add({harmless(key.first), harmless(key.second), count(value)});
    fmt::print("\n{}:\n", title);
    details.print(options.terminal);
  }
}

}  // namespace

int stats_command(const StatsCommandOptions& options) {
  const std::int64_t now = unix_ms() / 1000;
  const std::int64_t since =
      options.since.count() > 0 ? now - std::chrono::duration_cast<std::chrono::seconds>(options.since).count() : 0;
  const auto rows = read_report({options.path, options.service, since, options.by});
  if (!rows) {
    fmt::print(stderr, "portolan stats: {}\n", rows.error());
    return kUnreadable;
  }
  if (rows->empty() && !options.service.empty()) {
    fmt::print(stderr,
               "portolan stats: service \"{}\" has nothing in the store{}: \"portolan stats --since 0\" shows"
               " which services have\n",
               options.service,
               options.since.count() > 0 ? fmt::format(" in the last {}", format_duration(options.since)) : "");
    return kNothingFound;
  }
  if (options.json) {
    print_json(options, since, now, *rows);
  } else if (rows->empty()) {
    fmt::print("nothing was counted{}\n",
               options.since.count() > 0 ? fmt::format(" in the last {}", format_duration(options.since)) : "");
  } else {
    print_tables(options, *rows);
  }
  if (std::fflush(stdout) != 0) {
    fmt::print(stderr, "portolan stats: cannot write to standard output\n");
    return kUnreadable;
  }
  return 0;
}

}  // namespace portolan
