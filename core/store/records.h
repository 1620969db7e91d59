// What workers hand to the store beside counters: sessions that ended, events worth remembering, transfers, and bans.
#pragma once

#include "limits/ban.h"
#include "net/address.h"
#include "plugin/service.h"

#include <cstdint>
#include <string>

namespace portolan {

struct SessionRecord {
  std::uint64_t id = 0;
  std::string service;
  std::string peer;  // with the port, or "unix"
  Transport transport = Transport::tcp;
  std::int64_t started_ms = 0;  // Unix time
  std::int64_t ended_ms = 0;
  std::uint64_t bytes_in = 0;
  std::uint64_t bytes_out = 0;
  std::uint64_t messages = 0;
  std::string ended_by;  // "closed", "reset", "idle_timeout", ...
};

// A thing that an operator would want to find again: a refusal, a reload, a service that did not start.
struct EventRecord {
  std::int64_t time_ms = 0;
  std::string kind;     // "refused", "reload", "reload_failed", "started", "stopped", "tls", ...
  std::string service;  // may be empty
  std::string client;   // address without port; may be empty
  std::string detail;   // "max_sessions", or a sentence
  std::uint64_t count = 1;
};

// A file that came or went: KeptTransfer, with texts of its own.
struct TransferRecord {
  std::int64_t time_ms = 0;
  std::string service;
  std::string peer;
  std::string direction;
  std::string name;
  std::uint64_t bytes = 0;
  std::uint64_t new_bytes = 0;
  std::int64_t duration_ms = 0;
  std::string sha256;
  std::string outcome;
  std::string detail;
};

// An address that was banned, or no longer is.
struct BanRecord {
  Ban ban;
  bool lifted = false;
};

}  // namespace portolan
