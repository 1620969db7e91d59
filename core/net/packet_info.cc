#include "packet_info.h"

#include <netinet/in.h>

namespace portolan {

void ask_for_packet_info(int descriptor, bool v6) noexcept {
  const int on = 1;
  if (v6)
    setsockopt(descriptor, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof on);
  else
    setsockopt(descriptor, IPPROTO_IP, IP_PKTINFO, &on, sizeof on);
}

Address local_address(const cmsghdr& item) noexcept {
  if (item.cmsg_level == IPPROTO_IP && item.cmsg_type == IP_PKTINFO) {
    in_pktinfo info;
    std::memcpy(&info, CMSG_DATA(&item), sizeof info);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr = info.ipi_addr;
    return Address::from(reinterpret_cast<const sockaddr*>(&address));
  }
  if (item.cmsg_level == IPPROTO_IPV6 && item.cmsg_type == IPV6_PKTINFO) {
    in6_pktinfo info;
    std::memcpy(&info, CMSG_DATA(&item), sizeof info);
    sockaddr_in6 address{};
    address.sin6_family = AF_INET6;
    address.sin6_addr = info.ipi6_addr;
    // The interface matters for link-local addresses only, and there it must be named.
    if (IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr)) address.sin6_scope_id = info.ipi6_ifindex;
    return Address::from(reinterpret_cast<const sockaddr*>(&address));
  }
  return {};
}

Address local_address(msghdr& message) noexcept {
  for (cmsghdr* item = CMSG_FIRSTHDR(&message); item; item = CMSG_NXTHDR(&message, item))
    if (const Address address = local_address(*item); !address.empty()) return address;
  return {};
}

std::size_t put_source(std::span<std::byte> room, const Address& source) noexcept {
  sockaddr_storage storage;
  source.to_sockaddr(storage);
  if (source.is_v4()) {
    in_pktinfo info{};
    info.ipi_spec_dst = reinterpret_cast<const sockaddr_in&>(storage).sin_addr;
    return put_control(room, IPPROTO_IP, IP_PKTINFO, info);
  }
  in6_pktinfo info{};
  info.ipi6_addr = reinterpret_cast<const sockaddr_in6&>(storage).sin6_addr;
  info.ipi6_ifindex = reinterpret_cast<const sockaddr_in6&>(storage).sin6_scope_id;
  return put_control(room, IPPROTO_IPV6, IPV6_PKTINFO, info);
}

}  // namespace portolan
