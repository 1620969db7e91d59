#include "udp_link.h"

#include "base/net_error.h"
#include "base/unique_fd.h"
#include "plugin/instance.h"

#include <fmt/format.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace portolan {

namespace {

// Of one event: there are many links, and each mostly has an answer or two.
constexpr std::size_t kAtOnce = 8;

}  // namespace

std::expected<UdpLink*, std::string> UdpLink::open(Instance& instance, const Address& to, const Address& source,
                                                   DatagramLinkHandler& handler) {
  UniqueFd descriptor(::socket(to.is_v6() ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const auto failed = [] { return std::unexpected(std::string(std::strerror(errno))); };
  if (!descriptor) return failed();
  sockaddr_storage storage;
  if (!source.empty()) {
    const socklen_t length = source.to_sockaddr(storage);
    if (::bind(descriptor.get(), reinterpret_cast<const sockaddr*>(&storage), length) != 0) return failed();
  }
  const socklen_t length = to.to_sockaddr(storage);
  if (::connect(descriptor.get(), reinterpret_cast<const sockaddr*>(&storage), length) != 0) return failed();
  auto* link = new UdpLink(instance, descriptor.get(), {}, handler);
  descriptor.release();
  return link;
}

std::expected<UdpLink*, std::string> UdpLink::join(Instance& instance, const DatagramGroup& group,
                                                   DatagramLinkHandler& handler) {
  const auto endpoint = Endpoint::parse(group.address);
  if (!endpoint) return std::unexpected(endpoint.error());
  const Address to = endpoint->address;
  if (endpoint->transport != Transport::udp || !to.is_v4() || to.port() == 0)
    return std::unexpected("expected a group of IPv4 with its port, as in udp://239.1.2.3:5000");
  ip_mreqn request{};
  std::memcpy(&request.imr_multiaddr, to.bytes().data(), sizeof request.imr_multiaddr);
  if (const auto address = Address::parse(group.interface); address && address->is_v4()) {
    std::memcpy(&request.imr_address, address->bytes().data(), sizeof request.imr_address);
  } else if (!group.interface.empty()) {
    request.imr_ifindex = static_cast<int>(if_nametoindex(std::string(group.interface).c_str()));
    if (request.imr_ifindex == 0) return std::unexpected(fmt::format("there is no interface \"{}\"", group.interface));
  }
  UniqueFd descriptor(::socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const auto failed = [&](std::string_view what) {
    return std::unexpected(fmt::format("{} {}: {}", what, group.address, std::strerror(errno)));
  };
  if (!descriptor) return failed("cannot make a socket for");
  const auto set = [&](int level, int name, const auto& value) {
    return setsockopt(descriptor.get(), level, name, &value, sizeof value) == 0;
  };
  // Others on this machine, and our next generation, are in the group beside us.
  sockaddr_storage storage;
  const socklen_t length = to.to_sockaddr(storage);
  if (!set(SOL_SOCKET, SO_REUSEADDR, 1) || !set(SOL_SOCKET, SO_BROADCAST, 1) ||
      ::bind(descriptor.get(), reinterpret_cast<const sockaddr*>(&storage), length) != 0)
    return failed("cannot listen on");
  if (to.scope() == AddressScope::multicast) {
    const int hops = static_cast<int>(group.hops);
    if (!set(IPPROTO_IP, IP_ADD_MEMBERSHIP, request) || !set(IPPROTO_IP, IP_MULTICAST_IF, request) ||
        !set(IPPROTO_IP, IP_MULTICAST_TTL, hops) || !set(IPPROTO_IP, IP_MULTICAST_LOOP, 1) ||
        // Else datagrams of groups that others have joined come as well.
        !set(IPPROTO_IP, IP_MULTICAST_ALL, 0))
      return failed("cannot join");
  }
  auto* link = new UdpLink(instance, descriptor.get(), to, handler);
  descriptor.release();
  return link;
}

UdpLink::UdpLink(Instance& instance, int descriptor, const Address& to, DatagramLinkHandler& handler)
    : instance_(instance), handler_(handler), descriptor_(descriptor), to_(to) {
  instance_.links.insert(this);
  event_.bind(instance.io.loop(), descriptor, &UdpLink::on_event, this);
  event_.want(IoEvent::kRead);
}

UdpLink::~UdpLink() {
  if (gone_) *gone_ = true;
  instance_.io.datagrams().withdraw(*this);
  instance_.links.erase(this);
  event_.stop();
  ::close(descriptor_);
}

void UdpLink::send(std::span<const std::byte> data) noexcept {
  instance_.io.datagrams().send(descriptor_, data, to_, {}, *this);
}

void UdpLink::not_sent(int error_number) noexcept {
  // Of this datagram: too long, or no room. Anything else is an error of an earlier one, which sending has only fetched.
  if (error_number == EAGAIN || error_number == ENOBUFS || error_number == EMSGSIZE) return;
  handler_.on_refused(net_error_of(error_number));
}

void UdpLink::on_event(int descriptor, short, void* self) noexcept {
  auto& link = *static_cast<UdpLink*>(self);
  Instance& instance = link.instance_;
  instance.io.tick();
  const auto reception = instance.io.datagrams().receive(descriptor, DatagramBatch::Addresses::none, kAtOnce);
  bool gone = false;
  link.gone_ = &gone;
  for (const auto& datagram : reception.datagrams) {
    link.handler_.on_datagram(datagram.data);
    if (gone) break;
  }
  if (!gone && reception.error_number && reception.error_number != EAGAIN && reception.error_number != EINTR)
    link.handler_.on_refused(net_error_of(reception.error_number));
  if (!gone) link.gone_ = nullptr;
  instance.io.settle();
}

}  // namespace portolan
