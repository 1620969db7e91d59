// Which worker gets a datagram of a rudp:// listener that all share: the one whose connection it is for, wherever it comes
// from. By addresses alone, as the kernel goes by itself, a client that a NAT or another network moved would come to a worker
// that does not know it.
//
// A program of classic BPF in the kernel (SO_ATTACH_REUSEPORT_CBPF, Linux 4.5): data packets go by the connection id that
// their header begins with (plugins/rudp/PROTOCOL.md, section 3; EndpointOptions::place), all else by addresses, so that a
// handshake stays with one worker. Main thread.
#pragma once

namespace portolan {

// `descriptor`: any of the `places` sockets that share an address, which were bound in the order of the workers. False: the
// kernel does not take it (errno), and goes by addresses.
[[nodiscard]] bool steer_rudp(int descriptor, unsigned places) noexcept;

}  // namespace portolan
