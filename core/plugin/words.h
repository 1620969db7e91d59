// The contract of a plugin: words that plugins and core share, for what ends a session, what it came by, and the like.
//
// Plain values. Logs, counters, the store and scripts use them as they are here.
#pragma once

#include <cstddef>
#include <cstdint>

namespace portolan {

// Why a session or a message was refused. Counted per service as refused_<reason>.
enum class Refusal : std::uint8_t {
  max_sessions,             // the service is full
  max_sessions_per_client,  // this address has its share
  accept_rate,              // new sessions come too fast
  message_rate,             // a datagram over the rate (a stream is slowed down instead)
  byte_rate,                // likewise, in bytes
  first_message_timeout,    // no whole message in time, or no TLS handshake
  idle_timeout,
  message_too_long,  // over max_line or max_frame
  bad_message,       // not of the protocol
  hook,              // a Lua hook said no
  tls,               // the handshake failed
  output_limit,      // more waits for this peer than output_limit allows
  descriptors,       // the process has no file descriptor left
  draining,
  banned,  // the address is on the list of bans
};
inline constexpr std::size_t kRefusalCount = 15;

// What ended a session, or an attempt at one. The one taxonomy of network failures: logs, counters, the store and
// scripts use these words.
enum class NetError : std::uint8_t {
  none,
  refused,
  unreachable,
  timed_out,
  reset,
  closed,
  name_not_found,
  tls,
  protocol,
  system,  // none of the above: a local failure, with its errno
};

enum class Transport : std::uint8_t { tcp, udp, tls, unix_stream, rudp };

enum class LogLevel : std::uint8_t { error, warning, info, debug };

// An address as a plain value; family 0: none, as of a unix peer.
struct NetAddress {
  std::uint8_t family = 0;      // 4 or 6
  std::uint16_t port = 0;       // in the machine's order
  std::uint8_t bytes[16] = {};  // in the network's order; 4 or 16 of them
};

}  // namespace portolan
