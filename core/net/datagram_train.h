// Trains of datagrams on a UDP socket: sends them with UDP_SEGMENT (GSO) and splits what UDP_GRO has joined, several at each
// system call. Where the kernel or the device does not take segments, it sends single datagrams from then on.
//
// Source: udp(7); Linux, net/ipv4/udp.c (udp_send_skb says what fails and how) and Documentation/networking/
// segmentation-offloads.rst. One thread. Does not own the socket. No allocation once it runs.
#pragma once

#include "net/address.h"
#include "rudp/endpoint.h"

#include <sys/socket.h>
#include <netinet/in.h>

#include <array>
#include <cstddef>
#include <memory>
#include <span>

namespace portolan {

// Told what the network says about datagrams: nothing of it is certain, and nobody has proved to have sent it.
class TrainTrouble {
 public:
  // Too long for the device that it would leave by (EMSGSIZE); they are gone.
  virtual void on_too_long(const Address& to, std::size_t segment) noexcept = 0;
  // There is no way to the peer, or nobody there (ECONNREFUSED).
  virtual void on_unreachable(const Address& to, int error_number) noexcept = 0;

 protected:
  ~TrainTrouble() = default;
};

class TrainSender {
 public:
  TrainSender(int descriptor, TrainTrouble& trouble) : descriptor_(descriptor), trouble_(trouble) {}

  // Where the next train may be built: kTrain bytes, or empty when there is none, so that flush comes first.
  std::span<std::byte> room() noexcept;
  // Takes a train over that was built there; or copies it, where it lies elsewhere.
  void add(const rudp::Train& train) noexcept;

  enum class Result : std::uint8_t {
    sent,
    full,  // the socket's buffer: EV_WRITE comes when there is room
    busy,  // the device's queue or the system's memory: later
  };
  // Sends what was added. What could not be sent stays, and goes first at the next flush.
  Result flush() noexcept;
  bool empty() const noexcept { return first_ == count_; }
  // Whether trains go as trains (until the system has refused one that went as single datagrams).
  bool segments() const noexcept { return segments_; }

  static constexpr std::size_t kTrain = 64 * 1024;

 private:
  static constexpr std::size_t kArena = 4 * kTrain;
  static constexpr std::size_t kTrains = 32;
  static constexpr std::size_t kMessages = 64;
  static constexpr std::size_t kControl = CMSG_SPACE(sizeof(std::uint16_t)) + CMSG_SPACE(sizeof(in6_pktinfo));

  struct Waiting {
    Address to;
    Address from;
    std::span<const std::byte> data;  // not sent yet
    std::size_t segment;
    bool single;  // it was refused as a train: another error says that it is not the train's fault
    bool retried;
  };
  struct Outgoing;
  std::size_t prepare(Outgoing& out) noexcept;
  std::size_t piece(const Waiting& train) const noexcept;
  void took(std::size_t bytes) noexcept;
  Result failed(int error_number) noexcept;

  int descriptor_;
  TrainTrouble& trouble_;
  std::unique_ptr<std::byte[]> arena_;  // from the first train on
  std::size_t used_ = 0;
  std::array<Waiting, kTrains> trains_;
  std::size_t first_ = 0;
  std::size_t count_ = 0;
  bool segments_ = true;
};

// Reads in batches. What it returns lies in buffers that all readers of a thread share: it is valid until any of them reads.
class TrainReader {
 public:
  struct Received {
    Address from;
    Address to;  // the local address, without a port; where IP_PKTINFO was asked for
    std::span<std::byte> data;
    std::size_t segment;  // bytes of each datagram but the last
  };
  // `with_local`: the socket tells the local addresses.
  TrainReader(int descriptor, bool with_local);
  ~TrainReader();

  struct Reception {
    std::span<const Received> trains;
    int error_number = 0;  // EAGAIN: nothing waits
    bool more = false;     // there may be more
  };
  Reception receive() noexcept;
  // Reports what the socket's error queue holds (IP_RECVERR).
  void read_errors(TrainTrouble& trouble) noexcept;

 private:
  struct Slots;
  int descriptor_;
  bool with_local_;
  std::shared_ptr<Slots> slots_;
};

}  // namespace portolan
