// The PROXY protocol: a header is as long as it says, is found with its last byte and not before, whatever follows, and
// says the same when it is written again. Input: the limit, then the bytes.
#include "fuzz_target.h"
#include "net/proxy_protocol.h"

#include <algorithm>
#include <vector>

using namespace portolan;
using fuzz::check;

namespace {

using Result = std::expected<ProxyHeader, NoProxyHeader>;

// From an allocation of exactly that size: AddressSanitizer sees what reads past it.
Result parse_copy(std::span<const std::byte> data, std::size_t max_size) {
  const std::vector<std::byte> exact(data.begin(), data.end());
  Result result = parse_proxy_header(exact, max_size);
  if (result) result->tlvs = {};
  return result;
}

bool has_addresses(const ProxyHeader& header) {
  return header.family != ProxyFamily::unspecified && header.family != ProxyFamily::unix_stream &&
         header.family != ProxyFamily::unix_datagram;
}

bool same(const ProxyHeader& a, const ProxyHeader& b) {
  return a.version == b.version && a.command == b.command && a.family == b.family && a.source == b.source &&
         a.destination == b.destination && a.size == b.size;
}

void check_form(const ProxyHeader& header, std::span<const std::byte> data, std::size_t max_size) {
  check(header.size <= data.size(), "what is taken was given");
  check(header.version == 1 ? header.size >= 15 && header.size <= kProxyLineSize
                            : header.version == 2 && header.size >= 16 && header.size <= max_size,
        "a header is within the limits of its version");
  check(header.version == 2 || (header.command == ProxyCommand::proxy && header.tlvs.bytes().empty()),
        "a line has neither LOCAL nor TLVs");
  check(has_addresses(header) == !header.source.empty() && has_addresses(header) == !header.destination.empty(),
        "a header has both addresses or none");
  check(header.command == ProxyCommand::proxy || header.family == ProxyFamily::unspecified, "LOCAL has no family");
  check(header.family != ProxyFamily::unspecified || header.tlvs.bytes().empty(), "UNSPEC has no TLVs");
  std::size_t tlvs_size = 0;
  for (const ProxyTlv tlv : header.tlvs) {
    tlvs_size += 3 + tlv.value.size();
    check(header.tlvs.find(tlv.type).has_value(), "a TLV is found");
    check(tlv.type != proxy_tlv::kUniqueId || tlv.value.size() <= kMaxUniqueIdSize, "a unique ID is within its limit");
    check(tlv.type != proxy_tlv::kCrc32c || tlv.value.size() == 4, "a checksum has four bytes");
  }
  check(tlvs_size == header.tlvs.bytes().size(), "TLVs are where their lengths put them");
}

void check_rebuilt(const ProxyHeader& header) {
  if (!has_addresses(header)) return;
  // Two mapped addresses are written as IPv4, which is shorter: the family is then another.
  const bool v4 = header.source.is_v4() && header.destination.is_v4();
  const bool same_family = v4 == (header.family == ProxyFamily::tcp4 || header.family == ProxyFamily::udp4);
  if (header.version == 1) {
    const auto line = make_proxy_line(header.source, header.destination);
    const auto again = parse_proxy_header(line.view());
    check(again.has_value() && again->size == line.size, "a line that was written is read");
    check(again->source == header.source && again->destination == header.destination, "a line says what it was told");
    check(!same_family || again->family == header.family, "a line keeps its family");
    return;
  }
  const bool has_checksum = header.tlvs.find(proxy_tlv::kCrc32c).has_value();
  const ProxyHeaderContent content{
      .source = header.source,
      .destination = header.destination,
      .datagram = header.family == ProxyFamily::udp4 || header.family == ProxyFamily::udp6,
      .alpn = header.tlvs.find(proxy_tlv::kAlpn).value_or(""),
      .authority = header.tlvs.find(proxy_tlv::kAuthority).value_or(""),
      .unique_id = header.tlvs.find(proxy_tlv::kUniqueId).value_or(""),
      .crc32c = has_checksum,
  };
  const auto built = make_proxy_header(content);
  if (!built) {
    check(header.size > kProxyHeaderSize - 24, "what came in 536 bytes goes into them, but for mapped addresses");
    return;
  }
  const auto again = parse_proxy_header(built->view());
  check(again.has_value() && again->size == built->size, "a header that was written is read");
  check(again->source == header.source && again->destination == header.destination, "a header says what it was told");
  check(!same_family || again->family == header.family, "a header keeps its family");
  for (const std::uint8_t type : {proxy_tlv::kAlpn, proxy_tlv::kAuthority, proxy_tlv::kUniqueId}) {
    check(again->tlvs.find(type).value_or("") == header.tlvs.find(type).value_or(""), "a header keeps its TLVs");
  }
  check(again->tlvs.find(proxy_tlv::kCrc32c).has_value() == has_checksum, "a header keeps its checksum");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* input_data, std::size_t size) {
  fuzz::Input input(input_data, size);
  constexpr std::size_t kLimits[] = {kProxyHeaderSize, kMaxProxyHeaderSize, kProxyLineSize, 0};
  const std::size_t limit = kLimits[input.byte() % std::size(kLimits)];
  const std::size_t max_size = std::max(limit, kProxyLineSize);
  const std::string_view text = input.rest();
  const std::span<const std::byte> data = std::as_bytes(std::span(text.data(), text.size()));

  const Result whole = parse_copy(data, limit);
  // Piece by piece: waited for until it is found or refused, which it then stays.
  std::size_t bound = max_size;
  std::size_t step = 1;
  for (std::size_t given = 0; given <= std::min(data.size(), max_size); given += step) {
    const Result part = parse_copy(data.first(given), limit);
    if (part) {
      check(whole.has_value() && same(*part, *whole), "a header says the same whatever follows");
      check(part->size == given, "a header is found with its last byte");
      const ProxyHeader header = *parse_proxy_header(data, limit);
      check_form(header, data, max_size);
      check_rebuilt(header);
      return 0;
    }
    const NoProxyHeader none = part.error();
    check((none.missing > 0) == none.reason.empty(), "a refusal says why");
    if (none.missing == 0) {
      check(!whole && whole.error().missing == 0, "what is refused stays so");
      return 0;
    }
    check(given + none.missing <= bound, "what is missing never becomes more");
    bound = given + none.missing;
    // Behind the longest line it is known how much is missing: nearer and nearer, down to the last byte.
    if (given >= kProxyLineSize) step = (none.missing + 1) / 2;
  }
  check(!whole && whole.error().missing > 0, "a part is waited for");
  check(data.size() < max_size, "nothing is waited for over the limit");
  return 0;
}
