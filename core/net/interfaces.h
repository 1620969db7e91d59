// The network interfaces of this machine, as they are at the moment. Any thread.
#pragma once

#include "net/address.h"

#include <expected>
#include <string>
#include <vector>

namespace portolan {

struct InterfaceAddress {
  Address address;
  int prefix = -1;  // bits; -1: unknown
};

struct Interface {
  std::string name;
  unsigned index = 0;
  unsigned flags = 0;  // IFF_UP and the like
  int mtu = 0;         // bytes; 0: unknown
  std::string mac;     // "02:00:5e:10:00:01"; empty: it has none
  std::vector<InterfaceAddress> addresses;

  std::vector<std::string> flag_names() const;  // "up", "multicast", ...
};

// In the order of their index. The error is a sentence.
std::expected<std::vector<Interface>, std::string> interfaces();

}  // namespace portolan
