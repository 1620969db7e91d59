#include "link_namespace.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/ipv6.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <fstream>

namespace portolan::bench {
namespace {

constexpr const char* kDevice = "link0";
// The emulator empties the device at once; the device's own queue has to hold no more than one burst of a sender, and
// never to be the bottleneck.
constexpr int kDeviceQueue = 10'000;

// Where a kernel lacks one of them, its default stands for all peers alike.
constexpr std::pair<const char*, const char*> kSettings[] = {
    {"net/ipv4/tcp_rmem", "4096 131072 33554432"},
    {"net/ipv4/tcp_wmem", "4096 16384 33554432"},
    {"net/ipv4/tcp_no_metrics_save", "1"},
    {"net/ipv6/conf/default/accept_dad", "0"},
    {"net/ipv6/conf/default/router_solicitations", "0"},
};

// As linux/virtio_net.h has it, which C++ cannot read.
struct VirtioHeader {
  std::uint8_t flags;
  std::uint8_t segmentation;
  std::uint16_t header_bytes;
  std::uint16_t segment_bytes;
  std::uint16_t checksum_start;
  std::uint16_t checksum_offset;
};
static_assert(sizeof(VirtioHeader) == NetworkNamespace::kHeaderBytes);
constexpr std::uint8_t kNeedsChecksum = 1;

void name_device(ifreq& request, const char* name) { std::strncpy(request.ifr_name, name, IFNAMSIZ - 1); }

bool bring_up(int socket, const char* name) {
  ifreq request{};
  name_device(request, name);
  if (::ioctl(socket, SIOCGIFFLAGS, &request) < 0) return false;
  request.ifr_flags |= IFF_UP | IFF_RUNNING;
  return ::ioctl(socket, SIOCSIFFLAGS, &request) == 0;
}

bool set_address4(int socket, const std::string& address) {
  ifreq request{};
  name_device(request, kDevice);
  sockaddr_in value{};
  value.sin_family = AF_INET;
  if (::inet_pton(AF_INET, address.c_str(), &value.sin_addr) != 1) return false;
  std::memcpy(&request.ifr_addr, &value, sizeof value);
  if (::ioctl(socket, SIOCSIFADDR, &request) < 0) return false;
  ::inet_pton(AF_INET, "255.255.255.0", &value.sin_addr);
  std::memcpy(&request.ifr_netmask, &value, sizeof value);
  return ::ioctl(socket, SIOCSIFNETMASK, &request) == 0;
}

bool set_address6(const std::string& address) {
  const Descriptor socket{::socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  in6_ifreq request{};
  request.ifr6_prefixlen = 64;
  request.ifr6_ifindex = static_cast<int>(::if_nametoindex(kDevice));
  return ::inet_pton(AF_INET6, address.c_str(), &request.ifr6_addr) == 1 &&
         ::ioctl(socket.get(), SIOCSIFADDR, &request) == 0;
}

}  // namespace

NamespaceVisit::NamespaceVisit() : home_(::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC)) {}

NamespaceVisit::~NamespaceVisit() { ::setns(home_.get(), CLONE_NEWNET); }

Result<NetworkNamespace> NetworkNamespace::create() {
  const NamespaceVisit visit;
  if (::unshare(CLONE_NEWNET) < 0) return Failure(error_text("cannot make a network namespace (it takes root)"));
  Descriptor file{::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC)};
  const Descriptor socket{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  if (!file || !socket || !bring_up(socket.get(), "lo")) return Failure(error_text("no loopback in a new namespace"));
  for (const auto& [name, value] : kSettings) std::ofstream(std::string("/proc/sys/") + name) << value;
  return NetworkNamespace(std::move(file));
}

Result<void> NetworkNamespace::enter() const {
  if (::setns(file_.get(), CLONE_NEWNET) < 0) return Failure(error_text("cannot enter a network namespace"));
  return {};
}

Result<Descriptor> NetworkNamespace::open_device(const NamespaceShape& shape) const {
  const NamespaceVisit visit;
  if (auto entered = enter(); !entered) return Failure(entered.error());
  Descriptor device{::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC)};
  if (!device) return Failure(error_text("cannot open /dev/net/tun"));
  ifreq request{};
  name_device(request, kDevice);
  request.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR;
  if (::ioctl(device.get(), TUNSETIFF, &request) < 0) return Failure(error_text("cannot make a TUN device"));
  if (::ioctl(device.get(), TUNSETOFFLOAD, TUN_F_CSUM) < 0) return Failure(error_text("no checksum offload"));
  const Descriptor socket{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  request.ifr_mtu = shape.mtu;
  bool well = ::ioctl(socket.get(), SIOCSIFMTU, &request) == 0;
  request.ifr_qlen = kDeviceQueue;
  well = well && ::ioctl(socket.get(), SIOCSIFTXQLEN, &request) == 0;
  well = well && set_address4(socket.get(), shape.address4) && bring_up(socket.get(), kDevice);
  if (!well) return Failure(error_text("cannot set up the TUN device"));
  if (!set_address6(shape.address6)) return Failure(error_text("cannot give the TUN device an IPv6 address"));
  return device;
}

void complete_checksum(std::vector<std::byte>& packet) {
  VirtioHeader header{};
  if (packet.size() < sizeof header) return;
  std::memcpy(&header, packet.data(), sizeof header);
  const std::size_t start = sizeof header + header.checksum_start;
  const std::size_t place = start + header.checksum_offset;
  if ((header.flags & kNeedsChecksum) == 0 || place + 2 > packet.size()) return;
  // The field holds the sum over the pseudo header, so the sum over all of it is what is wanted.
  std::uint32_t sum = 0;
  for (std::size_t i = start; i < packet.size(); ++i) {
    sum += std::to_integer<std::uint32_t>(packet[i]) << ((i - start) % 2 == 0 ? 8 : 0);
  }
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  sum = ~sum & 0xffff;
  if (sum == 0) sum = 0xffff;
  packet[place] = static_cast<std::byte>(sum >> 8);
  packet[place + 1] = static_cast<std::byte>(sum & 0xff);
  header = {};
  std::memcpy(packet.data(), &header, sizeof header);
}

}  // namespace portolan::bench
