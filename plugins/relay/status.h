// What an operator sees of a service's backends: plain values, made by RelayState::status.
#pragma once

#include "plugin/descriptor.h"
#include "plugins/relay/breaker.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace portolan::relay {

struct BackendStatus {
  std::string name;
  std::string address;
  std::string_view state;        // up, down, unknown, ejected, drained, breaker_open, breaker_half_open, removed
  std::string reason;            // of the last check
  std::int64_t since_ms = 0;     // how long it is so, as far as checks and the breaker tell; 0: from the start
  std::uint32_t weight = 0;      // as it is now, an operator's order included
  std::uint32_t weight_now = 0;  // in hundredths, slow start included
  bool backup = false;
  bool drained = false;  // by an order
  std::uint32_t sessions = 0;
  std::uint32_t max_sessions = 0;
  std::uint64_t chosen = 0;
  std::uint64_t connected = 0;
  std::uint64_t failed = 0;
  std::uint64_t closed_early = 0;
  std::uint64_t retried = 0;
  std::uint64_t checks = 0;
  std::uint64_t checks_failed = 0;
  std::int64_t connect_us = 0;      // the mean
  std::int64_t ejected_for_ms = 0;  // that are left; 0: it is not
  std::uint64_t ejections = 0;
  BreakerState breaker = BreakerState::closed;
  std::int64_t breaker_since_ms = 0;
  std::int64_t breaker_open_for_ms = 0;  // that are left
  std::uint64_t breaker_opened = 0;
  std::uint64_t breaker_transitions = 0;
};

struct Status {
  std::vector<BackendStatus> backends;
  std::uint32_t waiting = 0;  // sessions in the queue, on all workers
};

}  // namespace portolan::relay
