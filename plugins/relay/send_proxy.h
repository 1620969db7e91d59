// The PROXY header in front of what a backend receives: whose session it is (net/proxy_protocol.h).
//
// Pure functions; any thread. The bytes are what Context::dial takes as its preamble; none with SendProxy::none.
#pragma once

#include "net/proxy_protocol.h"
#include "plugin/service.h"

#include <cstdint>
#include <span>

namespace portolan::relay {

enum class SendProxy : std::uint8_t { none, v1, v2 };

struct SendProxySettings {
  SendProxy version = SendProxy::none;
  bool crc = false;  // version 2 with a CRC32C
  friend bool operator==(const SendProxySettings&, const SendProxySettings&) = default;
};

// Of a session: the client's address, the one that it came to, and in version 2 the host that a client of TLS asked for
// (AUTHORITY), when it is the name of one. Without them, as of a unix peer, that of a check.
ProxyHeaderBytes session_header(const SendProxySettings& settings, const Stream& client) noexcept;
// Of a health check, which is the relay's own connection: LOCAL, or in version 1 UNKNOWN, which says as much there.
ProxyHeaderBytes check_header(const SendProxySettings& settings) noexcept;

}  // namespace portolan::relay
