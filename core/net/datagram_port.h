// One worker's end of a datagram listener: reads and answers in batches (recvmmsg, sendmmsg).
//
// Does not own the socket. A reload points it at the next generation's instance. One worker's thread.
#pragma once

#include "event/io_event.h"
#include "net/address.h"
#include "plugin/service.h"

#include <sys/socket.h>

#include <array>
#include <cstddef>
#include <memory>
#include <vector>

namespace portolan {

class Instance;
struct DatagramSession;

class DatagramPort {
 public:
  // `pktinfo`: answers name the local address that the question came to (a wildcard listener).
  DatagramPort(Loop& loop, int descriptor, bool pktinfo);
  ~DatagramPort();
  void serve(Instance* instance) noexcept;

 private:
  static constexpr std::size_t kBatch = 32;
  static constexpr std::size_t kDatagram = 64 * 1024;
  static constexpr std::size_t kControl = 64;
  // Answers to one batch before they are sent.
  static constexpr std::size_t kReplies = 64;
  struct Batch;
  class Peer;

  static void on_event(int descriptor, short events, void* self) noexcept;
  void read_batches() noexcept;
  void take(std::size_t index) noexcept;
  void reply(std::size_t index, DatagramSession& session, std::span<const std::byte> data) noexcept;
  void send_replies() noexcept;

  int descriptor_;
  bool pktinfo_;
  Instance* instance_ = nullptr;
  IoEvent event_;
  std::unique_ptr<Batch> batch_;  // from the first datagram on
};

}  // namespace portolan
