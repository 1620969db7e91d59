#include "net/interfaces.h"

#include "base/unique_fd.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netpacket/packet.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>

namespace portolan {
namespace {

struct FlagName {
  unsigned bit;
  const char* name;
};
constexpr FlagName kFlagNames[] = {
    {IFF_UP, "up"},
    {IFF_RUNNING, "running"},
    {IFF_LOOPBACK, "loopback"},
    {IFF_BROADCAST, "broadcast"},
    {IFF_MULTICAST, "multicast"},
    {IFF_POINTOPOINT, "point-to-point"},
    {IFF_NOARP, "no-arp"},
    {IFF_PROMISC, "promiscuous"},
};

}  // namespace

std::vector<std::string> Interface::flag_names() const {
  std::vector<std::string> names;
  for (const FlagName& flag : kFlagNames) {
    if (flags & flag.bit) names.emplace_back(flag.name);
  }
  return names;
}

namespace {

std::string mac_of(const sockaddr_ll& link) {
  if (link.sll_halen == 0 || link.sll_halen > sizeof link.sll_addr) return {};
  return fmt::format("{:02x}", fmt::join(link.sll_addr, link.sll_addr + link.sll_halen, ":"));
}

int prefix_of(const sockaddr* mask) {
  if (!mask) return -1;
  // Its family is not always set: the bytes of the mask are where those of the address are.
  int bits = 0;
  if (mask->sa_family == AF_INET6) {
    sockaddr_in6 v6{};
    std::memcpy(&v6, mask, sizeof v6);
    for (const std::uint8_t byte : v6.sin6_addr.s6_addr) bits += std::popcount(byte);
  } else {
    sockaddr_in v4{};
    std::memcpy(&v4, mask, sizeof v4);
    bits = std::popcount(v4.sin_addr.s_addr);
  }
  return bits;
}

int mtu_of(int socket, const std::string& name) {
  ifreq request{};
  name.copy(request.ifr_name, sizeof request.ifr_name - 1);
  return ::ioctl(socket, SIOCGIFMTU, &request) == 0 ? request.ifr_mtu : 0;
}

}  // namespace

std::expected<std::vector<Interface>, std::string> interfaces() {
  ifaddrs* entries = nullptr;
  if (::getifaddrs(&entries) != 0)
    return std::unexpected(fmt::format("cannot list interfaces: {}", std::strerror(errno)));
  const UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  std::vector<Interface> found;
  for (const ifaddrs* entry = entries; entry; entry = entry->ifa_next) {
    auto place = std::ranges::find(found, entry->ifa_name, &Interface::name);
    if (place == found.end()) {
      found.push_back({.name = entry->ifa_name,
                       .index = if_nametoindex(entry->ifa_name),
                       .flags = entry->ifa_flags,
                       .mtu = socket ? mtu_of(socket.get(), entry->ifa_name) : 0,
                       .mac = {},
                       .addresses = {}});
      place = found.end() - 1;
    }
    if (!entry->ifa_addr) continue;
    if (entry->ifa_addr->sa_family == AF_PACKET) {
      sockaddr_ll link{};
      std::memcpy(&link, entry->ifa_addr, sizeof link);
      place->mac = mac_of(link);
    } else if (const Address address = Address::from(entry->ifa_addr); !address.empty()) {
      place->addresses.push_back({address, prefix_of(entry->ifa_netmask)});
    }
  }
  ::freeifaddrs(entries);
  std::ranges::stable_sort(found, {}, &Interface::index);
  return found;
}

}  // namespace portolan
