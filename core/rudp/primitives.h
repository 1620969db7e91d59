// The cryptographic primitives of rudp, each a thin cover of OpenSSL's libcrypto: nothing here is of our own making, and no
// other file of rudp knows the library.
//
// Values and their owners' thread. What returns bool is false where the library refuses (an algorithm that a FIPS
// configuration switches off, memory exhausted): then `out` is of no use, and the connection cannot be.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>

struct evp_cipher_ctx_st;
struct evp_mac_ctx_st;
struct evp_pkey_st;

namespace portolan::rudp {

using Bytes = std::span<const std::byte>;
using MutableBytes = std::span<std::byte>;

inline void put_big_endian(std::uint64_t value, MutableBytes out) noexcept {
  for (std::size_t i = out.size(); i-- > 0; value >>= 8U) out[i] = static_cast<std::byte>(value & 0xffU);
}

// 32 bytes that nobody else may know: wiped when they go. Compared in constant time.
class Secret {
 public:
  static constexpr std::size_t kSize = 32;
  Secret() noexcept = default;
  explicit Secret(std::span<const std::byte, kSize> bytes) noexcept;
  Secret(const Secret&) noexcept = default;
  Secret& operator=(const Secret&) noexcept = default;
  ~Secret();
  static Secret random() noexcept;

  std::span<const std::byte, kSize> bytes() const noexcept { return bytes_; }
  std::span<std::byte, kSize> bytes() noexcept { return bytes_; }
  friend bool operator==(const Secret& a, const Secret& b) noexcept;

 private:
  std::array<std::byte, kSize> bytes_{};
};

bool equal_in_constant_time(Bytes a, Bytes b) noexcept;

// Of the parts one behind the other.
[[nodiscard]] bool sha256(std::initializer_list<Bytes> parts, Secret& out) noexcept;
[[nodiscard]] bool hmac_sha256(const Secret& key, std::initializer_list<Bytes> parts, Secret& out) noexcept;

// A key pair of X25519 (RFC 7748). To make one costs as much as to agree: a multiplication on the curve.
class KeyPair {
 public:
  explicit KeyPair(const Secret& private_key) noexcept;
  [[nodiscard]] bool public_key(std::span<std::byte, 32> out) const noexcept;
  // False as well for a peer's point of small order, with which the result would be zero, known to all.
  [[nodiscard]] bool agree(std::span<const std::byte, 32> peer_public, Secret& out) const noexcept;

 private:
  struct Free {
    void operator()(evp_pkey_st* key) const noexcept;
  };
  std::unique_ptr<evp_pkey_st, Free> key_;
};

// HMAC-SHA256 (RFC 2104) under one key, for many messages: no allocation after it is made.
class HmacKey {
 public:
  explicit HmacKey(const Secret& key) noexcept;
  [[nodiscard]] bool sign(std::initializer_list<Bytes> parts, std::span<std::byte, 32> out) noexcept;

 private:
  struct Free {
    void operator()(evp_mac_ctx_st* context) const noexcept;
  };
  std::unique_ptr<evp_mac_ctx_st, Free> context_;
};

enum class Aead : std::uint8_t { aes_256_gcm, chacha20_poly1305 };
inline constexpr std::size_t kTagSize = 16;
inline constexpr std::size_t kNonceSize = 12;

// One AEAD key (RFC 5116; RFC 8439, NIST SP 800-38D) for one direction: no allocation after it is made.
class AeadKey {
 public:
  enum class Use : std::uint8_t { seal, open };
  AeadKey(Aead algorithm, Use use, const Secret& key) noexcept;
  AeadKey(AeadKey&&) noexcept = default;
  AeadKey& operator=(AeadKey&&) noexcept = default;

  // In place. Never twice with one nonce: that gives away the texts and, with AES-GCM, the key that authenticates.
  [[nodiscard]] bool seal(std::span<const std::byte, kNonceSize> nonce, Bytes associated, MutableBytes text,
                          std::span<std::byte, kTagSize> tag) noexcept;
  // False: forged, and what is then in `text` means nothing.
  [[nodiscard]] bool open(std::span<const std::byte, kNonceSize> nonce, Bytes associated, MutableBytes text,
                          std::span<const std::byte, kTagSize> tag) noexcept;

 private:
  bool run(std::span<const std::byte, kNonceSize> nonce, Bytes associated, MutableBytes text) noexcept;
  struct Free {
    void operator()(evp_cipher_ctx_st* context) const noexcept;
  };
  std::unique_ptr<evp_cipher_ctx_st, Free> context_;  // none: the library refused
};

// Whether this processor has instructions for AES and for GCM's multiplication; without, AES is slow, and as written for
// speed not safe from an observer of the cache.
bool has_aes_instructions() noexcept;

}  // namespace portolan::rudp
