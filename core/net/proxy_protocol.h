// The PROXY protocol, versions 1 and 2: whom a connection was relayed for, told in front of its first byte.
// Source: "The PROXY protocol", haproxy doc/proxy-protocol.txt of 2020-03-05, sections 2.1 and 2.2, whose words these are.
//
// Pure functions over bytes: no I/O, no memory of their own, any thread. Whether a peer may say such a thing is for the
// caller to know (section 2: "MUST not try to guess whether the protocol header is present"). Refused is:
//   - another first byte than a header's, as soon as it is there, so that a client that speaks something else is told at
//     once; and a version, command, family or length that no header has, before the rest of it is waited for
//   - version 1: more than 107 bytes, a lone CR or LF, other separators than one space, leading zeros, an address that is
//     not of the family announced
//   - version 2: more than `max_size` bytes, addresses or TLVs that are cut off, a wrong CRC32C, a UNIQUE_ID over 128 bytes
//
// What comes with LOCAL, and behind the families and protocols called UNSPEC, is skipped whole and never looked at: there
// the specification wants all of it discarded, and says neither how long the addresses are nor where TLVs would begin.
#pragma once

#include "net/address.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <span>
#include <string_view>

namespace portolan {

// "Both formats are designed to fit in the smallest TCP segment that any TCP/IP host is required to support": what is
// sent does. A sender that tells all it knows of a TLS client goes over it, and its receiver's limit has to be raised:
// up to a page, since the longest addresses and each of the registered TLVs with 255 bytes, as a host name may have,
// take below 3 KiB.
inline constexpr std::size_t kProxyHeaderSize = 536;
inline constexpr std::size_t kMaxProxyHeaderSize = 4096;
inline constexpr std::size_t kProxyLineSize = 107;  // version 1, "\r\n" included

enum class ProxyCommand : std::uint8_t {
  local,  // the sender's own connection, such as a health check: its real addresses hold
  proxy,  // relayed on behalf of another node
};

// Address family and transport protocol; the values are those of version 2's 14th byte.
enum class ProxyFamily : std::uint8_t {
  unspecified = 0x00,  // UNSPEC or UNKNOWN: the connection's real addresses hold
  tcp4 = 0x11,
  udp4 = 0x12,
  tcp6 = 0x21,
  udp6 = 0x22,
  unix_stream = 0x31,
  unix_datagram = 0x32,
};

// The registered types; others may come, and are kept.
namespace proxy_tlv {
inline constexpr std::uint8_t kAlpn = 0x01;
inline constexpr std::uint8_t kAuthority = 0x02;
inline constexpr std::uint8_t kCrc32c = 0x03;
inline constexpr std::uint8_t kNoop = 0x04;
inline constexpr std::uint8_t kUniqueId = 0x05;
inline constexpr std::uint8_t kSsl = 0x20;
inline constexpr std::uint8_t kNetns = 0x30;
}  // namespace proxy_tlv

inline constexpr std::size_t kMaxUniqueIdSize = 128;

struct ProxyTlv {
  std::uint8_t type;
  std::string_view value;  // bytes, for some types a text
};

// Type-Length-Value vectors, a view of the parsed bytes.
class ProxyTlvs {
 public:
  class Iterator {
   public:
    explicit Iterator(std::string_view rest) noexcept : rest_(rest) {}
    ProxyTlv operator*() const noexcept;
    Iterator& operator++() noexcept;
    bool operator==(const Iterator& other) const noexcept { return rest_.size() == other.rest_.size(); }

   private:
    std::string_view rest_;
  };

  ProxyTlvs() = default;
  // Nothing when the last one is cut off. Also for what is nested in kSsl, behind its first five bytes.
  static std::optional<ProxyTlvs> read(std::string_view bytes) noexcept;

  Iterator begin() const noexcept { return Iterator(bytes_); }
  Iterator end() const noexcept { return Iterator({}); }
  std::optional<std::string_view> find(std::uint8_t type) const noexcept;  // the first one's value
  std::string_view bytes() const noexcept { return bytes_; }

 private:
  std::string_view bytes_;
};

struct ProxyHeader {
  std::uint8_t version = 0;
  ProxyCommand command = ProxyCommand::proxy;
  ProxyFamily family = ProxyFamily::unspecified;
  Address source;        // with tcp4 to udp6; else empty. A mapped one of TCP6 is the IPv4 address that it stands for.
  Address destination;   // likewise
  ProxyTlvs tlvs;        // a view of the parsed bytes
  std::size_t size = 0;  // bytes that it took; the connection's own follow
};

struct NoProxyHeader {
  std::size_t missing;      // not yet: the bytes to come are at most so many. 0: never
  std::string_view reason;  // never: "the PROXY header ..."
};

// The header that `data` begins with. A `max_size` below kProxyLineSize counts as that.
std::expected<ProxyHeader, NoProxyHeader> parse_proxy_header(std::span<const std::byte> data,
                                                             std::size_t max_size = kProxyHeaderSize) noexcept;

// A header to send, at once and before all else.
struct ProxyHeaderBytes {
  std::array<std::byte, kProxyHeaderSize> bytes;
  std::size_t size;
  std::span<const std::byte> view() const noexcept { return {bytes.data(), size}; }
};

// With one address empty, as a unix peer's is: UNKNOWN. There is no LOCAL in version 1: a health check
// tells the addresses of its own connection. An IPv4 address beside an IPv6 one is written as mapped.
ProxyHeaderBytes make_proxy_line(const Address& source, const Address& destination) noexcept;

struct ProxyHeaderContent {
  Address source;  // one of them is empty, as for a health check or a unix peer: LOCAL, and nothing else is written
  Address destination;
  bool datagram = false;
  std::string_view alpn;  // empty ones are left out
  std::string_view authority;
  std::string_view unique_id;
  bool crc32c = false;
};
// Version 2. An IPv4 address beside an IPv6 one is written as mapped. Never UNSPEC: a receiver "is free" to reject that,
// as HAProxy does, and "must accept" LOCAL, which says as much. Refused, with the reason: a unique_id over 128 bytes,
// more than kProxyHeaderSize in all.
std::expected<ProxyHeaderBytes, std::string_view> make_proxy_header(const ProxyHeaderContent& content) noexcept;

}  // namespace portolan
