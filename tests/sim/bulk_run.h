// A file over a simulated link: how fast it was, what it cost, and what queue it made. For tests, and for whoever works on
// congestion control (bulk.cc).
#pragma once

#include "rudp/options.h"
#include "sim/link.h"

#include <cstdint>
#include <functional>

namespace portolan::sim {

struct BulkPlan {
  LinkSettings link;  // in both directions
  rudp::ConnectionOptions options;
  std::uint64_t bytes = 25'000'000;
  std::uint64_t seed = 1;
  bool asks = false;  // a question and its answer first, as protocols do
  Duration patience = std::chrono::seconds(60);
  // Called every 50 ms of virtual time, with the sender's statistics.
  std::function<void(double seconds, const rudp::ConnectionStatistics&, std::uint64_t received)> watch = {};
};

struct BulkResult {
  bool done = false;
  double megabits = 0;                   // a second, of payload, start-up and handshake included
  double ceiling = 0;                    // what the link can carry of it: rate x 1450/1514 x (1 - loss)
  double wire_there = 0, wire_back = 0;  // IP bytes for one of payload
  double queue_p50_ms = 0, queue_p95_ms = 0, queue_max_ms = 0;
  std::uint64_t dropped = 0;  // by the queue
  rudp::ConnectionStatistics sender;
};

BulkResult run_bulk(const BulkPlan& plan);

}  // namespace portolan::sim
