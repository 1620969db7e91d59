// The relay's options as plain values. Pure functions; any thread.
#pragma once

#include "plugin/service.h"
#include "plugins/relay/backend_set.h"
#include "plugins/relay/balancer.h"
#include "plugins/relay/fault.h"
#include "plugins/relay/retry.h"
#include "plugins/relay/send_proxy.h"
#include "plugins/relay/wait_queue.h"

#include <cstdint>
#include <string>
#include <vector>

namespace portolan::relay {

inline constexpr std::string_view kCheckHook = "on_check";

enum class CheckKind : std::uint8_t { none, connect, send, http, tls, udp, hook };

struct StatusRange {
  std::uint16_t first;
  std::uint16_t last;
};

struct CheckSettings {
  CheckKind kind = CheckKind::none;
  Duration timeout = std::chrono::seconds(2);
  std::string send;
  std::string expect;  // empty: any answer
  std::string path;
  std::string host;  // empty: that of the address
  std::vector<StatusRange> status;

  bool passes(unsigned code) const noexcept;
};

// A TlsTarget that keeps its texts.
struct BackendTls {
  std::string name;
  std::string ca;
  std::string certificate;
  std::string key;
  std::string pins;
  bool verify = true;

  TlsTarget target() const noexcept {
    return {.name = name, .ca = ca, .certificate = certificate, .key = key, .pins = pins, .verify = verify};
  }
};

struct RelaySettings {
  SetSettings set;
  std::vector<BackendTls> tls;                // for each backend of the set
  std::vector<RudpTarget> rudp;               // likewise; views into the options
  std::vector<SendProxySettings> send_proxy;  // likewise
  BalanceSettings balance;
  Duration connect_timeout{};
  RetrySettings retry;
  QueueSettings queue;
  CheckSettings check;
  std::vector<Fault> faults;
  bool datagrams = false;  // it relays UDP, and otherwise streams
};

// What the schema alone cannot check: Descriptor::validate.
void validate_settings(const Options& options, Problems& problems) noexcept;

// Of options that have passed. Throws std::bad_alloc.
RelaySettings read_settings(const Options& options);

}  // namespace portolan::relay
