// The two protocols of systemd that a service speaks, without libsystemd: telling its state, and taking over sockets
// that systemd has bound. Without systemd every call does nothing and answers "none".
//
// Main thread, as all of them read the environment.
#pragma once

#include "plugin/descriptor.h"

#include <string>
#include <string_view>
#include <vector>

namespace portolan {

// Sends "READY=1", "STOPPING=1", "STATUS=...", "WATCHDOG=1" (several, one a line) to $NOTIFY_SOCKET. False when there
// is none or it did not take it; nobody has to care.
bool sd_notify(std::string_view state) noexcept;
// "RELOADING=1" with the time that systemd wants beside it; READY=1 ends it.
bool sd_notify_reloading() noexcept;

// How often systemd wants to hear WATCHDOG=1, or zero. Send it twice as often.
Duration watchdog_interval() noexcept;

struct InheritedSocket {
  int descriptor = -1;  // the caller's from now on; close-on-exec
  std::string name;     // FileDescriptorName=, or "unknown"
};
// The sockets that were passed to this process; the second call answers none, and children see none.
std::vector<InheritedSocket> inherited_sockets();

}  // namespace portolan
