// A file over a simulated link, for whoever works on congestion control:
//   portolan_sim_bulk [--rtt MS] [--loss SHARE] [--rate MBIT] [--queue MS] [--bytes N] [--seed N] [--jitter MS] [--reorder SHARE]
//                     [--ask 1] [--key 1] [--congestion cubic] [--trace 1]
#include "sim/bulk_run.h"

#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <string_view>

using namespace portolan;

int main(int argc, char** argv) {
  const auto milliseconds = [](double value) { return Duration(static_cast<Duration::rep>(value * 1e6)); };
  sim::BulkPlan plan;
  for (int i = 1; i < argc; i += 2) {
    const std::string_view name = argv[i];
    if (i + 1 == argc) {
      fmt::print(stderr, "portolan_sim_bulk: {} needs a value\n", name);
      return 2;
    }
    const double value = std::atof(argv[i + 1]);
    if (name == "--rtt") {
      plan.link.delay = milliseconds(value / 2);
    } else if (name == "--loss") {
      plan.link.loss = value;
    } else if (name == "--rate") {
      plan.link.rate = value * 1e6 / 8;
    } else if (name == "--queue") {
      plan.link.queue = milliseconds(value);
    } else if (name == "--bytes") {
      plan.bytes = static_cast<std::uint64_t>(value);
    } else if (name == "--seed") {
      plan.seed = static_cast<std::uint64_t>(value);
    } else if (name == "--jitter") {
      plan.link.jitter = milliseconds(value);
    } else if (name == "--reorder") {
      plan.link.reorder = value;
    } else if (name == "--ask") {
      plan.asks = value > 0;
    } else if (name == "--key") {
      if (value > 0) plan.options.key = rudp::Secret::random();
    } else if (name == "--congestion") {
      if (std::string_view(argv[i + 1]) == "cubic") plan.options.congestion = rudp::Congestion::cubic;
    } else if (name == "--trace") {
      plan.watch = [](double seconds, const rudp::ConnectionStatistics& now, std::uint64_t received) {
        fmt::print(
            "{:5.2f} s  paced at {:6.2f} Mbit/s  rtt {:6.2f} ms  window {:8}  in flight {:8}  loss {:.3f}  received "
            "{:9}\n",
            seconds, now.pacing_rate * 8e-6, std::chrono::duration<double, std::milli>(now.smoothed_rtt).count(),
            now.congestion_window, now.bytes_in_flight, now.loss, received);
      };
    } else {
      fmt::print(stderr, "portolan_sim_bulk: unknown option {}\n", name);
      return 2;
    }
  }
  const sim::BulkResult result = sim::run_bulk(plan);
  fmt::print(
      "{} rtt {:.0f} ms, loss {:.2f}: {:.2f} Mbit/s ({:.1f} % of {:.1f}), wire {:.4f} there, {:.4f} back; queue p50 "
      "{:.1f}, "
      "p95 {:.1f}, max {:.1f} ms, {} dropped by it; {} lost, {} of them spuriously\n",
      result.done ? "done" : "CUT ", std::chrono::duration<double, std::milli>(2 * plan.link.delay).count(),
      plan.link.loss, result.megabits, 100 * result.megabits / result.ceiling, result.ceiling, result.wire_there,
      result.wire_back, result.queue_p50_ms, result.queue_p95_ms, result.queue_max_ms, result.dropped,
      result.sender.packets_lost, result.sender.packets_lost_spuriously);
  return result.done ? 0 : 1;
}
