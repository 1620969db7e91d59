#include "cookie.h"

#include <algorithm>
#include <string_view>

namespace portolan::rudp {

namespace {

constexpr std::string_view kLabel = "rudp1 cookie";
constexpr std::size_t kStampSize = 8;
constexpr std::size_t kMacSize = kCookieSize - kStampSize;

std::uint64_t get_big_endian(Bytes in) noexcept {
  std::uint64_t value = 0;
  for (const std::byte byte : in) value = value << 8U | static_cast<std::uint64_t>(byte);
  return value;
}

}  // namespace

std::string_view to_string(CookieVerdict verdict) noexcept {
  switch (verdict) {
    case CookieVerdict::good: return "good";
    case CookieVerdict::malformed: return "malformed";
    case CookieVerdict::expired: return "expired";
    case CookieVerdict::wrong: return "wrong";
  }
  return "unknown";
}

CookieMaker::CookieMaker(Duration now, const Settings& settings) noexcept
    : settings_(settings), current_(new_generation(0, now)) {
  settings_.rotate_every = std::max(settings_.rotate_every, settings_.lifetime);
}

CookieMaker::Generation CookieMaker::new_generation(std::uint8_t number, Duration now) noexcept {
  return Generation{.number = number, .made = now, .key = HmacKey(Secret::random())};
}

void CookieMaker::rotate(Duration now) noexcept {
  const Duration age = now - current_.made;
  if (age < settings_.rotate_every) return;
  const auto number = static_cast<std::uint8_t>(current_.number + 1);
  previous_.reset();
  // Unused for so long that what it signed has expired: gone as well.
  if (age < 2 * settings_.rotate_every) previous_ = std::move(current_);
  current_ = new_generation(number, now);
}

bool CookieMaker::sign(Generation& generation, Bytes stamp, const Claim& claim,
                       std::span<std::byte, kMacSize> mac) noexcept {
  constexpr std::size_t kMostId = 255;
  if (claim.peer.empty() || claim.initiator_id.size() > kMostId || claim.responder_id.size() > kMostId) return false;
  const std::byte family{static_cast<std::uint8_t>(claim.peer.is_v4() ? 4 : 6)};
  std::array<std::byte, 2> port;
  put_big_endian(claim.peer.port(), port);
  const std::byte initiator_size{static_cast<std::uint8_t>(claim.initiator_id.size())};
  const std::byte responder_size{static_cast<std::uint8_t>(claim.responder_id.size())};
  std::array<std::byte, 32> whole;
  if (!generation.key.sign(
          {std::as_bytes(std::span(kLabel)), stamp, Bytes(&family, 1), std::as_bytes(claim.peer.bytes()), port,
           Bytes(&initiator_size, 1), claim.initiator_id, Bytes(&responder_size, 1), claim.responder_id},
          whole)) {
    return false;
  }
  std::ranges::copy(Bytes(whole).first(mac.size()), mac.begin());
  return true;
}

Cookie CookieMaker::make(Duration now, const Claim& claim) noexcept {
  rotate(now);
  Cookie cookie{};
  const MutableBytes stamp = MutableBytes(cookie).first(kStampSize);
  const auto issued = std::chrono::duration_cast<std::chrono::milliseconds>(now - current_.made).count();
  put_big_endian(static_cast<std::uint64_t>(issued), stamp);
  stamp[0] = std::byte{current_.number};
  // Refused: so will verify be, whatever the mac.
  (void)sign(current_, stamp, claim, MutableBytes(cookie).last<kMacSize>());
  return cookie;
}

CookieVerdict CookieMaker::verify(Duration now, const Claim& claim, Bytes cookie) noexcept {
  rotate(now);
  if (cookie.size() != kCookieSize) return CookieVerdict::malformed;
  const Bytes stamp = cookie.first(kStampSize);
  const std::uint8_t number = static_cast<std::uint8_t>(stamp[0]);
  Generation* generation = nullptr;
  if (number == current_.number) generation = &current_;
  if (previous_ && number == previous_->number) generation = &*previous_;
  if (!generation) return CookieVerdict::expired;

  std::array<std::byte, kMacSize> mac;
  if (!sign(*generation, stamp, claim, mac) || !equal_in_constant_time(mac, cookie.last(kMacSize))) {
    return CookieVerdict::wrong;
  }
  const std::chrono::milliseconds issued(get_big_endian(stamp.subspan(1)));
  if (now - (generation->made + issued) > settings_.lifetime) return CookieVerdict::expired;
  return CookieVerdict::good;
}

}  // namespace portolan::rudp
