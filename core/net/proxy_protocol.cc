#include "net/proxy_protocol.h"

#include "base/crc32c.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <utility>

namespace portolan {

namespace {

using namespace std::string_view_literals;

constexpr std::string_view kLineStart = "PROXY ";
constexpr std::string_view kSignature = "\r\n\r\n\0\r\nQUIT\n"sv;
constexpr std::size_t kFixedSize = 16;  // signature, version and command, family, length
constexpr std::size_t kTlvHeadSize = 3;
constexpr std::size_t kChecksumSize = 4;

std::unexpected<NoProxyHeader> missing(std::size_t most) noexcept { return std::unexpected(NoProxyHeader{most, {}}); }
std::unexpected<NoProxyHeader> never(std::string_view reason) noexcept {
  return std::unexpected(NoProxyHeader{0, reason});
}

std::uint8_t byte_at(std::string_view bytes, std::size_t at) noexcept { return static_cast<std::uint8_t>(bytes[at]); }
std::uint16_t u16_at(std::string_view bytes, std::size_t at) noexcept {
  return static_cast<std::uint16_t>(byte_at(bytes, at) << 8U | byte_at(bytes, at + 1));
}
std::uint32_t u32_at(std::string_view bytes, std::size_t at) noexcept {
  return std::uint32_t{u16_at(bytes, at)} << 16U | u16_at(bytes, at + 2);
}
std::span<const std::uint8_t> octets(std::string_view bytes) noexcept {
  return {reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()};
}

// Whether `bytes`, of which more may come, can still begin with `start`.
bool may_start_with(std::string_view bytes, std::string_view start) noexcept {
  return bytes.starts_with(start.substr(0, bytes.size()));
}

// Of a header, with zeros for the checksum that it has at `at`.
std::uint32_t checksum_of(std::string_view header, std::size_t at) noexcept {
  const auto bytes_of = [](std::string_view text) { return std::as_bytes(std::span(text.data(), text.size())); };
  const std::uint32_t before = crc32c(bytes_of("\0\0\0\0"sv), crc32c(bytes_of(header.substr(0, at))));
  return crc32c(bytes_of(header.substr(at + kChecksumSize)), before);
}

// ---- Version 1 -----------------------------------------------------------------------------------------------

Address address_in_line(std::string_view text, bool v4, std::uint16_t port) noexcept {
  char terminated[INET6_ADDRSTRLEN] = {};
  std::uint8_t bytes[16];
  // A NUL would end the text early.
  if (text.size() >= sizeof terminated || text.contains('\0')) return {};
  std::ranges::copy(text, terminated);
  if (inet_pton(v4 ? AF_INET : AF_INET6, terminated, bytes) != 1) return {};
  return Address::from(std::span(bytes).first(v4 ? 4 : 16), port);
}

std::optional<std::uint16_t> port_in_line(std::string_view text) noexcept {
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc{} || end != text.data() + text.size() || (text.size() > 1 && text.front() == '0')) return {};
  return port;
}

std::expected<ProxyHeader, NoProxyHeader> parse_line(std::string_view data) noexcept {
  const std::size_t end = data.substr(0, kProxyLineSize - 1).find_first_of("\r\n");
  std::string_view rest = data.substr(0, std::min(end, kProxyLineSize - 1));
  rest.remove_prefix(std::min(rest.size(), kLineStart.size()));
  const bool ended = end != std::string_view::npos;
  const auto is = [&](std::string_view start) { return ended ? rest.starts_with(start) : may_start_with(rest, start); };
  const bool v4 = is("TCP4 ");
  const bool v6 = is("TCP6 ");
  const bool unknown = is("UNKNOWN ") || (ended && rest == "UNKNOWN");
  if (!v4 && !v6 && !unknown) return never("the PROXY header is for none of TCP4, TCP6 and UNKNOWN");
  if (!ended) {
    if (data.size() >= kProxyLineSize - 1) return never("the PROXY header does not end within 107 bytes");
    return missing(kProxyLineSize - data.size());
  }
  if (data[end] == '\r' && end + 1 == data.size()) return missing(1);
  if (!data.substr(end).starts_with("\r\n")) return never("the PROXY header's line does not end in CRLF");

  ProxyHeader header{.version = 1, .size = end + 2};
  if (unknown) return header;  // whatever else the line says
  header.family = v4 ? ProxyFamily::tcp4 : ProxyFamily::tcp6;
  const auto field = [&rest] {
    const std::string_view result = rest.substr(0, rest.find(' '));
    rest.remove_prefix(std::min(rest.size(), result.size() + 1));
    return result;
  };
  field();
  const std::string_view source = field();
  const std::string_view destination = field();
  const auto source_port = port_in_line(field());
  const auto destination_port = port_in_line(rest);
  if (!source_port || !destination_port) return never("the PROXY header has a port that is no number from 0 to 65535");
  header.source = address_in_line(source, v4, *source_port);
  header.destination = address_in_line(destination, v4, *destination_port);
  if (header.source.empty() || header.destination.empty()) {
    return never("the PROXY header has an address that is not of its family");
  }
  return header;
}

// ---- Version 2 -----------------------------------------------------------------------------------------------

// Bytes of one of the two addresses without its port.
constexpr std::size_t address_size(ProxyFamily family) noexcept {
  switch (family) {
    case ProxyFamily::unspecified: return 0;
    case ProxyFamily::tcp4:
    case ProxyFamily::udp4: return 4;
    case ProxyFamily::tcp6:
    case ProxyFamily::udp6: return 16;
    case ProxyFamily::unix_stream:
    case ProxyFamily::unix_datagram: return 108;
  }
  return 0;
}

constexpr bool has_ports(ProxyFamily family) noexcept {
  return address_size(family) == 4 || address_size(family) == 16;
}

constexpr std::size_t addresses_size(ProxyFamily family) noexcept {
  return 2 * address_size(family) + (has_ports(family) ? 4 : 0);
}

// Nothing when the specification has no such family or protocol. Either being UNSPEC makes both so.
std::optional<ProxyFamily> family_of(std::uint8_t byte) noexcept {
  if (byte >> 4U > 3 || (byte & 0x0fU) > 2) return {};
  if (byte >> 4U == 0 || (byte & 0x0fU) == 0) return ProxyFamily::unspecified;
  return static_cast<ProxyFamily>(byte);
}

std::expected<ProxyHeader, NoProxyHeader> parse_binary(std::string_view data, std::size_t max_size) noexcept {
  ProxyHeader header{.version = 2};
  if (data.size() > 12) {
    if (byte_at(data, 12) >> 4U != 2) return never("the PROXY header's version is not 2");
    if ((byte_at(data, 12) & 0x0fU) > 1) return never("the PROXY header's command is neither LOCAL nor PROXY");
    header.command = static_cast<ProxyCommand>(byte_at(data, 12) & 0x0fU);
  }
  if (data.size() > 13 && header.command == ProxyCommand::proxy) {
    const auto family = family_of(byte_at(data, 13));
    if (!family) return never("the PROXY header's family or protocol is not one of version 2");
    header.family = *family;
  }
  if (data.size() < kFixedSize) return missing(max_size - data.size());
  header.size = kFixedSize + u16_at(data, 14);
  const std::size_t tlvs_at = kFixedSize + addresses_size(header.family);
  if (header.size > max_size) return never("the PROXY header is longer than is taken here");
  if (header.size < tlvs_at) return never("the PROXY header is too short for its addresses");
  if (data.size() < header.size) return missing(header.size - data.size());
  if (header.family == ProxyFamily::unspecified) return header;

  data = data.substr(0, header.size);
  if (has_ports(header.family)) {
    const std::size_t size = address_size(header.family);
    header.source = Address::from(octets(data.substr(kFixedSize, size)), u16_at(data, tlvs_at - 4));
    header.destination = Address::from(octets(data.substr(kFixedSize + size, size)), u16_at(data, tlvs_at - 2));
  }
  const auto tlvs = ProxyTlvs::read(data.substr(tlvs_at));
  if (!tlvs) return never("the PROXY header ends within a TLV");
  header.tlvs = *tlvs;
  for (const auto [type, value] : *tlvs) {
    if (type == proxy_tlv::kUniqueId && value.size() > kMaxUniqueIdSize) {
      return never("the PROXY header's UNIQUE_ID is longer than 128 bytes");
    }
    if (type == proxy_tlv::kCrc32c &&
        (value.size() != kChecksumSize ||
         u32_at(value, 0) != checksum_of(data, static_cast<std::size_t>(value.data() - data.data())))) {
      return never("the PROXY header's CRC32C is wrong");
    }
  }
  return header;
}

// ---- Writing -------------------------------------------------------------------------------------------------

std::array<std::uint8_t, 16> as_v6(const Address& address) noexcept {
  std::array<std::uint8_t, 16> bytes{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  std::ranges::copy(address.bytes(), bytes.begin() + (address.is_v4() ? 12 : 0));
  return bytes;
}

// Puts one thing after another; its user knows that there is room.
class Writer {
 public:
  explicit Writer(ProxyHeaderBytes& out) noexcept : out_(out) { out_.size = 0; }

  void text(std::string_view bytes) noexcept { put(octets(bytes)); }
  void put(std::span<const std::uint8_t> bytes) noexcept {
    std::ranges::copy(std::as_bytes(bytes), out_.bytes.begin() + static_cast<std::ptrdiff_t>(out_.size));
    out_.size += bytes.size();
  }
  void u8(std::uint8_t value) noexcept { put({&value, 1}); }
  void u16(std::size_t value) noexcept {
    u8(static_cast<std::uint8_t>(value >> 8U));
    u8(static_cast<std::uint8_t>(value));
  }
  void number(unsigned value, int base) noexcept {
    char digits[8];
    text({digits, std::to_chars(digits, digits + sizeof digits, value, base).ptr});
  }
  void tlv(std::uint8_t type, std::string_view value) noexcept {
    u8(type);
    u16(value.size());
    text(value);
  }
  std::string_view written() const noexcept { return {reinterpret_cast<const char*>(out_.bytes.data()), out_.size}; }
  void patch_u32(std::size_t at, std::uint32_t value) noexcept {
    for (std::size_t i = 0; i < 4; ++i) out_.bytes[at + i] = static_cast<std::byte>(value >> (24U - 8U * i));
  }

 private:
  ProxyHeaderBytes& out_;
};

}  // namespace

ProxyTlv ProxyTlvs::Iterator::operator*() const noexcept {
  return {byte_at(rest_, 0), rest_.substr(kTlvHeadSize, u16_at(rest_, 1))};
}

ProxyTlvs::Iterator& ProxyTlvs::Iterator::operator++() noexcept {
  rest_.remove_prefix(kTlvHeadSize + u16_at(rest_, 1));
  return *this;
}

std::optional<ProxyTlvs> ProxyTlvs::read(std::string_view bytes) noexcept {
  for (std::string_view rest = bytes; !rest.empty();) {
    if (rest.size() < kTlvHeadSize || rest.size() - kTlvHeadSize < u16_at(rest, 1)) return {};
    rest.remove_prefix(kTlvHeadSize + u16_at(rest, 1));
  }
  ProxyTlvs result;
  result.bytes_ = bytes;
  return result;
}

std::optional<std::string_view> ProxyTlvs::find(std::uint8_t type) const noexcept {
  for (const ProxyTlv tlv : *this) {
    if (tlv.type == type) return tlv.value;
  }
  return {};
}

std::expected<ProxyHeader, NoProxyHeader> parse_proxy_header(std::span<const std::byte> data,
                                                             std::size_t max_size) noexcept {
  const std::string_view text(reinterpret_cast<const char*>(data.data()), data.size());
  if (may_start_with(text, kSignature)) return parse_binary(text, std::max(max_size, kProxyLineSize));
  if (may_start_with(text, kLineStart)) return parse_line(text);
  return never("the PROXY header is missing: the connection begins with something else");
}

ProxyHeaderBytes make_proxy_line(const Address& source, const Address& destination) noexcept {
  ProxyHeaderBytes result;
  Writer out(result);
  if (source.empty() || destination.empty()) {
    out.text("PROXY UNKNOWN\r\n");
    return result;
  }
  const bool v4 = source.is_v4() && destination.is_v4();
  out.text(v4 ? "PROXY TCP4" : "PROXY TCP6");
  for (const Address* address : {&source, &destination}) {
    // All eight groups of IPv6: the specification has no dotted form, which inet_ntop writes for mapped addresses.
    const auto bytes = as_v6(*address);
    std::string_view separator = " ";
    for (std::size_t at = v4 ? 12 : 0; at < 16; at += v4 ? 1 : 2) {
      out.text(std::exchange(separator, v4 ? "." : ":"));
      v4 ? out.number(bytes[at], 10) : out.number(bytes[at] * 256U + bytes[at + 1], 16);
    }
  }
  for (const Address* address : {&source, &destination}) {
    out.text(" ");
    out.number(address->port(), 10);
  }
  out.text("\r\n");
  return result;
}

std::expected<ProxyHeaderBytes, std::string_view> make_proxy_header(const ProxyHeaderContent& content) noexcept {
  std::expected<ProxyHeaderBytes, std::string_view> result;
  Writer out(*result);
  out.text(kSignature);
  if (content.source.empty() || content.destination.empty()) {
    out.text("\x20\0\0\0"sv);  // LOCAL, UNSPEC, a length of 0
    return result;
  }

  const bool v4 = content.source.is_v4() && content.destination.is_v4();
  const ProxyFamily family =
      content.datagram ? (v4 ? ProxyFamily::udp4 : ProxyFamily::udp6) : (v4 ? ProxyFamily::tcp4 : ProxyFamily::tcp6);
  const ProxyTlv tlvs[] = {
      {proxy_tlv::kCrc32c, content.crc32c ? "\0\0\0\0"sv : ""sv},
      {proxy_tlv::kAlpn, content.alpn},
      {proxy_tlv::kAuthority, content.authority},
      {proxy_tlv::kUniqueId, content.unique_id},
  };
  std::size_t length = addresses_size(family);
  for (const auto& [type, value] : tlvs) length += value.empty() ? 0 : kTlvHeadSize + value.size();
  if (content.unique_id.size() > kMaxUniqueIdSize) return std::unexpected("the unique ID is longer than 128 bytes");
  if (kFixedSize + length > kProxyHeaderSize) return std::unexpected("the PROXY header would be over 536 bytes");

  out.u8(0x21);  // PROXY
  out.u8(static_cast<std::uint8_t>(family));
  out.u16(length);
  for (const Address* address : {&content.source, &content.destination}) {
    v4 ? out.put(address->bytes()) : out.put(as_v6(*address));
  }
  out.u16(content.source.port());
  out.u16(content.destination.port());
  const std::size_t checksum_at = result->size + kTlvHeadSize;
  for (const auto& [type, value] : tlvs) {
    if (!value.empty()) out.tlv(type, value);
  }
  if (content.crc32c) out.patch_u32(checksum_at, checksum_of(out.written(), checksum_at));
  return result;
}

}  // namespace portolan
