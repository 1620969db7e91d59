// Cookies: proof that a peer receives at the address that it sends from, without a byte of memory for it (RFC 9000 section
// 8.1.2). The responder gives one out, and the initiator sends it back with the same message 1.
//
//   cookie (24) = generation of the secret (1) || issued (7: milliseconds since the secret was made, big endian) || mac (16)
//   mac = first 16 bytes of HMAC-SHA256(secret, "rudp1 cookie" || generation || issued || family (1: 4 or 6) ||
//         address (4 or 16) || port (2, big endian) || size (1) || initiator's connection id || size (1) || responder's)
//
// Only its maker reads it: another implementation may make its own otherwise. The secret is new every `rotate_every`, and the
// one before is still accepted, so a cookie lives its whole `lifetime`; older ones are refused. One that comes twice within
// its lifetime is accepted twice: it proves an address, no more.
//
// Sans-I/O; each worker has one of its own. No allocation but in rotation. Connection ids: at most
// 255 bytes each; of longer ones no cookie is good.
#pragma once

#include "net/address.h"
#include "plugin/descriptor.h"
#include "rudp/primitives.h"

#include <optional>
#include <string_view>

namespace portolan::rudp {

inline constexpr std::size_t kCookieSize = 24;
using Cookie = std::array<std::byte, kCookieSize>;

enum class CookieVerdict : std::uint8_t {
  good,
  malformed,  // not kCookieSize bytes
  expired,    // over its lifetime, or of a secret that is gone
  wrong,      // not ours, or for another address or other connection ids
};
std::string_view to_string(CookieVerdict verdict) noexcept;

class CookieMaker {
 public:
  struct Settings {
    Duration lifetime = std::chrono::seconds(30);
    Duration rotate_every = std::chrono::minutes(5);  // at least the lifetime, which it is raised to
  };
  explicit CookieMaker(Duration now) noexcept : CookieMaker(now, Settings()) {}
  CookieMaker(Duration now, const Settings& settings) noexcept;

  // What it proves. An address of no family (a unix peer) proves nothing: make then gives a cookie that is wrong.
  struct Claim {
    const Address& peer;
    Bytes initiator_id;
    Bytes responder_id;
  };
  Cookie make(Duration now, const Claim& claim) noexcept;
  // In constant time as to the mac.
  CookieVerdict verify(Duration now, const Claim& claim, Bytes cookie) noexcept;

 private:
  struct Generation {
    std::uint8_t number;
    Duration made;
    HmacKey key;
  };
  static Generation new_generation(std::uint8_t number, Duration now) noexcept;
  void rotate(Duration now) noexcept;
  static bool sign(Generation& generation, Bytes stamp, const Claim& claim, std::span<std::byte, 16> mac) noexcept;

  Settings settings_;
  Generation current_;
  std::optional<Generation> previous_;
};

}  // namespace portolan::rudp
