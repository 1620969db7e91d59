// A ban: a client address that no service serves until a time. A value.
#pragma once

#include "net/address.h"

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>

namespace portolan {

struct Ban {
  Address client;             // Address::client(): IPv6 is its /64
  std::int64_t until_ms = 0;  // Unix time
  std::int64_t since_ms = 0;
  std::string reason;            // the word of the refusal that was one too many, or what a person wrote
  std::string service;           // that it was refused by; empty: banned by hand
  std::uint32_t violations = 0;  // that led to it

  bool by_hand() const noexcept { return service.empty(); }
};

// "192.0.2.7", "2001:db8::/64": as bans are shown and stored.
std::string ban_text(const Address& client);
// Such a text, or any address of such a client: "2001:db8::7". The error is a sentence.
std::expected<Address, std::string> parse_banned(std::string_view text);

}  // namespace portolan
