#include "handshake.h"

#include "base/crc32c.h"

#include <bit>
#include <cstring>

namespace portolan::rudp {

namespace {

constexpr std::size_t kNonce = 8;
constexpr std::size_t kChecksum = 4;

}  // namespace

std::string_view to_string(Cipher cipher) noexcept {
  switch (cipher) {
    case Cipher::crc32c: return "CRC32C (not protected)";
    case Cipher::aes_256_gcm: return "AES-256-GCM";
    case Cipher::chacha20_poly1305: return "ChaCha20-Poly1305";
  }
  return "unknown";
}

Cipher preferred_cipher() noexcept {
  static const Cipher preferred = has_aes_instructions() ? Cipher::aes_256_gcm : Cipher::chacha20_poly1305;
  return preferred;
}

std::string_view to_string(HandshakeError error) noexcept {
  switch (error) {
    case HandshakeError::malformed: return "the peer's handshake is malformed";
    case HandshakeError::peer_has_no_key: return "the peer has no key; give it the same --key";
    case HandshakeError::peer_has_key: return "the peer has a key and this side none; give the peer's --key here too";
    case HandshakeError::wrong_key: return "the peer has another key; give both sides the same --key";
    case HandshakeError::corrupt: return "the peer's handshake was damaged on its way";
    case HandshakeError::unknown_protection: return "the peer asks for a protection that this version does not know";
    case HandshakeError::unavailable: return "OpenSSL refuses X25519, ChaCha20-Poly1305 or SHA-256 on this machine";
    case HandshakeError::out_of_turn: return "a handshake message is not due, or its payload is too long";
  }
  return "the peer refused for a reason that this version does not know";
}

HandshakeError as_peer_sees(HandshakeError error) noexcept {
  if (error == HandshakeError::peer_has_no_key) return HandshakeError::peer_has_key;
  if (error == HandshakeError::peer_has_key) return HandshakeError::peer_has_no_key;
  return error;
}

Handshake Handshake::initiator(const std::optional<Secret>& key, Bytes prologue, const Secret& ephemeral) noexcept {
  return Handshake(Noise::Role::initiator, key, prologue, ephemeral);
}

Handshake Handshake::responder(const std::optional<Secret>& key, Bytes prologue, const Secret& ephemeral) noexcept {
  return Handshake(Noise::Role::responder, key, prologue, ephemeral);
}

Handshake::Handshake(Noise::Role role, const std::optional<Secret>& key, Bytes prologue,
                     const Secret& ephemeral) noexcept
    : role_(role), transcript_(crc32c(prologue)) {
  if (key) {
    noise_.emplace(role, *key, prologue, ephemeral);
  } else {
    std::ranges::copy(ephemeral.bytes().first<kNonce>(), nonce_.begin());
  }
}

std::size_t Handshake::overhead() const noexcept { return 1 + (noise_ ? Noise::kOverhead : kNonce + kChecksum) + 1; }

Handshake::Result<Handshake::Message> Handshake::write_message1(Bytes payload) noexcept {
  if (!due(Noise::Role::initiator, 0)) return std::unexpected(HandshakeError::out_of_turn);
  return write(payload, noise_ ? preferred_cipher() : Cipher::crc32c);
}

Handshake::Result<Handshake::Payload> Handshake::read_message1(Bytes message) noexcept {
  if (!due(Noise::Role::responder, 0)) return std::unexpected(HandshakeError::out_of_turn);
  return read(message);
}

Handshake::Result<Handshake::Message> Handshake::write_message2(Bytes payload) noexcept {
  if (!due(Noise::Role::responder, 1)) return std::unexpected(HandshakeError::out_of_turn);
  return write(payload, cipher_);
}

Handshake::Result<Handshake::Payload> Handshake::read_message2(Bytes message) noexcept {
  if (!due(Noise::Role::initiator, 1)) return std::unexpected(HandshakeError::out_of_turn);
  return read(message);
}

Handshake::Result<Handshake::Message> Handshake::write(Bytes payload, Cipher cipher) noexcept {
  if (payload.size() > kMaxPayload) return std::unexpected(HandshakeError::out_of_turn);
  Message message(payload.size() + overhead());
  const MutableBytes out = message.view();
  out[0] = static_cast<std::byte>(noise_ ? Protection::noise : Protection::none);
  if (noise_) {
    BoundedBytes<1 + kMaxPayload> body(1 + payload.size());
    body.view()[0] = static_cast<std::byte>(cipher);
    std::ranges::copy(payload, body.view().begin() + 1);
    if (!noise_->write(body.view(), out.subspan(1))) return std::unexpected(HandshakeError::unavailable);
  } else {
    std::ranges::copy(nonce_, out.begin() + 1);
    out[1 + kNonce] = static_cast<std::byte>(cipher);
    std::ranges::copy(payload, out.begin() + 1 + kNonce + 1);
    transcript_ = crc32c(out.first(out.size() - kChecksum), transcript_);
    put_big_endian(transcript_, out.last(kChecksum));
  }
  ++messages_;
  return message;
}

Handshake::Result<void> Handshake::admit(Bytes message) const noexcept {
  if (message.empty()) return std::unexpected(HandshakeError::malformed);
  switch (static_cast<Protection>(message[0])) {
    case Protection::none:
      if (noise_) return std::unexpected(HandshakeError::peer_has_no_key);
      break;
    case Protection::noise:
      if (!noise_) return std::unexpected(HandshakeError::peer_has_key);
      break;
    default: return std::unexpected(HandshakeError::unknown_protection);
  }
  if (message.size() < overhead() || message.size() > overhead() + kMaxPayload) {
    return std::unexpected(HandshakeError::malformed);
  }
  return {};
}

Handshake::Result<Handshake::Payload> Handshake::read(Bytes message) noexcept {
  if (const auto admitted = admit(message); !admitted) return std::unexpected(admitted.error());
  BoundedBytes<1 + kMaxPayload> body(message.size() - overhead() + 1);
  std::uint32_t transcript = transcript_;
  if (noise_) {
    if (!noise_->read(message.subspan(1), body.view())) return std::unexpected(HandshakeError::wrong_key);
  } else {
    std::ranges::copy(message.subspan(1 + kNonce, body.view().size()), body.view().begin());
    transcript = crc32c(message.first(message.size() - kChecksum), transcript);
    std::array<std::byte, kChecksum> expected;
    put_big_endian(transcript, expected);
    if (!std::ranges::equal(expected, message.last(kChecksum))) return std::unexpected(HandshakeError::corrupt);
  }
  const auto cipher = chosen(static_cast<Cipher>(body.view()[0]));
  if (!cipher) return std::unexpected(cipher.error());
  transcript_ = transcript;
  cipher_ = *cipher;
  ++messages_;
  Payload payload(body.view().size() - 1);
  std::ranges::copy(body.view().subspan(1), payload.view().begin());
  return payload;
}

// What is used, of what the peer's message says: a wish to the responder, a decision to the initiator.
Handshake::Result<Cipher> Handshake::chosen(Cipher said) const noexcept {
  if ((said == Cipher::crc32c) == noise_.has_value()) return std::unexpected(HandshakeError::malformed);
  if (!noise_) return said;
  if (role_ == Noise::Role::responder) return said == preferred_cipher() ? said : Cipher::chacha20_poly1305;
  if (said != Cipher::aes_256_gcm && said != Cipher::chacha20_poly1305) {
    return std::unexpected(HandshakeError::malformed);
  }
  return said;
}

Handshake::Result<TrafficSecrets> Handshake::split() const noexcept {
  if (messages_ != 2) return std::unexpected(HandshakeError::out_of_turn);
  Noise::Split split;
  if (noise_) {
    if (!noise_->split(split)) return std::unexpected(HandshakeError::unavailable);
  } else {
    // No secrets, but what tells apart the packets of two connections, and of two directions.
    constexpr std::byte kDirections[] = {std::byte{0}, std::byte{1}};
    put_big_endian(crc32c(Bytes(&kDirections[0], 1), transcript_), split.to_responder.bytes().first<kChecksum>());
    put_big_endian(crc32c(Bytes(&kDirections[1], 1), transcript_), split.to_initiator.bytes().first<kChecksum>());
  }
  const bool initiator = role_ == Noise::Role::initiator;
  return TrafficSecrets{.cipher = cipher_,
                        .outgoing = initiator ? split.to_responder : split.to_initiator,
                        .incoming = initiator ? split.to_initiator : split.to_responder};
}

}  // namespace portolan::rudp
