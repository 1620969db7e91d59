#include "net/proxy_protocol.h"

#include <cstring>
#include <string>
#include <vector>

#include "support/cmocka.h"

using namespace portolan;
using namespace std::literals;

namespace {

using Result = std::expected<ProxyHeader, NoProxyHeader>;

const std::string kSignature = "\r\n\r\n\0\r\nQUIT\n"s;

// What was parsed: an allocation of exactly its size, so that AddressSanitizer sees what reads past it.
struct Parsed {
  std::vector<std::byte> bytes;
  Result result;
};
Parsed parse(std::string_view text, std::size_t max_size = kProxyHeaderSize) {
  const auto* data = reinterpret_cast<const std::byte*>(text.data());
  std::vector<std::byte> bytes(data, data + text.size());
  const Result result = parse_proxy_header(bytes, max_size);
  return {std::move(bytes), result};
}

std::string printable(std::string_view bytes) {
  std::string result;
  for (const char c : bytes) {
    char hex[8];
    snprintf(hex, sizeof hex, "\\x%02x", static_cast<unsigned char>(c));
    result += c >= ' ' && c <= '~' ? std::string(1, c) : std::string(hex);
  }
  return result;
}

ProxyHeader taken(const Parsed& parsed) {
  if (!parsed.result) {
    const std::string_view text(reinterpret_cast<const char*>(parsed.bytes.data()), parsed.bytes.size());
    fail_msg("%s: missing %zu, %s", printable(text).c_str(), parsed.result.error().missing,
             std::string(parsed.result.error().reason).c_str());
  }
  return *parsed.result;
}

void expect_refused(std::string_view text, const char* reason, std::size_t max_size = kProxyHeaderSize) {
  const auto [bytes, result] = parse(text, max_size);
  if (result) fail_msg("%s was taken", printable(text).c_str());
  if (result.error().missing > 0) fail_msg("%s is waited for", printable(text).c_str());
  const std::string said(result.error().reason);
  if (!strstr(said.c_str(), reason)) fail_msg("%s: %s", printable(text).c_str(), said.c_str());
}

std::string tlv(std::uint8_t type, std::string_view value) {
  return std::string{static_cast<char>(type), static_cast<char>(value.size() >> 8), static_cast<char>(value.size())} +
         std::string(value);
}

std::string binary(std::uint8_t version_and_command, std::uint8_t family, std::string_view block) {
  return kSignature +
         std::string{static_cast<char>(version_and_command), static_cast<char>(family),
                     static_cast<char>(block.size() >> 8), static_cast<char>(block.size())} +
         std::string(block);
}

const std::string kBlock4 = "\xc0\xa8\0\x01\xc0\xa8\0\x0b\xdc\x04\x01\xbb"s;  // the specification's example, in binary
const std::string kBlock6 =
    "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02"s
    "\x04\xd2\0\x50"s;
const std::string kBlockUnix = "/run/a.sock"s + std::string(97, '\0') + "/run/b.sock"s + std::string(97, '\0');

// What HAProxy 2.6 sent: with proxy-v2-options crc32c,unique-id, and relaying TCP6 from 2001:db8::1 port 1 to
// 192.0.2.1 port 2 with crc32c.
const std::string kHaproxy4 = kSignature +
                              "\x21\x11\0\x28\x7f\0\0\x01\x7f\0\0\x01\xb6\xec\xc3\x2b"s
                              "\x03\0\x04\xab\x4a\xbf\xb9\x05\0\x12portolan-127.0.0.1"s;
const std::string kHaproxy6 = kSignature +
                              "\x21\x21\0\x2b\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"s
                              "\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\0\x02\x01\0\x01\0\x02\x03\0\x04\xcc\xc2\xed\xc3"s;

const std::string kFull6 = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";

std::vector<std::string> valid_headers() {
  return {
      "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n",
      "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
      "PROXY TCP6 " + kFull6 + " " + kFull6 + " 65535 65535\r\n",
      "PROXY TCP6 2001:DB8::1 ::ffff:192.0.2.1 0 1\r\n",
      "PROXY UNKNOWN\r\n",
      "PROXY UNKNOWN " + kFull6 + " " + kFull6 + " 65535 65535\r\n",
      "PROXY UNKNOWN \0  anything"s + "\r\n",
      binary(0x21, 0x11, kBlock4),
      binary(0x21, 0x12, kBlock4 + tlv(proxy_tlv::kNoop, "")),
      binary(0x21, 0x21, kBlock6 + tlv(proxy_tlv::kAuthority, "example.org")),
      binary(0x21, 0x31, kBlockUnix),
      binary(0x20, 0x00, ""),
      binary(0x20, 0x00, std::string(300, 'x')),
      binary(0x21, 0x00, "x"),
      kHaproxy4,
      kHaproxy6,
  };
}

void the_examples_of_the_specification_are_read(void**) {
  const std::string request = "GET / HTTP/1.1\r\nHost: 192.168.0.11\r\n\r\n";
  const std::string line = "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n";
  struct {
    std::string bytes;
    std::uint8_t version;
    ProxyFamily family;
    const char* source;
    const char* destination;
  } const cases[] = {
      {line, 1, ProxyFamily::tcp4, "192.168.0.1:56324", "192.168.0.11:443"},
      {"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", 1, ProxyFamily::tcp4, "255.255.255.255:65535",
       "255.255.255.255:65535"},
      {"PROXY TCP6 2001:DB8::1 ::ffff:192.0.2.1 0 1\r\n", 1, ProxyFamily::tcp6, "[2001:db8::1]:0", "192.0.2.1:1"},
      {"PROXY UNKNOWN\r\n", 1, ProxyFamily::unspecified, "", ""},
      {"PROXY UNKNOWN " + kFull6 + " " + kFull6 + " 65535 65535\r\n", 1, ProxyFamily::unspecified, "", ""},
      {binary(0x21, 0x11, kBlock4), 2, ProxyFamily::tcp4, "192.168.0.1:56324", "192.168.0.11:443"},
      {binary(0x21, 0x12, kBlock4), 2, ProxyFamily::udp4, "192.168.0.1:56324", "192.168.0.11:443"},
      {binary(0x21, 0x21, kBlock6), 2, ProxyFamily::tcp6, "[2001:db8::1]:1234", "[2001:db8::2]:80"},
      {binary(0x21, 0x22, kBlock6), 2, ProxyFamily::udp6, "[2001:db8::1]:1234", "[2001:db8::2]:80"},
      {binary(0x21, 0x31, kBlockUnix), 2, ProxyFamily::unix_stream, "", ""},
      {binary(0x21, 0x32, kBlockUnix), 2, ProxyFamily::unix_datagram, "", ""},
      {kHaproxy4, 2, ProxyFamily::tcp4, "127.0.0.1:46828", "127.0.0.1:49963"},
      {kHaproxy6, 2, ProxyFamily::tcp6, "[2001:db8::1]:1", "192.0.2.1:2"},
  };
  for (const auto& test : cases) {
    const Parsed parsed = parse(test.bytes + request);
    const ProxyHeader header = taken(parsed);
    assert_int_equal(header.version, test.version);
    assert_true(header.command == ProxyCommand::proxy);
    assert_true(header.family == test.family);
    assert_string_equal(header.source.to_string().c_str(), test.source);
    assert_string_equal(header.destination.to_string().c_str(), test.destination);
    assert_int_equal(header.size, test.bytes.size());
  }
}

void a_part_of_a_header_is_waited_for(void**) {
  for (const std::string& whole : valid_headers()) {
    for (std::size_t size = 0; size < whole.size(); ++size) {
      const auto [bytes, result] = parse(whole.substr(0, size));
      if (result) fail_msg("%zu bytes of %s are taken", size, printable(whole).c_str());
      const auto [missing, reason] = result.error();
      if (missing == 0) fail_msg("%zu bytes of %s: %s", size, printable(whole).c_str(), std::string(reason).c_str());
      assert_true(missing >= whole.size() - size);
      const bool line = size > 0 && whole[0] == 'P';
      assert_true(size + missing <= (line ? kProxyLineSize : kProxyHeaderSize));
      if (!line && size >= 16) assert_int_equal(missing, whole.size() - size);
    }
    for (const char* behind : {"", "\r\n", "PROXY", "\0\0\0"}) {
      assert_int_equal(taken(parse(whole + behind)).size, whole.size());
    }
  }
}

void what_begins_otherwise_is_refused_at_its_first_wrong_byte(void**) {
  for (const std::string& start : {kSignature + "\x21"s, "PROXY "s, "PROXY TCP4 "s, "PROXY TCP6 "s, "PROXY UNKNOWN"s}) {
    for (std::size_t at = 0; at < start.size(); ++at) {
      for (unsigned value = 0; value < 256; ++value) {
        std::string bytes = start.substr(0, at) + static_cast<char>(value);
        bool right = bytes.back() == start[at];
        if (at == 0) right = bytes == "P" || bytes == "\r";
        if (at == 12 && start[0] == '\r') right = value == 0x20 || value == 0x21;
        if (bytes == "PROXY T" || bytes == "PROXY U" || bytes == "PROXY TCP4" || bytes == "PROXY TCP6") right = true;
        const auto [copy, result] = parse(bytes);
        assert_false(result.has_value());
        if ((result.error().missing > 0) != right) fail_msg("%s", printable(bytes).c_str());
      }
    }
  }
  expect_refused("GET / HTTP/1.1\r\n\r\n", "begins with something else");
  expect_refused("\x16\x03\x01", "begins with something else");
  expect_refused("\r\n\r\nGET", "begins with something else");
  expect_refused("PROXY UNKNOWNS", "none of TCP4");
}

void lines_that_are_not_exactly_so_are_refused(void**) {
  struct {
    std::string line;
    const char* reason;
  } const cases[] = {
      {"PROXY\r\n", "begins with something else"},
      {"PROXY \r\n", "none of TCP4"},
      {"PROXY UNKNOW\r\n", "none of TCP4"},
      {"PROXY TCP4\r\n", "none of TCP4"},
      {"PROXY  TCP4 1.2.3.4 1.2.3.5 1 2\r\n", "none of TCP4"},
      {"PROXY tcp4 1.2.3.4 1.2.3.5 1 2\r\n", "none of TCP4"},
      {"PROXY UDP4 1.2.3.4 1.2.3.5 1 2\r\n", "none of TCP4"},
      {"PROXY TCP4 \r\n", "port"},
      {"PROXY TCP4 1.2.3.4 1.2.3.5 1\r\n", "port"},
      {"PROXY TCP4  1.2.3.4 1.2.3.5 1 2\r\n", "port"},
      {"PROXY TCP4 1.2.3.4  1.2.3.5 1 2\r\n", "port"},
      {"PROXY TCP4 1.2.3.4 1.2.3.5  1 2\r\n", "port"},
      {"PROXY TCP4 1.2.3.4 1.2.3.5 1  2\r\n", "port"},
      {"PROXY TCP4 1.2.3.4 1.2.3.5 1 2 \r\n", "port"},
      {"PROXY TCP4 1.2.3.4 1.2.3.5 1 2 3\r\n", "port"},
      {"PROXY TCP4 1.2.3.4 1.2.3.5 1\t2\r\n", "port"},
      {"PROXY TCP4 1.2.3.4 1.2.3.5 1 2\0\r\n"s, "port"},
      {"PROXY TCP4 1.2.3.4 1.2.3.5 01 2\r\n", "port"},
      {"PROXY TCP4 1.2.3.4 1.2.3.5 1 00\r\n", "port"},
      {"PROXY TCP4 1.2.3.4 1.2.3.5 +1 2\r\n", "port"},
      {"PROXY TCP4 1.2.3.4 1.2.3.5 -1 2\r\n", "port"},
      {"PROXY TCP4 1.2.3.4 1.2.3.5 1 65536\r\n", "port"},
      {"PROXY TCP4 1.2.3.4 1.2.3.5 1 99999999999999999999\r\n", "port"},
      {"PROXY TCP4 1.2.3.4 1.2.3.5 0x1 2\r\n", "port"},
      {"PROXY TCP4 01.2.3.4 1.2.3.5 1 2\r\n", "address"},
      {"PROXY TCP4 1.2.3.04 1.2.3.5 1 2\r\n", "address"},
      {"PROXY TCP4 1.2.3 1.2.3.5 1 2\r\n", "address"},
      {"PROXY TCP4 1.2.3.4.5 1.2.3.5 1 2\r\n", "address"},
      {"PROXY TCP4 1.2.3.256 1.2.3.5 1 2\r\n", "address"},
      {"PROXY TCP4 1.2.3.4\0 1.2.3.5 1 2\r\n"s, "address"},
      {"PROXY TCP4 1.2.3.4:1 1.2.3.5 1 2\r\n", "address"},
      {"PROXY TCP4 ::1 ::1 1 2\r\n", "address"},
      {"PROXY TCP4 1.2.3.4 ::1 1 2\r\n", "address"},
      {"PROXY TCP4 localhost 1.2.3.4 1 2\r\n", "address"},
      {"PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n", "address"},
      {"PROXY TCP6 ::1 1.2.3.4 1 2\r\n", "address"},
      {"PROXY TCP6 ::1::2 ::1 1 2\r\n", "address"},
      {"PROXY TCP6 1:2:3:4:5:6:7 ::1 1 2\r\n", "address"},
      {"PROXY TCP6 12345::1 ::1 1 2\r\n", "address"},
      {"PROXY TCP6 [::1] ::1 1 2\r\n", "address"},
      {"PROXY TCP6 fe80::1%lo ::1 1 2\r\n", "address"},
      {"PROXY TCP6 " + std::string(70, '0') + "::1 ::1 1 2\r\n", "address"},
      {"PROXY TCP4 1.2.3.4 1.2.3.5 1 2\n", "CRLF"},
      {"PROXY TCP4 1.2.3.4 1.2.3.5 1 2\rGET", "CRLF"},
      {"PROXY TCP4 1.2.3.4 1.2.3.5 1 2\r\r\n", "CRLF"},
      {"PROXY UNKNOWN\n\r\n", "CRLF"},
      {"PROXY UNKNOWN a\rb\r\n", "CRLF"},
  };
  for (const auto& test : cases) expect_refused(test.line, test.reason);

  // 107 bytes with the CRLF; one more is refused when its CR could only be the 107th.
  const std::string longest = "PROXY UNKNOWN " + std::string(kProxyLineSize - 16, 'x');
  assert_int_equal(taken(parse(longest + "\r\n")).size, kProxyLineSize);
  assert_int_equal(parse(longest).result.error().missing, 2);
  assert_int_equal(parse(longest + "\r").result.error().missing, 1);
  for (const char* more : {"x", "x\r", "x\r\n", "\n", "x GET / HTTP/1.1\r\n"}) expect_refused(longest + more, "PROXY");
  expect_refused(longest + "x", "107 bytes");
  expect_refused("PROXY UNKNOWN " + std::string(1U << 20U, 'x') + "\r\n", "107 bytes");
  // The limit of version 2 is not the line's.
  assert_int_equal(taken(parse(longest + "\r\n", 0)).size, kProxyLineSize);
}

void commands_and_families_are_taken_as_specified(void**) {
  for (unsigned command = 0; command < 256; ++command) {
    for (unsigned family = 0; family < 256; ++family) {
      // Long enough for every family, and nothing that could be a TLV.
      const std::string bytes =
          binary(static_cast<std::uint8_t>(command), static_cast<std::uint8_t>(family), std::string(216, '\xff'));
      const Parsed parsed = parse(bytes);
      const bool unspecified = (family >> 4U) == 0 || (family & 15U) == 0;
      if (command == 0x20 || (command == 0x21 && family < 0x40 && (family & 15U) < 3 && unspecified)) {
        // Addresses, and whatever else there is, are ignored.
        const ProxyHeader header = taken(parsed);
        assert_true(header.command == (command == 0x20 ? ProxyCommand::local : ProxyCommand::proxy));
        assert_true(header.family == ProxyFamily::unspecified);
        assert_true(header.source.empty() && header.destination.empty() && header.tlvs.bytes().empty());
        assert_int_equal(header.size, bytes.size());
      } else if (command != 0x21 || family > 0x3f || (family & 15U) > 2) {
        expect_refused(bytes, "PROXY");
        // And not only when all of it is there.
        expect_refused(bytes.substr(0, command != 0x21 ? 13 : 14), "PROXY");
      } else if (family >= 0x30) {
        assert_int_equal(taken(parsed).size, bytes.size());
        assert_true(static_cast<unsigned>(taken(parsed).family) == family);
      } else {
        expect_refused(bytes, "within a TLV");
      }
    }
  }
}

void lengths_are_held_to_what_they_contain(void**) {
  struct {
    std::uint8_t family;
    std::size_t size;
  } const families[] = {{0x11, 12}, {0x12, 12}, {0x21, 36}, {0x22, 36}, {0x31, 216}, {0x32, 216}};
  for (const auto& [family, size] : families) {
    for (std::size_t length = 0; length < size; ++length) {
      // Refused with the 16th byte: its addresses are not waited for.
      expect_refused(binary(0x21, family, std::string(length, '\0')).substr(0, 16), "too short for its addresses");
    }
    assert_int_equal(taken(parse(binary(0x21, family, std::string(size, '\0')))).size, 16 + size);
  }

  for (const std::size_t max_size : {kProxyLineSize, kProxyHeaderSize, kMaxProxyHeaderSize}) {
    const std::string block = kBlock4 + tlv(proxy_tlv::kNoop, std::string(max_size - 16 - 12 - 3, 'x'));
    const std::string whole = binary(0x21, 0x11, block);
    assert_int_equal(taken(parse(whole, max_size)).size, max_size);
    expect_refused(binary(0x21, 0x11, block + "x").substr(0, 16), "longer than is taken", max_size);
    expect_refused(binary(0x20, 0x00, block + "x").substr(0, 16), "longer than is taken", max_size);
    assert_int_equal(parse(whole.substr(0, 15), max_size).result.error().missing, max_size - 15);
  }
  expect_refused(kSignature + "\x21\x11\xff\xff", "longer than is taken");
  expect_refused(kSignature + "\x20\0\xff\xff"s, "longer than is taken", kMaxProxyHeaderSize);
}

void tlvs_are_found_by_their_type(void**) {
  const std::string ssl = "\x01\0\0\0\0"s + tlv(0x21, "TLSv1.3") + tlv(0x22, "example.com");
  const std::string tlvs =
      tlv(proxy_tlv::kAlpn, "h2") + tlv(proxy_tlv::kNoop, "") + tlv(proxy_tlv::kAuthority, "example.org") +
      tlv(proxy_tlv::kUniqueId, std::string(128, 'u')) + tlv(proxy_tlv::kSsl, ssl) + tlv(proxy_tlv::kNetns, "blue") +
      tlv(0xea, "\x01vpce") + tlv(proxy_tlv::kAuthority, "second.example.org");
  for (const std::string& whole : {binary(0x21, 0x11, kBlock4 + tlvs), binary(0x21, 0x21, kBlock6 + tlvs),
                                   binary(0x21, 0x31, kBlockUnix + tlvs)}) {
    const Parsed parsed = parse(whole, kMaxProxyHeaderSize);
    const ProxyHeader header = taken(parsed);
    assert_true(header.tlvs.bytes() == tlvs);
    assert_true(header.tlvs.find(proxy_tlv::kAlpn) == "h2");
    assert_true(header.tlvs.find(proxy_tlv::kNoop) == "");
    assert_true(header.tlvs.find(proxy_tlv::kAuthority) == "example.org");
    assert_int_equal(header.tlvs.find(proxy_tlv::kUniqueId)->size(), 128);
    assert_true(header.tlvs.find(proxy_tlv::kNetns) == "blue");
    assert_true(header.tlvs.find(0xea) == "\x01vpce");
    assert_false(header.tlvs.find(proxy_tlv::kCrc32c).has_value());
    std::string again;
    for (const auto [type, value] : header.tlvs) again += tlv(type, value);
    assert_true(again == tlvs);
    // What is nested is the caller's to read.
    const std::string_view raw = header.tlvs.find(proxy_tlv::kSsl).value();
    assert_true(raw == ssl);
    const auto nested = ProxyTlvs::read(raw.substr(5));
    assert_true(nested.has_value() && nested->find(0x22) == "example.com");
  }
  assert_false(ProxyTlvs().find(0).has_value());
}

void tlvs_that_are_cut_off_are_refused(void**) {
  const std::string good = tlv(proxy_tlv::kAlpn, "h2");
  const std::string cut[] = {
      "\x04",
      "\x04\0"s,
      "\x04\0\x01"s,
      "\x04\xff\xff"s,
      good + "\0"s,
      good + "\x04\0"s,
      good + "\x04\0\x02x"s,
      "\x20\0\x06\x01\0\0\0\0"s,
      good + "\x03\0\x04xxx"s,
  };
  for (const std::string& tlvs : cut) {
    expect_refused(binary(0x21, 0x11, kBlock4 + tlvs), "within a TLV");
    expect_refused(binary(0x21, 0x31, kBlockUnix + tlvs), "within a TLV");
    // The bytes behind the header are not the TLV's rest.
    expect_refused(binary(0x21, 0x11, kBlock4 + tlvs) + std::string(70000, 'x'), "within a TLV");
  }
  // A length that lies inside of kSsl harms nobody who does not believe it.
  const std::string ssl = "\x01\0\0\0\0\x21\xff\xffTLS"s;
  const Parsed parsed = parse(binary(0x21, 0x11, kBlock4 + tlv(proxy_tlv::kSsl, ssl)));
  const auto raw = taken(parsed).tlvs.find(proxy_tlv::kSsl);
  assert_true(raw == ssl);
  assert_false(ProxyTlvs::read(raw->substr(5)).has_value());

  assert_true(parse(binary(0x21, 0x11, kBlock4 + tlv(proxy_tlv::kUniqueId, std::string(128, 'u')))).result.has_value());
  expect_refused(binary(0x21, 0x11, kBlock4 + tlv(proxy_tlv::kUniqueId, std::string(129, 'u'))), "128 bytes");
}

void a_wrong_checksum_is_refused(void**) {
  for (const std::string& whole : {kHaproxy4, kHaproxy6}) {
    assert_true(parse(whole).result.has_value());
    for (std::size_t at = 16; at < whole.size(); ++at) {
      for (unsigned bit = 0; bit < 8; ++bit) {
        std::string flipped = whole;
        flipped[at] = static_cast<char>(flipped[at] ^ (1U << bit));
        const auto [bytes, result] = parse(flipped);
        // Without its type it is no checksum, and what its length makes the next TLV may be whole by chance.
        if (whole.substr(at).starts_with("\x03\0\x04"s)) continue;
        if (result || result.error().missing > 0) fail_msg("%s", printable(flipped).c_str());
      }
    }
  }
  for (const std::string& value : {""s, "\0\0\0"s, "\0\0\0\0"s, "\0\0\0\0\0"s}) {
    expect_refused(binary(0x21, 0x11, kBlock4 + tlv(proxy_tlv::kCrc32c, value)), "CRC32C");
  }
}

Address address(std::string_view text) {
  const auto result = Address::parse(text);
  if (!result) fail_msg("%s", result.error().c_str());
  return *result;
}

std::string text(const ProxyHeaderBytes& header) {
  return {reinterpret_cast<const char*>(header.view().data()), header.view().size()};
}

void what_is_written_is_what_others_write(void**) {
  const Address unix_peer;
  struct {
    Address source, destination;
    std::string line;
  } const lines[] = {
      {address("192.168.0.1:56324"), address("192.168.0.11:443"), "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n"},
      {address("255.255.255.255:65535"), address("255.255.255.255:65535"),
       "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n"},
      {address("[2001:db8::1]:1"), address("192.0.2.1:0"),
       "PROXY TCP6 2001:db8:0:0:0:0:0:1 0:0:0:0:0:ffff:c000:201 1 0\r\n"},
      {address("[" + kFull6 + "]:65535"), address("[" + kFull6 + "]:65535"),
       "PROXY TCP6 " + kFull6 + " " + kFull6 + " 65535 65535\r\n"},
      {unix_peer, address("192.0.2.1:80"), "PROXY UNKNOWN\r\n"},
      {address("192.0.2.1:80"), unix_peer, "PROXY UNKNOWN\r\n"},
  };
  for (const auto& test : lines) {
    const std::string line = text(make_proxy_line(test.source, test.destination));
    assert_string_equal(line.c_str(), test.line.c_str());
    const ProxyHeader header = taken(parse(line));
    if (header.family == ProxyFamily::unspecified) continue;
    assert_true(header.source == test.source && header.destination == test.destination);
  }

  const auto written = [](const ProxyHeaderContent& content) {
    const auto header = make_proxy_header(content);
    if (!header) fail_msg("%s", std::string(header.error()).c_str());
    return text(*header);
  };
  assert_true(written({.source = address("127.0.0.1:46828"),
                       .destination = address("127.0.0.1:49963"),
                       .unique_id = "portolan-127.0.0.1",
                       .crc32c = true}) == kHaproxy4);
  assert_true(written({.source = address("[2001:db8::1]:1"), .destination = address("192.0.2.1:2"), .crc32c = true}) ==
              kHaproxy6);
  assert_true(written({.source = address("192.168.0.1:56324"), .destination = address("192.168.0.11:443")}) ==
              binary(0x21, 0x11, kBlock4));
  assert_true(
      written({.source = address("192.168.0.1:56324"), .destination = address("192.168.0.11:443"), .datagram = true}) ==
      binary(0x21, 0x12, kBlock4));
  assert_true(written({.source = address("[2001:db8::1]:1234"), .destination = address("[2001:db8::2]:80")}) ==
              binary(0x21, 0x21, kBlock6));
  assert_true(written({.source = address("[2001:db8::1]:1234"),
                       .destination = address("[2001:db8::2]:80"),
                       .datagram = true}) == binary(0x21, 0x22, kBlock6));
  const std::string local = binary(0x20, 0x00, "");
  assert_true(written({}) == local);
  assert_true(written({.source = address("192.0.2.1:80"), .alpn = "h2", .crc32c = true}) == local);
  assert_true(written({.destination = address("192.0.2.1:80"), .authority = "example.org"}) == local);
}

void tlvs_that_are_written_are_read(void**) {
  const ProxyHeaderContent content{.source = address("192.0.2.1:80"),
                                   .destination = address("[2001:db8::1]:443"),
                                   .alpn = "http/1.1",
                                   .authority = "example.org",
                                   .unique_id = "\0\xff"sv,
                                   .crc32c = true};
  const auto built = make_proxy_header(content);
  assert_true(built.has_value());
  const Parsed parsed = parse(text(*built));
  const ProxyHeader header = taken(parsed);
  assert_true(header.source == content.source && header.destination == content.destination);
  assert_true(header.tlvs.find(proxy_tlv::kAlpn) == content.alpn);
  assert_true(header.tlvs.find(proxy_tlv::kAuthority) == content.authority);
  assert_true(header.tlvs.find(proxy_tlv::kUniqueId) == content.unique_id);
  assert_true(header.tlvs.find(proxy_tlv::kCrc32c).has_value());

  // Up to the 536 bytes, and not one more.
  const std::string id(kMaxUniqueIdSize, 'u');
  const std::string name(kProxyHeaderSize - 16 - 12 - 7 - 3 - id.size() - 3, 'n');
  ProxyHeaderContent full{.source = address("192.0.2.1:80"),
                          .destination = address("192.0.2.2:443"),
                          .authority = name,
                          .unique_id = id,
                          .crc32c = true};
  const auto longest = make_proxy_header(full);
  assert_true(longest.has_value() && longest->size == kProxyHeaderSize);
  assert_int_equal(taken(parse(text(*longest))).size, kProxyHeaderSize);
  const std::string longer = name + "n";
  full.authority = longer;
  assert_non_null(strstr(std::string(make_proxy_header(full).error()).c_str(), "536"));
  const std::string longer_id = id + "u";
  full.authority = "";
  full.unique_id = longer_id;
  assert_non_null(strstr(std::string(make_proxy_header(full).error()).c_str(), "128"));
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test(the_examples_of_the_specification_are_read),
      cmocka_unit_test(a_part_of_a_header_is_waited_for),
      cmocka_unit_test(what_begins_otherwise_is_refused_at_its_first_wrong_byte),
      cmocka_unit_test(lines_that_are_not_exactly_so_are_refused),
      cmocka_unit_test(commands_and_families_are_taken_as_specified),
      cmocka_unit_test(lengths_are_held_to_what_they_contain),
      cmocka_unit_test(tlvs_are_found_by_their_type),
      cmocka_unit_test(tlvs_that_are_cut_off_are_refused),
      cmocka_unit_test(a_wrong_checksum_is_refused),
      cmocka_unit_test(what_is_written_is_what_others_write),
      cmocka_unit_test(tlvs_that_are_written_are_read),
  };
  return cmocka_run_group_tests_name("core.net.proxy_protocol", tests, nullptr, nullptr);
}
