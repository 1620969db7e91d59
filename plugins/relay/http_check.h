// The request of an HTTP check, and the head of the answer as far as a check needs it (RFC 9112 sections 2.2, 4, 5, 6.3
// and 9.3). Pure functions.
//
// Refused are what is not HTTP/1.x, lines that do not end in CRLF, folded lines, names that are no token, control
// characters, contradicting lengths, and a head over kMaxHttpHead: as soon as it can be seen.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>

namespace portolan::relay {

inline constexpr std::size_t kMaxHttpHead = 16 * 1024;

struct HttpHead {
  std::uint16_t status = 0;
  std::size_t size = 0;               // in bytes, with the empty line at its end
  std::optional<std::uint64_t> body;  // bytes that follow; none: until the connection ends, or in a coding
  bool keeps_alive = false;           // another request may come after the body
};
struct NoHttpHead {
  std::string_view refused;  // in a few words; empty: it has not come whole yet
};

std::expected<HttpHead, NoHttpHead> parse_http_head(std::string_view text) noexcept;

std::string http_request(std::string_view path, std::string_view host);

}  // namespace portolan::relay
