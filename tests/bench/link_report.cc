#include "link_report.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace portolan::bench {
namespace {

using nlohmann::json;

double ms(LinkTime time) { return static_cast<double>(time.count()) / 1e6; }
double us(LinkTime time) { return static_cast<double>(time.count()) / 1e3; }

json counts_json(const LinkCounts& counts) {
  return {{"offered_packets", counts.offered_packets},
          {"offered_bytes", counts.offered_bytes},
          {"delivered_packets", counts.delivered_packets},
          {"delivered_bytes", counts.delivered_bytes},
          {"queue_drops", counts.queue_drops},
          {"policer_drops", counts.policer_drops},
          {"losses", counts.losses},
          {"outage_losses", counts.outage_losses},
          {"duplicates", counts.duplicates},
          {"corrupted", counts.corrupted},
          {"reordered", counts.reordered},
          {"queue_ms",
           {{"p50", ms(counts.queueing.quantile(0.5))},
            {"p95", ms(counts.queueing.quantile(0.95))},
            {"max", ms(counts.queueing.max())}}},
          {"delivered_bytes_by_tenth_of_a_second", counts.delivered_by_tenth}};
}

std::string protocol_name(std::uint8_t protocol) {
  switch (protocol) {
    case 1: return "icmp";
    case 6: return "tcp";
    case 17: return "udp";
    case 58: return "icmp6";
    default: return fmt::format("{}", protocol);
  }
}

json way_json(const LinkCounts& counts, const std::vector<FlowCounts>& flows) {
  json way = counts_json(counts);
  for (const FlowCounts& flow : flows) {
    json& entry = way["flows"].emplace_back(counts_json(flow.counts));
    entry["protocol"] = protocol_name(flow.key.protocol);
    entry["source_port"] = flow.key.source_port;
    entry["destination_port"] = flow.key.destination_port;
  }
  return way;
}

json side_json(const SideReport& side) {
  return {{"exit_code", side.result.exit_code},
          {"user_seconds", side.result.user_seconds},
          {"system_seconds", side.result.system_seconds},
          {"receive_seconds", side.receive_seconds}};
}

}  // namespace

json to_json(const LinkReport& report) {
  return {{"seconds", report.seconds},
          {"timed_out", report.timed_out},
          {"interrupted", report.interrupted},
          {"there", way_json(report.there, report.flows_there)},
          {"back", way_json(report.back, report.flows_back)},
          {"near", side_json(report.near)},
          {"far", side_json(report.far)},
          {"emulator",
           {{"cpu_seconds", report.emulator_cpu_seconds},
            {"late_us",
             {{"p50", us(report.late.quantile(0.5))},
              {"p99", us(report.late.quantile(0.99))},
              {"max", us(report.late.max())}}}}}};
}

}  // namespace portolan::bench
