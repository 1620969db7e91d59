// Streams to rudp:// targets: one connection for each target and its options carries them all, so that the handshake is paid
// once. A connection that nobody uses any more is closed after a while.
//
// One for each worker (WorkerIo::rudp), with a socket for each family and source address. One worker's thread.
#pragma once

#include "net/rudp_host.h"

#include <expected>
#include <map>
#include <memory>
#include <string>

namespace portolan {

class RudpDialer {
 public:
  explicit RudpDialer(Loop& loop);
  ~RudpDialer();

  // Begins a stream: it is accepted, or fails, later. The error is a sentence without the target, about this machine.
  std::expected<std::unique_ptr<RudpStream>, std::string> dial(const Address& to, const Address& source,
                                                               const rudp::ConnectionOptions& options);
  // RudpHost::shut_down of all.
  void shut_down(std::function<void()> done);

 private:
  class Host;
  Loop& loop_;
  std::map<std::string, std::unique_ptr<Host>> hosts_;  // by source address and family
};

}  // namespace portolan
