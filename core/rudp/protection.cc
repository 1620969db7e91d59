#include "protection.h"

#include "base/crc32c.h"

#include <algorithm>
#include <utility>

namespace portolan::rudp {

namespace {

// HKDF-Expand-Label with an empty context: see the header. At most one block of SHA-256, so that Expand is one HMAC.
bool expand_label(const Secret& secret, std::string_view label, MutableBytes out) noexcept {
  constexpr std::string_view kPrefix = "rudp1 ";
  const std::array<std::byte, 3> sizes{std::byte{0}, static_cast<std::byte>(out.size()),
                                       static_cast<std::byte>(kPrefix.size() + label.size())};
  constexpr std::array<std::byte, 2> kNoContextAndBlock1{std::byte{0}, std::byte{1}};
  Secret block;
  if (!hmac_sha256(secret,
                   {sizes, std::as_bytes(std::span(kPrefix)), std::as_bytes(std::span(label)), kNoContextAndBlock1},
                   block)) {
    return false;
  }
  std::ranges::copy(Bytes(block.bytes()).first(out.size()), out.begin());
  return true;
}

}  // namespace

std::string_view to_string(SealError error) noexcept {
  switch (error) {
    case SealError::packet_number: return "a packet number was used before, or the last one is";
    case SealError::key_worn_out: return "a key has sealed all the packets that it may, and none was acknowledged";
    case SealError::no_room: return "a packet has no room for its tag";
    case SealError::unavailable: return "OpenSSL refuses the cipher on this machine";
  }
  return "unknown";
}

std::string_view to_string(OpenError error) noexcept {
  switch (error) {
    case OpenError::truncated: return "a packet is shorter than its tag";
    case OpenError::forged: return "a packet is forged or damaged";
    case OpenError::old_key: return "a packet came too late: its key is gone";
    case OpenError::limit: return "too many packets were forged for one connection";
  }
  return "unknown";
}

PhaseKey::PhaseKey(Cipher cipher, AeadKey::Use use, const Secret& secret) noexcept
    : cipher_(cipher), use_(use), secret_(secret) {
  if (cipher_ == Cipher::crc32c) return;
  Secret key;
  if (!expand_label(secret_, "key", key.bytes()) || !expand_label(secret_, "iv", iv_)) return;
  key_.emplace(cipher_ == Cipher::aes_256_gcm ? Aead::aes_256_gcm : Aead::chacha20_poly1305, use_, key);
}

PhaseKey PhaseKey::next() const noexcept {
  if (cipher_ == Cipher::crc32c) return PhaseKey(cipher_, use_, secret_);
  Secret secret;
  if (!expand_label(secret_, "ku", secret.bytes())) {
    // No key at all, and so nothing sealed or opened, rather than one that others could know.
    PhaseKey none(Cipher::crc32c, use_, secret);
    none.cipher_ = cipher_;
    return none;
  }
  return PhaseKey(cipher_, use_, secret);
}

std::array<std::byte, kNonceSize> PhaseKey::nonce(std::uint64_t packet_number) const noexcept {
  std::array<std::byte, kNonceSize> nonce{};
  put_big_endian(packet_number, MutableBytes(nonce).last(sizeof packet_number));
  for (std::size_t i = 0; i < nonce.size(); ++i) nonce[i] ^= iv_[i];
  return nonce;
}

std::array<std::byte, PhaseKey::kChecksumSize> PhaseKey::checksum(std::uint64_t packet_number, Bytes header,
                                                                  Bytes payload) const noexcept {
  std::array<std::byte, kChecksumSize + sizeof packet_number> front;
  std::ranges::copy(secret_.bytes().first<kChecksumSize>(), front.begin());
  put_big_endian(packet_number, MutableBytes(front).subspan(kChecksumSize));
  std::array<std::byte, kChecksumSize> out;
  put_big_endian(crc32c(payload, crc32c(header, crc32c(front))), out);
  return out;
}

bool PhaseKey::seal(std::uint64_t packet_number, Bytes header, MutableBytes packet) noexcept {
  if (cipher_ == Cipher::crc32c) {
    const MutableBytes payload = packet.first(packet.size() - kChecksumSize);
    std::ranges::copy(checksum(packet_number, header, payload), packet.last<kChecksumSize>().begin());
    return true;
  }
  return key_ &&
         key_->seal(nonce(packet_number), header, packet.first(packet.size() - kTagSize), packet.last<kTagSize>());
}

bool PhaseKey::open(std::uint64_t packet_number, Bytes header, MutableBytes packet) noexcept {
  if (cipher_ == Cipher::crc32c) {
    const MutableBytes payload = packet.first(packet.size() - kChecksumSize);
    return std::ranges::equal(checksum(packet_number, header, payload), packet.last<kChecksumSize>());
  }
  return key_ &&
         key_->open(nonce(packet_number), header, packet.first(packet.size() - kTagSize), packet.last<kTagSize>());
}

PacketSealer::PacketSealer(Cipher cipher, const Secret& secret, const KeyLimits& limits) noexcept
    : cipher_(cipher), limits_(limits), key_(cipher, AeadKey::Use::seal, secret) {}

std::expected<void, SealError> PacketSealer::seal(std::uint64_t packet_number, Bytes header,
                                                  MutableBytes packet) noexcept {
  if (packet_number < next_number_ || packet_number >= kPacketNumberLimit) {
    return std::unexpected(SealError::packet_number);
  }
  if (packet.size() < overhead()) return std::unexpected(SealError::no_room);
  const bool keyed = cipher_ != Cipher::crc32c;
  if (keyed && packets_ >= limits_.confidentiality) return std::unexpected(SealError::key_worn_out);
  // Even if it fails, half done: a nonce is used up.
  next_number_ = packet_number + 1;
  if (!key_.seal(packet_number, header, packet)) return std::unexpected(SealError::unavailable);
  ++packets_;
  bytes_ += header.size() + packet.size();
  const bool due = update_wanted_ || packets_ >= limits_.update_packets || bytes_ >= limits_.update_bytes;
  if (keyed && due && acknowledged_) go_to_next_phase();
  return {};
}

void PacketSealer::acknowledged(std::uint64_t packet_number) noexcept {
  if (packet_number >= first_of_phase_ && packet_number < next_number_) acknowledged_ = true;
}

void PacketSealer::go_to_next_phase() noexcept {
  key_ = key_.next();
  ++phase_;
  first_of_phase_ = next_number_;
  packets_ = 0;
  bytes_ = 0;
  acknowledged_ = false;
  update_wanted_ = false;
}

PacketOpener::PacketOpener(Cipher cipher, const Secret& secret, const KeyLimits& limits) noexcept
    : cipher_(cipher), limits_(limits), current_(cipher, AeadKey::Use::open, secret), next_(current_.next()) {}

PhaseKey* PacketOpener::key_for(std::uint64_t packet_number, bool key_phase) noexcept {
  if (key_phase == ((phase_ & 1U) != 0)) return &current_;
  if (packet_number >= first_of_phase_) return &next_;
  return previous_ ? &*previous_ : nullptr;
}

std::expected<MutableBytes, OpenError> PacketOpener::open(Duration now, std::uint64_t packet_number, bool key_phase,
                                                          Bytes header, MutableBytes packet) noexcept {
  if (packet.size() < overhead()) return std::unexpected(OpenError::truncated);
  const bool keyed = cipher_ != Cipher::crc32c;
  if (keyed && forgeries_ >= limits_.integrity) return std::unexpected(OpenError::limit);
  if (previous_ && now >= drop_previous_at_) previous_.reset();

  // Without a key the bit has no meaning but that it is covered by the checksum, as all the header.
  PhaseKey* const key = keyed ? key_for(packet_number, key_phase) : &current_;
  if (!key) return std::unexpected(OpenError::old_key);
  if (!key->open(packet_number, header, packet)) {
    ++forgeries_;
    return std::unexpected(OpenError::forged);
  }
  if (key == &next_) go_to_next_phase(now, packet_number);
  return packet.first(packet.size() - overhead());
}

void PacketOpener::go_to_next_phase(Duration now, std::uint64_t packet_number) noexcept {
  previous_ = std::exchange(current_, std::exchange(next_, next_.next()));
  drop_previous_at_ = now + kKeepPrevious;
  // Lower ones of this phase may follow; those of the phase before are lower still.
  first_of_phase_ = packet_number;
  ++phase_;
}

}  // namespace portolan::rudp
