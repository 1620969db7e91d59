// A UDP socket that a service has connected to one target, or that is in a group (DatagramLink in plugin/service.h).
//
// Belongs to its instance, and goes when the plugin releases it or with the instance. One worker's thread.
#pragma once

#include "event/io_event.h"
#include "net/datagram_batch.h"
#include "plugin/service.h"

#include <expected>
#include <string>

namespace portolan {

class Instance;

class UdpLink final : public DatagramLink, public DatagramSender {
 public:
  // The error is a sentence without the target.
  static std::expected<UdpLink*, std::string> open(Instance& instance, const Address& to, const Address& source,
                                                   DatagramLinkHandler& handler);
  static std::expected<UdpLink*, std::string> join(Instance& instance, const DatagramGroup& group,
                                                   DatagramLinkHandler& handler);
  ~UdpLink();

  void send(std::span<const std::byte> data) noexcept override;
  void release() noexcept override { delete this; }

  void sent(std::size_t) noexcept override {}
  void not_sent(int error_number) noexcept override;

 private:
  UdpLink(Instance& instance, int descriptor, const Address& to, DatagramLinkHandler& handler);
  static void on_event(int descriptor, short events, void* self) noexcept;

  Instance& instance_;
  DatagramLinkHandler& handler_;
  const int descriptor_;
  const Address to_;      // of a group; empty: the socket is connected
  bool* gone_ = nullptr;  // set while datagrams are delivered, any of which may release the link
  IoEvent event_;
};

}  // namespace portolan
