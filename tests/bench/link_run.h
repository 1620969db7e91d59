// Runs portolan_link for a bench and reads its report. A program of its own, because the emulator moves between
// namespaces and takes real-time priority.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "net.h"

namespace portolan::bench {

struct LinkConditions {
  double megabits_per_second = 50;
  double queue_ms = 50;
  double rtt_ms = 20;
  double loss_percent = 0;  // each way
  int seed = 1;
  double limit_seconds = 60;
  bool loopback = false;
};

struct LinkEnds {
  std::vector<std::string> near;
  std::vector<std::string> far;
};

// Of one direction, or of one flow in it. Bytes of the wire.
struct WayFigures {
  double offered_bytes = 0;
  double delivered_bytes = 0;
  double queue_p95_ms = 0;
  std::vector<double> tenths;  // delivered bytes in each tenth of a second
};

struct FlowFigures {
  WayFigures way;
  std::uint16_t source_port = 0;
  std::uint16_t destination_port = 0;
};

struct LinkFigures {
  double seconds = 0;
  bool timed_out = false;
  int near_exit = 0;
  int far_exit = 0;             // 0 for one that had to be stopped
  double near_cpu_seconds = 0;  // with what the kernel took to receive for it
  double far_cpu_seconds = 0;
  WayFigures there, back;  // there is from near to far
  std::vector<FlowFigures> flows_there, flows_back;
  double late_p99_us = 0;
  std::string said;  // the last line on stderr
};

inline constexpr const char* kFarHost = "10.77.0.2";

// `program` is portolan_link; what the ends and it write to stderr is in `error_file` afterwards.
Result<LinkFigures> run_link_program(const std::string& program, const LinkConditions& conditions, const LinkEnds& ends,
                                     const std::string& error_file);

}  // namespace portolan::bench
