// Between a room and a group of UDP: what is said in one is said in the other, one object of JSON in each datagram.
//
// Owned by the service's instance on the first worker, on its thread; only that of the serving generation passes anything
// on. A datagram has a member `via`, by which a service knows its own, so nothing goes round in circles; what came from the
// group never goes back into it. Both ways are bounded: in size, and in messages for a second.
#pragma once

#include "limits/rate_limit.h"
#include "plugin/service.h"
#include "plugins/chat/message.h"
#include "plugins/chat/room.h"

#include <memory>
#include <string>
#include <string_view>

namespace portolan::chat {

class ChatService;

// Who has written it is in the group, and not one of us. No user's name ends so.
inline constexpr std::string_view kLanSuffix = "@lan";
// The sender of what comes from the group: nobody's id.
inline constexpr std::uint64_t kGroup = ~std::uint64_t{0};
// Larger datagrams are not ours.
inline constexpr std::size_t kMaxDatagram = 8192;

struct BridgeSettings {
  std::string room;  // empty: the first
  std::string address;
  std::string interface;
  unsigned hops = 1;
  RateLimit rate;  // each way
};

class Bridge final : private DatagramLinkHandler {
 public:
  // Null, with a sentence in `problems`, when the group cannot be joined. Throws std::bad_alloc.
  static std::unique_ptr<Bridge> make(ChatService& service, const BridgeSettings& settings, std::string_view first_room,
                                      Problems& problems);
  ~Bridge();
  Bridge(const Bridge&) = delete;
  Bridge& operator=(const Bridge&) = delete;

  const Room* room() const noexcept { return room_.get(); }
  // Something was said in the room.
  void forward(const Message& message) noexcept;

 private:
  Bridge(ChatService& service, const BridgeSettings& settings, std::shared_ptr<Room> room);
  void on_datagram(std::span<const std::byte> data) noexcept override;
  void on_refused(NetError) noexcept override {}
  void receive(std::string_view line);
  bool over(RateState& state) noexcept;

  ChatService& service_;
  const std::shared_ptr<Room> room_;
  const std::string via_;  // what stands behind an object that we send
  const RateLimit rate_;
  RateState rate_in_{0};
  RateState rate_out_{0};
  DatagramLink* link_ = nullptr;
};

}  // namespace portolan::chat
