// The handshake of a connection: two messages, each with a payload of the caller's (the transport parameters), after which
// both sides have the secrets of both directions. With a pre-shared key it is Noise_NNpsk0_25519_ChaChaPoly_SHA256
// (noise.h); without, the same steps with nothing secret, and checksums against corruption.
//
//   message = protection (1) || share || body || trailer                 overhead(): all but the payload
//             protection 1, with a key:    share 32 = X25519 ephemeral public key; body sealed; trailer 16 = its tag:
//                                          share, body and trailer are the Noise message
//             protection 0, without:       share 8 = random nonce; body in the clear; trailer 4 = CRC32C, big endian, over
//                                          prologue || message 1 [|| message 2], without their trailers
//   body    = cipher (1) || payload (0 to 512)
//   cipher    message 1: what the initiator prefers; message 2: what both use. 0 CRC32C (with protection 0, and only there),
//             1 AES-256-GCM, 2 ChaCha20-Poly1305. A protected side has both of the latter. The responder chooses AES-256-GCM
//             where both prefer it (both have instructions for it), and ChaCha20-Poly1305 for all else, as for numbers to come.
//
// The prologue is not sent: both sides have to come to the same bytes (wire version, connection ids), or the message is
// refused. Lengths come from the packet around it.
//
// Sans-I/O, no allocation worth the name (the library's contexts); one owner, any thread. It refuses messages that are
// short or long, forged, of a side that has a key where this one has none, and the reverse. What a
// forger can send leaves the handshake as it was; so an initiator waits on for a genuine one, and takes a refusal for the reason only once nothing
// better came: until message 2 opens, anybody can send anything.
#pragma once

#include "rudp/noise.h"

#include <algorithm>
#include <expected>
#include <optional>
#include <string_view>

namespace portolan::rudp {

enum class Protection : std::uint8_t { none = 0, noise = 1 };

enum class Cipher : std::uint8_t { crc32c = 0, aes_256_gcm = 1, chacha20_poly1305 = 2 };
std::string_view to_string(Cipher cipher) noexcept;
// Of this machine, for protected connections.
Cipher preferred_cipher() noexcept;

// Its numbers go over the wire, in the packet that refuses a connection.
enum class HandshakeError : std::uint8_t {
  malformed = 1,           // too short or too long, or a value in it that is none
  peer_has_no_key = 2,     // and we have
  peer_has_key = 3,        // and we have none
  wrong_key = 4,           // or altered on its way: nobody can tell
  corrupt = 5,             // without a key: the checksum is wrong
  unknown_protection = 6,  // of a version to come
  unavailable = 7,         // libcrypto refuses
  out_of_turn = 8,         // a call that was not due, or a payload over kMaxPayload
};
// A sentence for people: "the peer has no key; give it the same --key".
std::string_view to_string(HandshakeError error) noexcept;
// What the other side says of it: peer_has_no_key is its peer_has_key.
HandshakeError as_peer_sees(HandshakeError error) noexcept;

// Bytes with a bound, in place.
template <std::size_t kMost>
class BoundedBytes {
 public:
  BoundedBytes() noexcept = default;
  explicit BoundedBytes(std::size_t size) noexcept : size_(std::min(size, kMost)) {}
  Bytes view() const noexcept { return Bytes(bytes_).first(size_); }
  MutableBytes view() noexcept { return MutableBytes(bytes_).first(size_); }

 private:
  std::size_t size_ = 0;
  std::array<std::byte, kMost> bytes_{};
};

// What a connection's packets are protected with (protection.h). Of Cipher::crc32c they are no secrets.
struct TrafficSecrets {
  Cipher cipher = Cipher::crc32c;
  Secret outgoing;
  Secret incoming;
};

class Handshake {
 public:
  static constexpr std::size_t kMaxPayload = 512;
  static constexpr std::size_t kMaxOverhead = 1 + Noise::kOverhead + 1;
  using Payload = BoundedBytes<kMaxPayload>;
  using Message = BoundedBytes<kMaxPayload + kMaxOverhead>;
  template <typename Value>
  using Result = std::expected<Value, HandshakeError>;

  // No key: unprotected. `ephemeral` is for tests that need the same bytes twice; otherwise leave it random.
  static Handshake initiator(const std::optional<Secret>& key, Bytes prologue,
                             const Secret& ephemeral = Secret::random()) noexcept;
  static Handshake responder(const std::optional<Secret>& key, Bytes prologue,
                             const Secret& ephemeral = Secret::random()) noexcept;

  // The initiator's first, then the responder's two, then the initiator's second, each once. What is lost is sent again as
  // the same bytes, never written anew.
  Result<Message> write_message1(Bytes payload) noexcept;
  Result<Payload> read_message1(Bytes message) noexcept;
  Result<Message> write_message2(Bytes payload) noexcept;
  Result<Payload> read_message2(Bytes message) noexcept;

  // After message 2. The responder has not yet proof that its peer is there: that is the first packet that opens.
  Result<TrafficSecrets> split() const noexcept;

  // Of each message, over its payload: 50 with a key, 14 without.
  std::size_t overhead() const noexcept;
  bool is_protected() const noexcept { return noise_.has_value(); }

 private:
  Handshake(Noise::Role role, const std::optional<Secret>& key, Bytes prologue, const Secret& ephemeral) noexcept;
  Result<Message> write(Bytes payload, Cipher cipher) noexcept;
  Result<Payload> read(Bytes message) noexcept;
  Result<void> admit(Bytes message) const noexcept;
  Result<Cipher> chosen(Cipher said) const noexcept;
  bool due(Noise::Role role, unsigned messages) const noexcept { return role_ == role && messages_ == messages; }

  Noise::Role role_;
  std::uint8_t messages_ = 0;  // done, of two
  Cipher cipher_ = Cipher::crc32c;
  std::optional<Noise> noise_;        // with a key
  std::array<std::byte, 8> nonce_{};  // without
  std::uint32_t transcript_ = 0;      // CRC32C of the prologue and the messages so far, without their trailers
};

}  // namespace portolan::rudp
