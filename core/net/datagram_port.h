// One worker's end of a datagram listener: reads in batches and hands each datagram to its peer's session.
//
// Does not own the socket. A reload points it at the next generation's instance; peers that a plugin keeps stay with the
// instance that they began with. One worker's thread.
#pragma once

#include "event/io_event.h"
#include "net/datagram_batch.h"

#include <vector>

namespace portolan {

class DatagramSession;
class Instance;

class DatagramPort {
 public:
  // `wildcard`: bound to all addresses of the machine, so that answers have to name the one that was asked.
  DatagramPort(Loop& loop, int descriptor, bool wildcard);
  ~DatagramPort();
  // Null: no more datagrams are read.
  void serve(Instance* instance) noexcept;
  // The instance goes: its sessions have ended.
  void forget(const Instance& instance) noexcept { std::erase(earlier_, &instance); }
  int descriptor() const noexcept { return descriptor_; }

 private:
  static void on_event(int descriptor, short events, void* self) noexcept;
  void read_batches() noexcept;
  bool take(const DatagramBatch::Received& datagram) noexcept;

  int descriptor_;
  bool wildcard_;
  Instance* instance_ = nullptr;
  std::vector<Instance*> earlier_;  // that served here and still have peers
  IoEvent event_;
};

}  // namespace portolan
