// The floor servers: the least that the kernel allows for the same work. They have no limits, no sessions, no
// statistics and no timeouts, and that is the point: what Portolan costs above them is what all those cost.
// Each runs in a process of its own, on one thread, until SIGTERM.
#pragma once

#include <cstdint>

namespace portolan::bench {

enum class FloorProtocol : std::uint8_t { kEcho, kBinary };

// Binds 127.0.0.1 on a free port and prints it as `listening NAME ADDRESS`; false when the socket call
// failed.
int open_loopback_socket(int type);
bool announce(int socket, const char* service, const char* scheme);

int serve_tcp_floor(FloorProtocol protocol);
int serve_udp_floor();
int serve_relay_floor(const char* backend_port);  // on 127.0.0.1

// Not a floor but the end of a bulk stream: compares every byte, and answers FIN with the number of them.
int serve_bulk_sink();

}  // namespace portolan::bench
