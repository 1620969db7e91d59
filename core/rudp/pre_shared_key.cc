#include "pre_shared_key.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <optional>

namespace portolan::rudp {

namespace {

constexpr std::string_view kSalt = "portolan rudp psk v1";
constexpr std::uint64_t kCost = 32768;
constexpr std::uint64_t kBlock = 8;
constexpr std::uint64_t kMemory = 64ULL * 1024 * 1024;  // at most; it takes half of that

std::optional<unsigned> value_of(char character, unsigned base) noexcept {
  constexpr std::string_view kBase64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  constexpr std::string_view kHex = "0123456789abcdef0123456789ABCDEF";
  const std::size_t at = (base == 64 ? kBase64 : kHex).find(character);
  if (at == std::string_view::npos) return std::nullopt;
  return static_cast<unsigned>(at % base);
}

// The digits of 32 bytes, `bits` each; bits over the last byte have to be zero, so that a key is written in one way.
std::optional<Secret> from_digits(std::string_view digits, unsigned bits) noexcept {
  if (digits.size() != (Secret::kSize * 8 + bits - 1) / bits) return std::nullopt;
  Secret key;
  std::size_t at = 0;
  unsigned held = 0;
  unsigned waiting = 0;
  for (const char digit : digits) {
    const auto value = value_of(digit, 1U << bits);
    if (!value) return std::nullopt;
    held = (held << bits | *value) & 0xffffU;
    waiting += bits;
    if (waiting < 8) continue;
    waiting -= 8;
    key.bytes()[at++] = static_cast<std::byte>(held >> waiting);
  }
  if ((held & ((1U << waiting) - 1U)) != 0) return std::nullopt;
  return key;
}

}  // namespace

std::expected<Secret, std::string> key_of(std::string_view text) {
  if (text.empty()) return std::unexpected("the key is empty");
  if (text.size() > kMaxKeyText) return std::unexpected(fmt::format("the key has over {} characters", kMaxKeyText));
  if (text.starts_with("hex:")) {
    if (const auto key = from_digits(text.substr(4), 4)) return *key;
    return std::unexpected("the key is not 64 hexadecimal digits after \"hex:\"");
  }
  if (text.starts_with("base64:")) {
    const std::string_view digits = text.substr(7);
    if (digits.ends_with('=')) {
      if (const auto key = from_digits(digits.substr(0, digits.size() - 1), 6)) return *key;
    }
    return std::unexpected("the key is not 32 bytes in base64 (44 characters, the last \"=\") after \"base64:\"");
  }
  Secret key;
  if (EVP_PBE_scrypt(text.data(), text.size(), reinterpret_cast<const unsigned char*>(kSalt.data()), kSalt.size(),
                     kCost, kBlock, 1, kMemory, reinterpret_cast<unsigned char*>(key.bytes().data()),
                     Secret::kSize) != 1) {
    return std::unexpected("the key cannot be made of the passphrase: there are no 32 MiB of memory for it");
  }
  return key;
}

}  // namespace portolan::rudp
