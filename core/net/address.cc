#include "net/address.h"

#include "base/clock.h"
#include "base/net_error.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <net/if.h>
#include <sys/random.h>
#include <sys/un.h>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstring>

namespace portolan {

namespace {

constexpr std::array<std::uint8_t, 12> kMappedPrefix{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

bool has_prefix(std::span<const std::uint8_t> address, std::initializer_list<std::uint8_t> prefix, unsigned bits) {
  const std::uint8_t* wanted = prefix.begin();
  for (unsigned at = 0; at < bits; at += 8) {
    const unsigned left = std::min(bits - at, 8U);
    const auto mask = static_cast<std::uint8_t>(0xff00U >> left);
    if ((address[at / 8] ^ wanted[at / 8]) & mask) return false;
  }
  return true;
}

AddressScope scope_of_v4(std::span<const std::uint8_t> a) {
  if (std::ranges::all_of(a, [](std::uint8_t byte) { return byte == 0; })) return AddressScope::unspecified;
  if (std::ranges::all_of(a, [](std::uint8_t byte) { return byte == 255; })) return AddressScope::broadcast;
  if (a[0] == 127) return AddressScope::loopback;
  if (has_prefix(a, {169, 254}, 16)) return AddressScope::link_local;
  if (a[0] == 10 || has_prefix(a, {172, 16}, 12) || has_prefix(a, {192, 168}, 16)) return AddressScope::private_use;
  if (has_prefix(a, {100, 64}, 10)) return AddressScope::shared;
  if (has_prefix(a, {224}, 4)) return AddressScope::multicast;
  if (has_prefix(a, {192, 0, 2}, 24) || has_prefix(a, {198, 51, 100}, 24) || has_prefix(a, {203, 0, 113}, 24)) {
    return AddressScope::documentation;
  }
  // 192.0.0.9 and .10 are the anycast addresses of PCP and TURN, the only global ones in their block.
  if (has_prefix(a, {192, 0, 0}, 24)) {
    return a[3] == 9 || a[3] == 10 ? AddressScope::global : AddressScope::reserved;
  }
  if (a[0] == 0 || has_prefix(a, {198, 18}, 15) || has_prefix(a, {240}, 4)) return AddressScope::reserved;
  return AddressScope::global;
}

AddressScope scope_of_v6(std::span<const std::uint8_t> a) {
  if (std::ranges::all_of(a.first(15), [](std::uint8_t byte) { return byte == 0; })) {
    if (a[15] == 0) return AddressScope::unspecified;
    if (a[15] == 1) return AddressScope::loopback;
  }
  if (has_prefix(a, {0xff}, 8)) return AddressScope::multicast;
  if (has_prefix(a, {0xfe, 0x80}, 10)) return AddressScope::link_local;
  if (has_prefix(a, {0xfc}, 7)) return AddressScope::private_use;
  if (has_prefix(a, {0x20, 0x01, 0x0d, 0xb8}, 32) || has_prefix(a, {0x3f, 0xff, 0x00}, 20)) {
    return AddressScope::documentation;
  }
  if (has_prefix(a, {0x00, 0x64, 0xff, 0x9b, 0, 1}, 48)) return AddressScope::private_use;               // RFC 8215
  if (has_prefix(a, {0x00, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0}, 96)) return AddressScope::global;  // NAT64
  if (has_prefix(a, {0x20, 0x01, 0x00, 0x02, 0, 0}, 48)) return AddressScope::reserved;                  // benchmarking
  return has_prefix(a, {0x20}, 3) ? AddressScope::global : AddressScope::reserved;
}

bool all_digits(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

std::expected<std::uint16_t, std::string> parse_port(std::string_view text, std::string_view whole) {
  if (text.empty()) return std::unexpected(fmt::format("\"{}\": the port after the colon is missing", whole));
  if (!all_digits(text)) return std::unexpected(fmt::format("\"{}\": port \"{}\" is not a number", whole, text));
  std::uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || value > 65535) {
    return std::unexpected(fmt::format("\"{}\": port {} is out of range 0-65535", whole, text));
  }
  return static_cast<std::uint16_t>(value);
}

std::expected<std::uint32_t, std::string> parse_zone(std::string_view zone, std::string_view whole) {
  if (all_digits(zone)) {
    std::uint32_t index = 0;
    const auto [end, error] = std::from_chars(zone.data(), zone.data() + zone.size(), index);
    if (error == std::errc{} && index > 0) return index;
  } else if (!zone.empty() && zone.size() < IF_NAMESIZE) {
    if (const unsigned index = if_nametoindex(std::string(zone).c_str()); index > 0) return index;
  }
  return std::unexpected(fmt::format("\"{}\": no interface here is called \"{}\"", whole, zone));
}

std::uint64_t mix(std::uint64_t value) noexcept {
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9ULL;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebULL;
  return value ^ (value >> 31);
}

// Addresses are chosen by strangers: without a secret they could choose such that collide.
std::uint64_t hash_secret() noexcept {
  static const std::uint64_t secret = [] {
    std::uint64_t value = 0;
    if (getrandom(&value, sizeof value, GRND_NONBLOCK) != sizeof value) {
      value = mix(static_cast<std::uint64_t>(monotonic_now().count()) ^ reinterpret_cast<std::uintptr_t>(&value));
    }
    return value;
  }();
  return secret;
}

}  // namespace

std::string_view to_string(AddressScope scope) noexcept {
  switch (scope) {
    case AddressScope::unspecified: return "unspecified";
    case AddressScope::loopback: return "loopback";
    case AddressScope::link_local: return "link-local";
    case AddressScope::private_use: return "private";
    case AddressScope::multicast: return "multicast";
    case AddressScope::broadcast: return "broadcast";
    case AddressScope::global: return "global";
    case AddressScope::shared: return "shared";
    case AddressScope::documentation: return "documentation";
    case AddressScope::reserved: return "reserved";
  }
  return "unknown";
}

Address Address::from(const sockaddr* address) noexcept {
  if (address == nullptr) return {};
  if (address->sa_family == AF_INET) {
    sockaddr_in v4{};
    std::memcpy(&v4, address, sizeof v4);
    return from({reinterpret_cast<const std::uint8_t*>(&v4.sin_addr), 4}, ntohs(v4.sin_port));
  }
  if (address->sa_family == AF_INET6) {
    sockaddr_in6 v6{};
    std::memcpy(&v6, address, sizeof v6);
    Address result = from({reinterpret_cast<const std::uint8_t*>(&v6.sin6_addr), 16}, ntohs(v6.sin6_port));
    if (result.is_v6()) result.scope_id_ = v6.sin6_scope_id;
    return result;
  }
  return {};
}

Address Address::from(std::span<const std::uint8_t> bytes, std::uint16_t port) noexcept {
  Address result;
  if (bytes.size() == 16 && std::ranges::equal(bytes.first(12), kMappedPrefix)) bytes = bytes.subspan(12);
  if (bytes.size() != 4 && bytes.size() != 16) return result;
  result.family_ = bytes.size() == 4 ? AF_INET : AF_INET6;
  result.port_ = port;
  std::ranges::copy(bytes, result.bytes_.begin());
  return result;
}

std::expected<Address, std::string> Address::parse(std::string_view text) {
  // inet_pton would stop there, and so would whoever prints the complaint.
  if (text.find('\0') != std::string_view::npos) {
    return std::unexpected(fmt::format("\"{}\": an address cannot hold a NUL byte", text.substr(0, text.find('\0'))));
  }
  // Which colon separates the port: the one after a bracket, or the only one (IPv6 has at least two).
  std::string_view host = text;
  std::string_view port_text;
  bool has_port = false;
  bool bracketed = false;
  if (text.starts_with('[')) {
    const std::size_t close = text.find(']');
    if (close == std::string_view::npos) {
      return std::unexpected(fmt::format("\"{}\": the bracket is not closed; write [::1]:80", text));
    }
    bracketed = true;
    host = text.substr(1, close - 1);
    const std::string_view rest = text.substr(close + 1);
    if (!rest.empty() && rest.front() != ':') {
      return std::unexpected(
          fmt::format("\"{}\": after the bracket comes a colon and the port, not \"{}\"", text, rest));
    }
    has_port = !rest.empty();
    if (has_port) port_text = rest.substr(1);
  } else if (const std::size_t colon = text.find(':');
             colon != std::string_view::npos && text.find(':', colon + 1) == std::string_view::npos) {
    has_port = true;
    host = text.substr(0, colon);
    port_text = text.substr(colon + 1);
  }

  std::uint16_t port = 0;
  if (has_port) {
    const auto parsed = parse_port(port_text, text);
    if (!parsed) return std::unexpected(parsed.error());
    port = *parsed;
  }
  if (host.empty()) {
    return std::unexpected(fmt::format(
        "\"{}\": the address is missing; 0.0.0.0 stands for every IPv4 address, [::] for every IPv6 one", text));
  }
  if (host == "*") {
    return std::unexpected(
        fmt::format("\"{}\": write 0.0.0.0 for every IPv4 address or [::] for every IPv6 one, not *", text));
  }

  std::string_view zone;
  const std::size_t percent = host.find('%');
  const std::string bare(host.substr(0, percent));
  if (percent != std::string_view::npos) zone = host.substr(percent + 1);

  Address result;
  in6_addr v6{};
  in_addr v4{};
  if (!bracketed && percent == std::string_view::npos && inet_pton(AF_INET, bare.c_str(), &v4) == 1) {
    result.family_ = AF_INET;
    std::memcpy(result.bytes_.data(), &v4, 4);
  } else if (inet_pton(AF_INET6, bare.c_str(), &v6) == 1) {
    sockaddr_in6 full{};
    full.sin6_family = AF_INET6;
    full.sin6_addr = v6;
    result = from(reinterpret_cast<const sockaddr*>(&full));
    if (percent != std::string_view::npos) {
      const auto index = parse_zone(zone, text);
      if (!index) return std::unexpected(index.error());
      if (result.is_v6()) result.scope_id_ = *index;
    }
  } else if (bracketed && inet_pton(AF_INET, bare.c_str(), &v4) == 1) {
    return std::unexpected(fmt::format("\"{}\": brackets are for IPv6; write {} without them", text, bare));
  } else if (bare.find_first_not_of("0123456789.") == std::string::npos) {
    return std::unexpected(
        fmt::format("\"{}\": \"{}\" is not an IPv4 address; it has four numbers from 0 to 255: 192.0.2.1", text, bare));
  } else if (bare.find(':') != std::string::npos) {
    return std::unexpected(
        fmt::format("\"{}\": \"{}\" is not an IPv6 address; expected the like of 2001:db8::1", text, bare));
  } else if (bare == "localhost") {
    return std::unexpected(fmt::format("\"{}\": \"localhost\" is a name; write 127.0.0.1 or [::1]", text));
  } else {
    return std::unexpected(fmt::format(
        "\"{}\": \"{}\" is a name, not an address; write numbers, like 192.0.2.1 or [2001:db8::1]", text, bare));
  }
  result.port_ = port;
  return result;
}

AddressScope Address::scope() const noexcept {
  if (is_v4()) return scope_of_v4(bytes());
  if (is_v6()) return scope_of_v6(bytes());
  return AddressScope::unspecified;
}

socklen_t Address::to_sockaddr(sockaddr_storage& out) const noexcept {
  std::memset(&out, 0, sizeof out);
  if (is_v4()) {
    sockaddr_in v4{};
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port_);
    std::memcpy(&v4.sin_addr, bytes_.data(), 4);
    std::memcpy(&out, &v4, sizeof v4);
    return sizeof v4;
  }
  if (is_v6()) {
    sockaddr_in6 v6{};
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(port_);
    v6.sin6_scope_id = scope_id_;
    std::memcpy(&v6.sin6_addr, bytes_.data(), 16);
    std::memcpy(&out, &v6, sizeof v6);
    return sizeof v6;
  }
  return 0;
}

Address Address::from(const NetAddress& address) noexcept {
  if (address.family == 0) return {};
  return from(std::span(address.bytes, address.family == 4 ? 4U : 16U), address.port);
}

NetAddress Address::plain() const noexcept {
  NetAddress result{.family = static_cast<std::uint8_t>(is_v4() ? 4 : is_v6() ? 6 : 0), .port = port_};
  std::ranges::copy(bytes(), result.bytes);
  return result;
}

std::string Address::host() const {
  char text[INET6_ADDRSTRLEN];
  if (empty() || inet_ntop(family_, bytes_.data(), text, sizeof text) == nullptr) return {};
  if (scope_id_ == 0) return text;
  char zone[IF_NAMESIZE];
  if (if_indextoname(scope_id_, zone) != nullptr) return fmt::format("{}%{}", text, zone);
  return fmt::format("{}%{}", text, scope_id_);
}

std::string Address::to_string() const {
  if (empty()) return {};
  return is_v6() ? fmt::format("[{}]:{}", host(), port_) : fmt::format("{}:{}", host(), port_);
}

Address Address::client() const noexcept {
  Address result = *this;
  result.port_ = 0;
  if (is_v6()) std::fill(result.bytes_.begin() + 8, result.bytes_.end(), std::uint8_t{0});
  return result;
}

std::uint64_t Address::hash() const noexcept {
  std::uint64_t halves[2];
  static_assert(sizeof halves == sizeof bytes_);
  std::memcpy(halves, bytes_.data(), sizeof halves);
  const std::uint64_t rest = (std::uint64_t{scope_id_} << 32) | (std::uint64_t{port_} << 16) | std::uint64_t{family_};
  return mix(mix(mix(hash_secret() ^ halves[0]) ^ halves[1]) ^ rest);
}

// ---- Names ---------------------------------------------------------------------------------------------------

bool is_host_name(std::string_view text) noexcept {
  if (text.ends_with('.')) text.remove_suffix(1);
  if (text.empty() || text.size() > 253) return false;
  while (true) {
    const std::size_t dot = text.find('.');
    const std::string_view label = text.substr(0, dot);
    const auto fits = [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
    };
    if (label.empty() || label.size() > 63 || !std::ranges::all_of(label, fits)) return false;
    if (dot == std::string_view::npos) return label.find_first_not_of("0123456789") != std::string_view::npos;
    text.remove_prefix(dot + 1);
  }
}

// ---- Endpoint ------------------------------------------------------------------------------------------------

std::expected<Endpoint, std::string> Endpoint::parse(std::string_view text) {
  const std::size_t colon = text.find("://");
  if (colon == std::string_view::npos) {
    return std::unexpected(
        fmt::format("\"{}\": the transport is missing; write tcp://{} (or udp://, tls://, rudp://, unix://)", text,
                    text.empty() ? "127.0.0.1:80" : text));
  }
  const std::string_view scheme = text.substr(0, colon);
  const std::string_view rest = text.substr(colon + 3);
  Endpoint result;
  if (scheme == "tcp") {
    result.transport = Transport::tcp;
  } else if (scheme == "udp") {
    result.transport = Transport::udp;
  } else if (scheme == "tls") {
    result.transport = Transport::tls;
  } else if (scheme == "rudp") {
    result.transport = Transport::rudp;
  } else if (scheme == "unix") {
    result.transport = Transport::unix_stream;
  } else {
    return std::unexpected(fmt::format(
        "\"{}\": unknown transport \"{}\"; expected tcp://, udp://, tls://, rudp:// or unix://", text, scheme));
  }

  if (result.transport == Transport::unix_stream) {
    constexpr std::size_t kLongest = sizeof(sockaddr_un::sun_path) - 1;
    if (rest.empty() || rest == "@") {
      return std::unexpected(fmt::format(
          "\"{}\": the path is missing; write unix:///run/x.sock, or unix://@name for an abstract one", text));
    }
    if (rest.find('\0') != std::string_view::npos) {
      return std::unexpected(fmt::format("\"{}\": a path cannot hold a NUL byte", text.substr(0, text.find('\0'))));
    }
    if (rest.size() > kLongest) {
      return std::unexpected(
          fmt::format("\"{}\": the path has {} bytes; a unix socket takes at most {}", text, rest.size(), kLongest));
    }
    result.path = rest;
    return result;
  }

  const std::size_t end_of_host = rest.find_first_of("/?#");
  if (end_of_host != std::string_view::npos) {
    return std::unexpected(
        fmt::format("\"{}\": nothing may follow the port; leave \"{}\" away", text, rest.substr(end_of_host)));
  }
  // "tcp://::1:80": would be read as an address without a port.
  if (!rest.starts_with('[') && std::ranges::count(rest, ':') > 1) {
    return std::unexpected(
        fmt::format("\"{}\": an IPv6 address stands in brackets before its port: {}://[::1]:80", text, scheme));
  }
  const bool has_port =
      rest.starts_with('[') ? rest.find("]:") != std::string_view::npos : rest.find(':') != std::string_view::npos;
  auto address = Address::parse(rest);
  if (!address) {
    // The complaint quotes the part without its transport: quote what was written instead.
    std::string complaint = std::move(address.error());
    const std::string quoted = fmt::format("\"{}\"", rest);
    if (complaint.starts_with(quoted)) complaint = fmt::format("\"{}\"{}", text, complaint.substr(quoted.size()));
    return std::unexpected(std::move(complaint));
  }
  if (!has_port) {
    return std::unexpected(fmt::format(
        "\"{}\": the port is missing; write {}:80, or {}:0 for one that the system chooses", text, text, text));
  }
  result.address = *address;
  return result;
}

std::expected<Endpoint, std::string> Endpoint::parse_target(std::string_view text) {
  const std::size_t host_at = text.find("://");
  const std::size_t port_at = text.rfind(':');
  if (host_at != std::string_view::npos && port_at > host_at + 3 && !text.starts_with("unix://")) {
    const std::string_view host = text.substr(host_at + 3, port_at - host_at - 3);
    if (is_host_name(host)) {
      // A number in the name's place lets the rest be checked as ever.
      auto result = parse(fmt::format("{}0.0.0.0{}", text.substr(0, host_at + 3), text.substr(port_at)));
      if (!result) return std::unexpected(fmt::format("\"{}\": the port is not a number from 1 to 65535", text));
      if (result->address.port() == 0)
        return std::unexpected(fmt::format("\"{}\": port 0 is nowhere to connect to", text));
      result->name = host;
      return result;
    }
  }
  auto result = parse(text);
  if (result && result->transport != Transport::unix_stream && result->address.port() == 0)
    return std::unexpected(fmt::format("\"{}\": port 0 is nowhere to connect to", text));
  return result;
}

socklen_t Endpoint::to_sockaddr(sockaddr_storage& out) const noexcept {
  if (transport != Transport::unix_stream) return address.to_sockaddr(out);
  auto& unix_address = reinterpret_cast<sockaddr_un&>(out);
  unix_address = {};
  unix_address.sun_family = AF_UNIX;
  const std::size_t length = std::min(path.size(), sizeof unix_address.sun_path - 1);
  std::memcpy(unix_address.sun_path, path.data(), length);
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + length + 1);
  if (!path.starts_with('@')) return size;
  unix_address.sun_path[0] = '\0';
  return size - 1;
}

std::string Endpoint::to_string() const {
  const std::string_view scheme = portolan::to_string(transport);
  if (transport == Transport::unix_stream) return fmt::format("{}://{}", scheme, path);
  if (!name.empty()) return fmt::format("{}://{}:{}", scheme, name, address.port());
  return fmt::format("{}://{}", scheme, address.to_string());
}

}  // namespace portolan
