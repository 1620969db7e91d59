// Networks: an address prefix as a value ("10.0.0.0/8", CIDR of RFC 4632 and RFC 4291 section 2.3), and lists of them
// that say whom an option is about.
//
// Pure values, no I/O; any thread. Refused are bits behind the prefix ("10.1.2.3/8" is either a slip or means one
// address), a port, a zone and a name.
#pragma once

#include "net/address.h"

#include <cstdint>
#include <expected>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace portolan {

// "10.0.0.0/8", "2001:db8::/32"; "192.0.2.7" is one address. IPv4-mapped IPv6 is the IPv4 that it stands for, as in
// Address, so "::/0" is every IPv6 address and no IPv4 one. An address's port and zone do not matter.
class Network {
 public:
  static std::expected<Network, std::string> parse(std::string_view text);

  bool contains(const Address& address) const noexcept;
  std::string to_string() const;  // one address without its length: "192.0.2.7"
  friend bool operator==(const Network&, const Network&) = default;

 private:
  Network(const Address& base, unsigned length) noexcept : base_(base), length_(static_cast<std::uint8_t>(length)) {}

  Address base_;         // no port, no zone, zeros behind the prefix
  std::uint8_t length_;  // bits of the prefix
};

// Networks, and the word "unix" for peers that have no address. For the dozen that a configuration names: each is
// looked at in turn.
class NetworkList {
 public:
  static std::expected<NetworkList, std::string> parse(std::span<const std::string_view> texts);
  std::expected<void, std::string> add(std::string_view text);

  bool contains(const Address& address) const noexcept;
  bool empty() const noexcept { return networks_.empty() && !unix_; }
  friend bool operator==(const NetworkList&, const NetworkList&) = default;

 private:
  std::vector<Network> networks_;
  bool unix_ = false;
};

}  // namespace portolan
