// A network namespace without a name: it lives as long as somebody holds it or runs in it, so that nothing has to be
// cleaned up, however the emulator ends. And the TUN device in it, through which the emulator is its only neighbour.
//
// Needs root and /dev/net/tun. Single-threaded programs only: making one moves the calling thread there and back.
#pragma once

#include <string>

#include "net.h"

namespace portolan::bench {

struct NamespaceShape {
  std::string address4;  // of the device, in a /24
  std::string address6;  // in a /64
  int mtu = 1500;
};

// Takes this process back to the namespace that it was in, however the function ends.
class NamespaceVisit {
 public:
  NamespaceVisit();
  NamespaceVisit(const NamespaceVisit&) = delete;
  NamespaceVisit& operator=(const NamespaceVisit&) = delete;
  ~NamespaceVisit();

 private:
  Descriptor home_;
};

class NetworkNamespace {
 public:
  // With the loopback up and what of TCP's limits is a namespace's own set so that no peer is bound by them.
  static Result<NetworkNamespace> create();

  // A device whose packets are read and written one at a time, each behind a virtio_net_hdr of kHeaderBytes, without
  // segmentation offload: what a sender hands over in one piece is cut before it is read here. Checksums are left to
  // the device, as any network card offers.
  static constexpr std::size_t kHeaderBytes = 10;
  Result<Descriptor> open_device(const NamespaceShape& shape) const;

  // Moves this process into it.
  Result<void> enter() const;

 private:
  explicit NetworkNamespace(Descriptor file) : file_(std::move(file)) {}

  Descriptor file_;
};

// Completes the checksum that the sender left to the device, so that a damaged packet cannot pass for a sound one.
void complete_checksum(std::vector<std::byte>& packet);

}  // namespace portolan::bench
