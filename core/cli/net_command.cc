#include "base/net_error.h"
#include "cli/exit_code.h"
#include "cli/local_commands.h"
#include "cli/terminal.h"
#include "event/loop.h"
#include "net/address.h"
#include "net/interfaces.h"
#include "net/resolver.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <optional>

namespace portolan {

namespace {

using Json = nlohmann::ordered_json;

// ---- Interfaces ----------------------------------------------------------------------------------------------

Json to_json(const Interface& interface) {
  Json addresses = Json::array();
  for (const InterfaceAddress& entry : interface.addresses) {
    addresses.push_back({{"address", entry.address.host()},
                         {"prefix", entry.prefix},
                         {"family", entry.address.is_v4() ? "ipv4" : "ipv6"},
                         {"scope", to_string(entry.address.scope())}});
  }
  return {{"name", interface.name}, {"index", interface.index},        {"mtu", interface.mtu},
          {"mac", interface.mac},   {"flags", interface.flag_names()}, {"addresses", std::move(addresses)}};
}

void print(const Interface& interface) {
  fmt::print("{}  mtu {}{}{}  {}\n", emphasized(Emphasis::bold, interface.name), interface.mtu,
             interface.mac.empty() ? "" : "  mac ", interface.mac, fmt::join(interface.flag_names(), ","));
  for (const InterfaceAddress& entry : interface.addresses) {
    fmt::print("  {}  {}  {}\n", entry.address.is_v4() ? "IPv4" : "IPv6",
               entry.prefix < 0 ? entry.address.host() : fmt::format("{}/{}", entry.address.host(), entry.prefix),
               to_string(entry.address.scope()));
  }
}

// ---- Addresses -----------------------------------------------------------------------------------------------

struct Classified {
  Address address;
  std::optional<Transport> transport;
  std::string path;  // of a unix endpoint
  bool has_port = false;
  int prefix = -1;
};

// The first or the last address of the network.
Address edge(const Address& address, int prefix, bool last) {
  sockaddr_storage storage{};
  address.to_sockaddr(storage);
  auto* bytes = address.is_v4()
                    ? reinterpret_cast<std::uint8_t*>(&reinterpret_cast<sockaddr_in*>(&storage)->sin_addr)
                    : reinterpret_cast<std::uint8_t*>(&reinterpret_cast<sockaddr_in6*>(&storage)->sin6_addr);
  const int bits = address.is_v4() ? 32 : 128;
  for (int bit = prefix; bit < bits; ++bit) {
    const auto mask = static_cast<std::uint8_t>(0x80U >> (bit % 8));
    bytes[bit / 8] = static_cast<std::uint8_t>(last ? bytes[bit / 8] | mask : bytes[bit / 8] & ~mask);
  }
  return Address::from(reinterpret_cast<const sockaddr*>(&storage));
}

// The name that a PTR record would be asked by.
std::string reverse_name(const Address& address) {
  const auto bytes = address.bytes();
  if (address.is_v4()) return fmt::format("{}.{}.{}.{}.in-addr.arpa", bytes[3], bytes[2], bytes[1], bytes[0]);
  std::string name;
  for (std::size_t i = bytes.size(); i-- > 0;) name += fmt::format("{:x}.{:x}.", bytes[i] & 15, bytes[i] >> 4);
  return name + "ip6.arpa";
}

std::expected<Classified, std::string> classify(std::string_view text) {
  Classified result;
  if (text.find("://") != std::string_view::npos) {
    const auto endpoint = Endpoint::parse(text);
    if (!endpoint) return std::unexpected(endpoint.error());
    result.transport = endpoint->transport;
    result.address = endpoint->address;
    result.path = endpoint->path;
    result.has_port = endpoint->transport != Transport::unix_stream;
    return result;
  }
  const std::size_t slash = text.rfind('/');
  const auto address = Address::parse(text.substr(0, slash));
  if (!address) return std::unexpected(address.error());
  result.address = *address;
  result.has_port = address->port() != 0;
  if (slash != std::string_view::npos) {
    const std::string_view prefix = text.substr(slash + 1);
    const int most = address->is_v4() ? 32 : 128;
    const auto [end, error] = std::from_chars(prefix.data(), prefix.data() + prefix.size(), result.prefix);
    if (prefix.empty() || error != std::errc{} || end != prefix.data() + prefix.size() || result.prefix < 0 ||
        result.prefix > most || prefix[0] == '-') {
      return std::unexpected(fmt::format("\"{}\": the prefix after the slash is a number from 0 to {}", text, most));
    }
    if (result.has_port) return std::unexpected(fmt::format("\"{}\": a network has no port", text));
  }
  return result;
}

Json to_json(const std::string& input, const Classified& found) {
  Json value{{"input", input}};
  if (found.transport) value["transport"] = to_string(*found.transport);
  if (found.address.empty()) {
    value["family"] = "unix";
    value["path"] = found.path;
    return value;
  }
  value["family"] = found.address.is_v4() ? "ipv4" : "ipv6";
  value["address"] = found.address.host();
  value["scope"] = to_string(found.address.scope());
  if (found.has_port) value["port"] = found.address.port();
  if (found.prefix >= 0) {
    value["prefix"] = found.prefix;
    value["first"] = edge(found.address, found.prefix, false).host();
    value["last"] = edge(found.address, found.prefix, true).host();
  }
  value["reverse"] = reverse_name(found.address);
  return value;
}

void print(const std::string& input, const Classified& found) {
  fmt::print("{}\n", emphasized(Emphasis::bold, printable(input)));
  const auto line = [](std::string_view what, std::string_view value) { fmt::print("  {:<10} {}\n", what, value); };
  if (found.transport) line("transport", to_string(*found.transport));
  if (found.address.empty()) {
    line("family", "unix");
    line("path", printable(found.path));
    return;
  }
  line("family", found.address.is_v4() ? "IPv4" : "IPv6");
  line("address", found.address.host());
  line("scope", to_string(found.address.scope()));
  if (found.has_port) line("port", fmt::format("{}", found.address.port()));
  if (found.prefix >= 0) {
    const Address first = edge(found.address, found.prefix, false);
    line("network", fmt::format("{}/{}", first.host(), found.prefix));
    line("range", fmt::format("{} - {}", first.host(), edge(found.address, found.prefix, true).host()));
  }
  line("reverse", reverse_name(found.address));
}

// ---- Names ---------------------------------------------------------------------------------------------------

// The program waits for it: there is nothing else to do.
ResolveResult resolve(Loop& loop, Resolver& resolver, const std::string& name) {
  std::optional<ResolveResult> result;
  const ResolveHandle lookup = resolver.resolve(name, AddressFamily::any, [&](ResolveResult found) {
    result = std::move(found);
    loop.stop();
  });
  while (!result) loop.run();
  return std::move(*result);
}

Json to_json(const std::string& name, const ResolvedAddress& found) {
  return {{"input", name},
          {"family", found.address.is_v4() ? "ipv4" : "ipv6"},
          {"address", found.address.host()},
          {"scope", to_string(found.address.scope())},
          {"ttl", found.ttl.count()},
          {"reverse", reverse_name(found.address)}};
}

void print(const std::string& name, const Resolution& resolution) {
  fmt::print("{}\n", emphasized(Emphasis::bold, printable(name)));
  for (const auto& [address, ttl] : resolution.addresses) {
    fmt::print("  {}  {}  {}", address.is_v4() ? "IPv4" : "IPv6", address.host(), to_string(address.scope()));
    if (ttl.count() > 0) fmt::print("  for {} s", ttl.count());
    fmt::print("\n");
  }
}

// ---- The command ---------------------------------------------------------------------------------------------

int show_interfaces(bool json) {
  const auto found = interfaces();
  if (!found) {
    fmt::print(stderr, "portolan net: {}\n", found.error());
    return kExitFailed;
  }
  Json list = Json::array();
  for (const Interface& interface : *found) json ? list.push_back(to_json(interface)) : print(interface);
  if (json) fmt::print("{}\n", Json{{"interfaces", std::move(list)}}.dump(2));
  return kExitOk;
}

}  // namespace

int net_command(const std::vector<std::string>& addresses, bool json) {
  if (addresses.empty()) return show_interfaces(json);
  int code = kExitOk;
  Json list = Json::array();
  const auto complain = [&](const std::string& input, const std::string& what, int how) {
    // Of several, the graver: that something is wrong, not that something is not there.
    if (code != kExitFailed) code = how;
    if (json) {
      list.push_back({{"input", input}, {"error", what}});
    } else {
      std::fflush(stdout);
      fmt::print(stderr, "portolan net: {}\n", printable(what));
    }
  };
  Loop loop;
  std::optional<Resolver> resolver;
  for (const std::string& text : addresses) {
    if (is_host_name(text)) {
      if (!resolver) resolver.emplace(loop);
      const auto found = resolve(loop, *resolver, text);
      if (!found) {
        const bool absent = found.error().error == NetError::name_not_found;
        complain(text, fmt::format("{}: {}", text, found.error().message), absent ? kExitNotFound : kExitFailed);
      } else if (json) {
        for (const ResolvedAddress& each : found->addresses) list.push_back(to_json(text, each));
      } else {
        print(text, *found);
      }
      continue;
    }
    const auto found = classify(text);
    if (!found) {
      complain(text, found.error(), kExitFailed);
    } else if (json) {
      list.push_back(to_json(text, *found));
    } else {
      print(text, *found);
    }
  }
  if (json) {
    fmt::print("{}\n", Json{{"addresses", std::move(list)}}.dump(2, ' ', false, Json::error_handler_t::replace));
  }
  return code;
}

}  // namespace portolan
