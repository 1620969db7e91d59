// Rounds: every server is started afresh in each, the order turns round every other time, and what is
// compared are the figures of one and the same round. So a slow drift of the machine, the luck of a process
// with its memory layout and the neighbour's turn at the CPU fall on all alike.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "servers.h"
#include "table.h"

namespace portolan::bench {

struct Sample {
  double rate = 0;            // requests per second
  double cost = 0;            // the measured figure; microseconds of server CPU per request where traffic is measured
  double busy = 0;            // of one CPU, in percent
  double elsewhere = 0;       // of that CPU, in percent of all: outside of threads called worker
  double sleeps = 0;          // times that the server went to wait for work, per request
  double per_cpu_second = 0;  // requests for a second of server CPU
  double p50_us = 0;          // latency as the client saw it, where the load measures it
  double p99_us = 0;
  double max_us = 0;
  double generator_busy = 0;  // of one CPU, in percent: what the load itself took
  double late_us = 0;         // open loops: how long after the moment it was due the latest request was sent
  std::string remark{};       // worth a note below the table
};

struct Series {
  const Contender* contender = nullptr;
  std::vector<std::optional<Sample>> rounds;
  std::string failure;  // ended the series; its figures are not shown
  std::string remark;   // the last of its samples' own

  bool usable() const;
  std::optional<double> median_of(double Sample::* figure) const;
};

struct Quartiles {
  double low = 0;
  double median = 0;
  double high = 0;
};
std::optional<Quartiles> quartiles(std::vector<double> values);
// Of the rounds in which both have a figure.
std::optional<Quartiles> ratio_to(const Series& series, const Series& base, double Sample::* figure);

std::optional<double> median(const std::optional<Quartiles>& found);
// Null when there is none of this label, or it is of no use.
const Series* find_labelled(const std::vector<Series>& all, std::string_view label);
void add_remark(Table& table, const Series& series);

using Measure = std::function<Result<Sample>(Process& server, const sockaddr_in& address)>;
// Starts the server, measures it and stops it.
Result<Sample> measure_once(const Contender& contender, const Measure& measure);
std::vector<Series> run_rounds(const std::string& what, const std::vector<Contender>& contenders, int rounds,
                               const Measure& measure);
// As above for what has to see the start itself: the measure starts and stops the server.
using MeasureStart = std::function<Result<Sample>(const Contender& contender)>;
std::vector<Series> run_starts(const std::string& what, const std::vector<Contender>& contenders, int rounds,
                               const MeasureStart& measure);

// Runs a load twice, to warm up and to measure, with the server's accounts read around the second.
template <typename Load>
Result<Sample> sample_load(Load& load, Process& server, const sockaddr_in& address, const Bounds& bounds);
Sample to_sample(Tally tally, double cpu_ns, double sleeps);

// A row with its target not judged yet: the values that all share, and why there are none.
Row start_row(const Series& series);

// One server runs twice in every round, under two names. What its two rows differ by is not a difference of
// servers.
struct Noise {
  double share = 0;
};
Noise noise_of(const Series* control, const Series* base, double Sample::* figure);
Verdict judge_at_most(double value, double bound, const Noise& noise);
Verdict judge_at_least(double value, double bound, const Noise& noise);
std::string noise_note(const Noise& noise, const std::string& figure);

template <typename Load>
Result<Sample> sample_load(Load& load, Process& server, const sockaddr_in& address, const Bounds& bounds) {
  if (auto opened = load.open(address); !opened) return Failure(std::move(opened).error());
  const Bounds warm_up{bounds.seconds / 10, bounds.requests / 10};
  if (auto warm = load.run(warm_up); !warm) return Failure(std::move(warm).error());
  server.settle();
  const std::uint64_t cpu_before = server.cpu_ns();
  const std::uint64_t other_before = server.other_cpu_ns();
  const std::uint64_t sleeps_before = server.sleeps();
  auto tally = load.run(bounds);
  if (!tally) return Failure(tally.error());
  server.settle();
  const auto cpu_ns = static_cast<double>(server.cpu_ns() - cpu_before);
  Sample sample = to_sample(std::move(*tally), cpu_ns, static_cast<double>(server.sleeps() - sleeps_before));
  sample.elsewhere = static_cast<double>(server.other_cpu_ns() - other_before) / cpu_ns * 100;
  return sample;
}

}  // namespace portolan::bench
