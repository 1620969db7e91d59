#include "measure.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace portolan::bench {
namespace {

void progress(const std::string& what, int round, int rounds, const std::string& label) {
  fmt::print(stderr, "{}: round {} of {}: {}\n", what, round + 1, rounds, label);
}

double at_fraction(const std::vector<double>& sorted, double fraction) {
  const double place = fraction * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(place);
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  return std::lerp(sorted[below], sorted[above], place - static_cast<double>(below));
}

double at_rank(std::vector<float>& values, double share) {
  if (values.empty()) return 0;
  const auto at = values.begin() + static_cast<std::ptrdiff_t>(share * static_cast<double>(values.size() - 1));
  std::ranges::nth_element(values, at);
  return *at;
}

// Compared as printed: a reader finds no 1.10 that misses 1.10.
double printed(double ratio) { return std::round(ratio * 100); }

}  // namespace

bool Series::usable() const {
  return failure.empty() && std::ranges::any_of(rounds, [](const auto& sample) { return sample.has_value(); });
}

std::optional<double> Series::median_of(double Sample::* figure) const {
  std::vector<double> values;
  for (const auto& sample : rounds) {
    if (sample) values.push_back((*sample).*figure);
  }
  const auto found = quartiles(std::move(values));
  return found ? std::optional(found->median) : std::nullopt;
}

std::optional<Quartiles> quartiles(std::vector<double> values) {
  if (values.empty()) return {};
  std::ranges::sort(values);
  return Quartiles{at_fraction(values, 0.25), at_fraction(values, 0.5), at_fraction(values, 0.75)};
}

std::optional<Quartiles> ratio_to(const Series& series, const Series& base, double Sample::* figure) {
  std::vector<double> ratios;
  for (std::size_t i = 0; i < std::min(series.rounds.size(), base.rounds.size()); ++i) {
    if (!series.rounds[i] || !base.rounds[i] || (*base.rounds[i]).*figure == 0) continue;
    ratios.push_back((*series.rounds[i]).*figure / (*base.rounds[i]).*figure);
  }
  return quartiles(std::move(ratios));
}

std::vector<Series> run_starts(const std::string& what, const std::vector<Contender>& contenders, int rounds,
                               const MeasureStart& measure) {
  std::vector<Series> all;
  for (const Contender& contender : contenders) {
    Series& series = all.emplace_back();
    series.contender = &contender;
    series.rounds.resize(static_cast<std::size_t>(rounds));
  }
  for (int round = 0; round < rounds; ++round) {
    for (std::size_t turn = 0; turn < all.size(); ++turn) {
      const std::size_t at = round % 2 == 0 ? turn : all.size() - 1 - turn;
      Series& series = all[at];
      const Contender& contender = *series.contender;
      if (!contender.unavailable.empty() || !series.failure.empty() || interrupted()) continue;
      if (rounds < 20 || round % 5 == 0) progress(what, round, rounds, contender.label);
      auto sample = measure(contender);
      if (sample) {
        if (!sample->remark.empty()) series.remark = sample->remark;
        series.rounds[static_cast<std::size_t>(round)] = std::move(*sample);
      } else {
        series.failure = std::move(sample).error();
      }
    }
  }
  return all;
}

std::vector<Series> run_rounds(const std::string& what, const std::vector<Contender>& contenders, int rounds,
                               const Measure& measure) {
  return run_starts(what, contenders, rounds,
                    [&](const Contender& contender) { return measure_once(contender, measure); });
}

Result<Sample> measure_once(const Contender& contender, const Measure& measure) {
  auto server = Process::start(contender.command);
  if (!server) return Failure(std::move(server).error());
  const auto address = contender.address ? wait_until_served(*server, contender.scheme, *contender.address)
                                         : server->wait_for_listener(contender.service, contender.scheme);
  if (!address) return Failure(address.error());
  auto sample = measure(*server, *address);
  // A server that breaks its connections is often about to say why.
  if (const std::string death = server->cause_of_death(sample ? 0 : 200); !death.empty()) {
    return Failure(sample ? death : fmt::format("{}, {}", sample.error(), death));
  }
  const std::string stopped = server->stop();
  if (sample && !stopped.empty()) sample->remark = stopped;
  return sample;
}

Sample to_sample(Tally tally, double cpu_ns, double sleeps) {
  const auto requests = static_cast<double>(tally.requests);
  return {.rate = requests / tally.seconds,
          .cost = cpu_ns / 1e3 / requests,
          .busy = cpu_ns / 1e9 / tally.seconds * 100,
          .sleeps = sleeps / requests,
          .per_cpu_second = requests / (cpu_ns / 1e9),
          .p50_us = at_rank(tally.latency_us, 0.50),
          .p99_us = at_rank(tally.latency_us, 0.99),
          .max_us = at_rank(tally.latency_us, 1),
          .generator_busy = tally.generator_cpu_seconds / tally.seconds * 100,
          .late_us = tally.late_us,
          .remark = tally.lost == 0 ? "" : fmt::format("{} datagrams of one round were sent again", tally.lost)};
}

const Series* find_labelled(const std::vector<Series>& all, std::string_view label) {
  const auto found = std::ranges::find_if(all, [&](const Series& s) { return s.contender->label == label; });
  return found != all.end() && found->usable() ? &*found : nullptr;
}

std::optional<double> median(const std::optional<Quartiles>& found) {
  return found ? std::optional(found->median) : std::nullopt;
}

void add_remark(Table& table, const Series& series) {
  if (!series.remark.empty()) table.notes.push_back(fmt::format("{}: {}", series.contender->label, series.remark));
}

Row start_row(const Series& series) {
  Row row;
  row.server = series.contender->label;
  if (!series.contender->unavailable.empty()) {
    row.verdict = Verdict::kSkipped;
    row.why = series.contender->unavailable;
  } else if (!series.usable()) {
    row.verdict = Verdict::kFailed;
    row.why = series.failure.empty() ? "interrupted" : series.failure;
  }
  return row;
}

Noise noise_of(const Series* control, const Series* base, double Sample::* figure) {
  if (control == nullptr || base == nullptr) return {};
  const auto ratio = ratio_to(*control, *base, figure);
  if (!ratio) return {};
  const auto pairs = static_cast<double>(std::ranges::count_if(control->rounds, &std::optional<Sample>::has_value));
  // The distance from 1 may be small by luck; the scatter of the pairs says how far off a median of so many
  // may be.
  return {std::max(std::abs(ratio->median - 1), (ratio->high - ratio->low) / std::sqrt(pairs))};
}

Verdict judge_at_most(double value, double bound, const Noise& noise) {
  if (printed(value) <= printed(bound)) return Verdict::kOk;
  return value <= bound * (1 + noise.share) ? Verdict::kWithinNoise : Verdict::kMiss;
}

Verdict judge_at_least(double value, double bound, const Noise& noise) {
  if (printed(value) >= printed(bound)) return Verdict::kOk;
  return value >= bound * (1 - noise.share) ? Verdict::kWithinNoise : Verdict::kMiss;
}

std::string noise_note(const Noise& noise, const std::string& figure) {
  return fmt::format("noise of this run: {} of two equal servers agree to about {:.1f} %", figure, noise.share * 100);
}

}  // namespace portolan::bench
