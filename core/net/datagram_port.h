// One worker's end of a datagram listener: reads in batches.
//
// Does not own the socket. One worker's thread.
#pragma once

#include "event/io_event.h"
#include "net/datagram_origin.h"

namespace portolan {

class DatagramPort final : public DatagramOrigin {
 public:
  // `wildcard`: bound to all addresses of the machine, so that answers have to name the one that was asked.
  DatagramPort(Loop& loop, int descriptor, bool wildcard);
  // Null: no more datagrams are read.
  void serve(Instance* instance) noexcept;
  void send(DatagramSession& session, std::span<const std::byte> data) noexcept override;

 private:
  static void on_event(int descriptor, short events, void* self) noexcept;
  void read_batches() noexcept;

  int descriptor_;
  bool wildcard_;
  IoEvent event_;
};

}  // namespace portolan
