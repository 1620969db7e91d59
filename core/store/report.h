// Reads what the store knows about services over a stretch of time: for `portolan stats`.
//
// Opens the file read-only, for as long as the call lasts, whether a daemon is writing it or not. Any thread. The
// error is a sentence.
#pragma once

#include "stats/service_stats.h"

#include <array>
#include <cstdint>
#include <expected>
#include <map>
#include <string>
#include <vector>

namespace portolan {

enum class Grouping : std::uint8_t { total, minute, hour, day };

struct ReportQuery {
  std::string path;
  std::string service;     // empty: all
  std::int64_t since = 0;  // Unix seconds; the period that it falls into counts whole
  Grouping by = Grouping::total;
};

struct ReportRow {
  std::int64_t start = 0;  // Unix seconds: of the period; with Grouping::total, of the oldest figures in it
  std::string service;
  std::string plugin;
  std::array<std::uint64_t, kCoreCounterCount> core{};
  std::uint64_t open_peak = 0;
  HistogramSnapshot latency;       // nanoseconds
  HistogramSnapshot message_size;  // bytes
  std::map<std::string, std::uint64_t> refusals;
  std::map<std::string, std::uint64_t> counters;  // the plugin's own
};

// Rows in the order of time, then service. Nothing in the range: no rows.
std::expected<std::vector<ReportRow>, std::string> read_report(const ReportQuery& query);

}  // namespace portolan
