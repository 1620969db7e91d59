// Datagrams of one worker on their way in and out, in batches: recvmmsg into slots that all its sockets share, and a queue
// that sendmmsg empties, one call for those in a row that leave by the same socket.
//
// What was received stays where it is until the end of this turn of the loop, so that it can be sent on from there; or until
// its receiver says that it is done with all of it. One worker's thread.
#pragma once

#include "event/loop.h"
#include "net/address.h"

#include <sys/socket.h>

#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <vector>

namespace portolan {

// Told how a datagram fared that it queued. It calls withdraw before it goes.
class DatagramSender {
 public:
  virtual void sent(std::size_t bytes) noexcept = 0;  // counts, and does nothing else
  // Lost, as on any link: waiting would hold up the others. From the loop, never from inside send or flush.
  virtual void not_sent(int error_number) noexcept = 0;

 protected:
  ~DatagramSender() = default;
};

class DatagramBatch {
 public:
  struct Received {
    std::span<const std::byte> data;
    Address from;  // empty on a connected socket
    Address to;    // the local address that it came to, when that was asked for
  };

  explicit DatagramBatch(Loop& loop);
  ~DatagramBatch();

  // Receives what waits, up to `most`, into free slots; with none free, nothing before the next turn (EAGAIN). The error number, 0 when none: EAGAIN
  // (nothing waits), or what an earlier datagram met (ECONNREFUSED). `more`: there may be more.
  struct Reception {
    std::span<const Received> datagrams;
    int error_number = 0;
    bool more = false;
  };
  enum class Addresses : std::uint8_t { none, from, from_and_to };
  Reception receive(int descriptor, Addresses wanted, std::size_t most = kAtOnce) noexcept;

  // Queues one datagram, to be sent by this socket to `to` (empty: where it is connected) from the local address `from`
  // (empty: the system's choice). What lies in a slot is sent from there, anything else is copied.
  void send(int descriptor, std::span<const std::byte> data, const Address& to, const Address& from,
            DatagramSender& sender) noexcept;
  void flush() noexcept;
  // And nobody looks at what was received any more: its slots are free.
  void flush_and_free() noexcept;
  // The sender goes: what it has queued is sent now, and it is told nothing more.
  void withdraw(const DatagramSender& sender) noexcept;

  static constexpr std::size_t kAtOnce = 32;

 private:
  static constexpr std::size_t kSlots = 64;
  static constexpr std::size_t kDatagram = 64 * 1024;
  static constexpr std::size_t kQueue = 128;
  struct Slots;
  struct Outgoing;
  void send_run(std::size_t first, std::size_t count) noexcept;
  void passed(Outgoing& one, int error_number) noexcept;
  void tell_failures() noexcept;

  LoopTask flush_soon_;
  std::unique_ptr<Slots>
      slots_;  // from the first datagram on; touched, so resident, only as far as datagrams fill them
  std::size_t used_ = 0;
  std::vector<Outgoing> queue_;
  std::vector<std::byte> copies_;
  struct Failure {
    DatagramSender* sender;
    int error_number;
  };
  std::vector<Failure> failures_;
};

}  // namespace portolan
