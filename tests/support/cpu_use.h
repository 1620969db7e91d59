// What a process costs while nothing happens: the test of a daemon that should wait and not spin.
//
// As a share of the time that passed, so that a machine that stands still meanwhile changes nothing: an idle daemon uses
// next to none of a processor, one that spins uses all that it gets.
#pragma once

#include "support/child_process.h"
#include "support/waiting.h"

#include <chrono>

namespace portolan::testing {

// Processor seconds per second of the clock over this time: 1 is a whole processor.
inline double cpu_share(pid_t pid, Milliseconds over = Milliseconds(1000)) {
  const Clock::time_point start = Clock::now();
  const double before = facts_of(pid).cpu_seconds;
  let_pass(over);
  const double spent = facts_of(pid).cpu_seconds - before;
  return spent / std::chrono::duration<double>(Clock::now() - start).count();
}

// Above every idle daemon, under sanitizers too, and below one that spins beside other work on the machine.
inline constexpr double kIdleCpuShare = 0.15;

}  // namespace portolan::testing
