// One worker's end of a stream listener: accepts connections and hands them to the instance that serves now.
//
// Does not own the socket. A reload points it at the next generation's instance; nothing is closed between.
// When the process has no descriptor left, accepting pauses and is tried again shortly: the connections wait in the
// kernel's queue. One worker's thread.
#pragma once

#include "event/io_event.h"
#include "net/address.h"

#include <atomic>

namespace portolan {

class Instance;

class Acceptor {
 public:
  Acceptor(Loop& loop, int descriptor, Transport transport, std::atomic<std::uint64_t>& pauses);
  // Null: stop accepting; connections wait in the queue.
  void serve(Instance* instance, Transport transport) noexcept;
  // Accepts what waits in the kernel's queue and serves it, before the listener goes: closing it would reset them.
  void empty_queue() noexcept;

 private:
  static void on_event(int descriptor, short events, void* self) noexcept;
  void accept_waiting(int most) noexcept;
  void pause(int error) noexcept;

  int descriptor_;
  Transport transport_;
  Instance* instance_ = nullptr;
  IoEvent event_;
  LoopTimer retry_;
  std::atomic<std::uint64_t>& pauses_;
  bool paused_ = false;  // until a connection could be accepted again
};

}  // namespace portolan
