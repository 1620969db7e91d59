// An emulated link between two network namespaces, with programs at its ends. The near ones are measured: the link
// starts with them and ends when they have ended. The far ones are servers: the near ones start when each of them has
// bound a port, and they are stopped afterwards.
//
// The kernel of this machine does all of TCP and UDP for both ends, and hands each packet of the wire to the emulator
// once, through a TUN device that the sender's stack takes for a fast network card. That card never pushes back: what
// waits, waits in the link's queue, as behind a router, and not where TCP's limit on its own unsent bytes would see it.
//
// One thread, which should not wait for the CPU: it asks for real-time priority and goes on without.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "link_model.h"
#include "link_side.h"

namespace portolan::bench {

inline constexpr const char* kNearAddress = "10.77.0.1";
inline constexpr const char* kFarAddress = "10.77.0.2";
inline constexpr const char* kNearAddress6 = "fd00::1";
inline constexpr const char* kFarAddress6 = "fd00::2";

struct LinkSetup {
  LinkShape there;  // from near to far
  LinkShape back;
  std::uint64_t seed = 1;
  int mtu = 1500;
  std::vector<std::string> near;
  std::vector<std::string> far;
  // Instead of waiting for the far ones to bind their ports.
  std::optional<LinkTime> near_after;
  LinkTime time_limit = std::chrono::hours(24);
  // How long far ones that have been served may take to end on their own.
  LinkTime linger = std::chrono::milliseconds(300);
  // Both ends in one namespace, joined by nothing but its loopback: the far address is 127.0.0.1.
  bool loopback = false;
};

struct SideReport {
  SideResult result;
  // What the kernel took to receive the packets of this end. It does so when the emulator hands them over, so that
  // nobody's account has it; an interrupt's on a real machine. TCP's answers are sent in it as well.
  double receive_seconds = 0;
};

struct LinkReport {
  LinkCounts there, back;
  std::vector<FlowCounts> flows_there, flows_back;
  SideReport near, far;
  double seconds = 0;  // from the start of the near commands to the end of the last
  bool timed_out = false;
  bool interrupted = false;
  // How much later than due packets were handed over: that of the machine, not of the link.
  Histogram late{std::chrono::microseconds(5)};
  double emulator_cpu_seconds = 0;
};

Result<LinkReport> run_link(const LinkSetup& setup);

}  // namespace portolan::bench
