// portolan_link: an emulated link with a program at each end. See link_emulator.h, and --help.
#include <fmt/format.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "link_options.h"
#include "link_report.h"

namespace {

using namespace portolan::bench;

void print_way(const char* name, const LinkCounts& counts, double seconds) {
  const auto ms = [](LinkTime time) { return static_cast<double>(time.count()) / 1e6; };
  fmt::print(
      "{:<6}offered {:.3f} MB in {} packets, delivered {:.3f} MB ({:.2f} Mbit/s), dropped by the queue {}, lost {}\n",
      name, static_cast<double>(counts.offered_bytes) / 1e6, counts.offered_packets,
      static_cast<double>(counts.delivered_bytes) / 1e6, static_cast<double>(counts.delivered_bytes) * 8e-6 / seconds,
      counts.queue_drops + counts.policer_drops, counts.losses + counts.outage_losses);
  fmt::print("      queue delay p50 {:.1f} ms, p95 {:.1f} ms, max {:.1f} ms\n", ms(counts.queueing.quantile(0.5)),
             ms(counts.queueing.quantile(0.95)), ms(counts.queueing.max()));
}

void print_side(const char* name, const SideReport& side) {
  fmt::print("{:<6}exit code {}, CPU user {:.3f} s, system {:.3f} s, receiving {:.3f} s\n", name, side.result.exit_code,
             side.result.user_seconds, side.result.system_seconds, side.receive_seconds);
}

void print_summary(const LinkReport& report) {
  fmt::print("{:.3f} s{}\n", report.seconds, report.timed_out ? ", cut by the time limit" : "");
  print_way("there", report.there, report.seconds);
  print_way("back", report.back, report.seconds);
  print_side("near", report.near);
  print_side("far", report.far);
  const auto us = [](LinkTime time) { return static_cast<double>(time.count()) / 1e3; };
  fmt::print("packets handed over late by p50 {:.0f} us, p99 {:.0f} us, max {:.0f} us; the emulator's CPU {:.2f} s\n",
             us(report.late.quantile(0.5)), us(report.late.quantile(0.99)), us(report.late.max()),
             report.emulator_cpu_seconds);
}

}  // namespace

int main(int argc, char** argv) {
  const auto options = parse_link_options(argc, argv);
  if (!options) {
    fmt::print(stderr, "portolan_link: {}\nTry 'portolan_link --help'.\n", options.error());
    return 2;
  }
  if (options->help) {
    fmt::print("{}", link_usage());
    return 0;
  }
  const auto report = run_link(options->setup);
  if (!report) {
    fmt::print(stderr, "portolan_link: {}\n", report.error());
    return 1;
  }
  if (options->summary) {
    print_summary(*report);
  } else {
    fmt::print("{}\n", to_json(*report).dump());
  }
  if (report->interrupted) return 130;
  return report->near.result.exit_code;
}
