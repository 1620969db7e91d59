// Addresses: a socket address as a value, and the form with a transport that configurations use.
//
// Pure values, no I/O, no names resolved: an address is numeric, or a path.
#pragma once

#include "plugin/service.h"

#include <sys/socket.h>
#include <netinet/in.h>

#include <array>
#include <compare>
#include <cstdint>
#include <expected>
#include <span>
#include <string>
#include <string_view>

namespace portolan {

// What kind of address it is, in the words of RFC 6890 (special-purpose registries).
enum class AddressScope : std::uint8_t {
  unspecified,
  loopback,
  link_local,
  private_use,  // RFC 1918, fc00::/7
  multicast,
  broadcast,
  global,
  shared,         // 100.64.0.0/10, between a provider and its customers: neither private nor global
  documentation,  // 192.0.2.0/24 and the like: in examples only
  reserved,       // assigned to a purpose that no host has, or to none yet
};
std::string_view to_string(AddressScope scope) noexcept;  // "link-local", "private", "global", ...

// An IPv4 or IPv6 address with a port, or nothing (a unix peer). IPv4-mapped IPv6 is kept as IPv4.
class Address {
 public:
  Address() = default;
  static Address from(const sockaddr* address) noexcept;
  static Address from(std::span<const std::uint8_t> bytes, std::uint16_t port) noexcept;  // 4 or 16, as on the wire
  static Address from(const NetAddress& address) noexcept;
  NetAddress plain() const noexcept;
  // "192.0.2.1", "2001:db8::1", "fe80::1%eth0", with an optional port "192.0.2.1:80", "[::1]:80".
  static std::expected<Address, std::string> parse(std::string_view text);

  bool empty() const noexcept { return family_ == 0; }
  bool is_v4() const noexcept { return family_ == AF_INET; }
  bool is_v6() const noexcept { return family_ == AF_INET6; }
  std::uint16_t port() const noexcept { return port_; }
  void set_port(std::uint16_t port) noexcept { port_ = port; }
  std::span<const std::uint8_t> bytes() const noexcept { return {bytes_.data(), is_v4() ? 4U : is_v6() ? 16U : 0U}; }
  AddressScope scope() const noexcept;
  socklen_t to_sockaddr(sockaddr_storage& out) const noexcept;
  std::string to_string() const;  // with the port: "192.0.2.1:80"
  std::string host() const;       // without: "192.0.2.1"
  // What limits count by: the port gone, and IPv6 cut to its /64, since one host owns all of it.
  Address client() const noexcept;
  std::uint64_t hash() const noexcept;
  friend bool operator==(const Address&, const Address&) = default;

 private:
  std::array<std::uint8_t, 16> bytes_{};
  std::uint32_t scope_id_ = 0;
  std::uint16_t port_ = 0;
  std::uint16_t family_ = 0;
};

// Whether DNS may be asked for it: labels of letters, digits, "-" and "_", the last not a number (RFC 1123 section 2.1;
// "300.1.2.3" is a mistyped address, not a name). Names beyond ASCII are written as xn--.
bool is_host_name(std::string_view text) noexcept;

// An address with its transport, as in a configuration: tcp://127.0.0.1:80, unix:///run/x.sock. A path may be
// relative ("unix://x.sock"): it then belongs to the state directory. "unix://@name" is Linux's abstract namespace.
struct Endpoint {
  Transport transport = Transport::tcp;
  Address address;   // tcp, udp, tls, rudp
  std::string path;  // unix
  std::string name;  // of a target whose host is a name: `address` then has the port alone

  // To listen on: numbers only, port 0 takes any.
  static std::expected<Endpoint, std::string> parse(std::string_view text);
  // To connect to: the host may be a name (tcp://nas.lan:445), the port is not 0.
  static std::expected<Endpoint, std::string> parse_target(std::string_view text);
  // Not for one with a name.
  socklen_t to_sockaddr(sockaddr_storage& out) const noexcept;
  std::string to_string() const;
  friend bool operator==(const Endpoint&, const Endpoint&) = default;
};

}  // namespace portolan
