// The local address of a datagram, in the control messages of recvmsg and sendmsg (IP_PKTINFO, IPV6_PKTINFO; ip(7),
// RFC 3542 section 6). On a socket that is bound to all addresses, the answer has to leave from the one that was asked.
//
// Pure functions.
#pragma once

#include "net/address.h"

#include <sys/socket.h>

#include <cstddef>
#include <cstring>
#include <span>

namespace portolan {

// Room for one of either.
inline constexpr std::size_t kPacketInfoRoom = CMSG_SPACE(sizeof(in6_pktinfo));

// Makes the kernel tell it, on a socket of this family.
void ask_for_packet_info(int descriptor, bool v6) noexcept;

// The address in a control message, without a port; empty: it is another message.
Address local_address(const cmsghdr& item) noexcept;
// The same of all that came with a message.
Address local_address(msghdr& message) noexcept;

// Writes one control message to the front of `room`; its length, which is where the next one goes.
template <typename Info>
std::size_t put_control(std::span<std::byte> room, int level, int type, const Info& info) noexcept {
  cmsghdr header{};
  header.cmsg_level = level;
  header.cmsg_type = type;
  header.cmsg_len = CMSG_LEN(sizeof info);
  std::memcpy(room.data(), &header, sizeof header);
  std::memcpy(room.data() + CMSG_LEN(0), &info, sizeof info);
  return CMSG_SPACE(sizeof info);
}

// The address that a datagram is to leave from.
std::size_t put_source(std::span<std::byte> room, const Address& source) noexcept;

}  // namespace portolan
