// One worker's end of a rudp:// listener: each stream that a peer opens on one of its connections is a session of the
// instance that serves now, after the same limits as an accepted connection.
//
// A reload points it at the next generation's instance: sessions stay with the one that they began with, connections with
// the port, with the key and the other options that they began with. One worker's thread.
#pragma once

#include "net/rudp_host.h"

namespace portolan {

class Instance;

class RudpPort final : public RudpHost {
 public:
  // Takes over a bound descriptor. The error is a sentence without the address.
  static std::expected<std::unique_ptr<RudpPort>, std::string> make(Loop& loop, int descriptor, Instance& instance);
  // Null: streams that come are refused.
  void serve(Instance* instance) noexcept;

 private:
  explicit RudpPort(Loop& loop) : RudpHost(loop) {}
  rudp::ConnectionHandler* on_connection(rudp::Connection& connection) noexcept override;
  void accept(RudpLink& link, rudp::StreamId id) noexcept override;

  Instance* instance_ = nullptr;
};

}  // namespace portolan
