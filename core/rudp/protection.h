// The protection of data packets: AEAD with a key, a checksum without. One PacketSealer for what goes out and one
// PacketOpener for what comes in, each made from its direction's secret. After RFC 9001 sections 5 and 6, with differences
// that are named here: headers are not masked, and the two directions update their keys each by itself.
//
// Keys      HKDF-Expand-Label of RFC 8446 section 7.1 with SHA-256, an empty context, and "rudp1 " for its "tls13 ":
//             key    = HKDF-Expand-Label(secret, "key", "", 32)        info = 0020 09 "rudp1 key" 00
//             iv     = HKDF-Expand-Label(secret, "iv", "", 12)         info = 000c 08 "rudp1 iv" 00
//             secret = HKDF-Expand-Label(secret, "ku", "", 32)         info = 0020 08 "rudp1 ku" 00, of the next phase
// Nonce     iv xor the whole packet number (62 bits, big endian, at the end of 12 bytes), not only what the header shows.
// Associated data: the header, every byte in front of the payload as it is sent, the key phase bit in it.
// Tag       16 bytes behind the payload. Without a key: CRC32C, 4 bytes, big endian, of
//             seed (4: the first of the direction's secret) || packet number (8, big endian) || header || payload
//
// Key update. Phase 0 first; a bit in the header tells even phases from odd. The sender goes to the next phase after
// kUpdatePackets packets or kUpdateBytes bytes (all its input counted), and not before a packet of the present phase was
// acknowledged: so the receiver has the keys of this phase when it sees the next. A phase never seals over
// kConfidentialityLimit packets (RFC 9001 section 6.6: 2^23 with AES-GCM; more with ChaCha20-Poly1305, where we stay at the
// same). The receiver has the next keys ready at all times, so a flipped bit costs no more than any forgery; it goes over
// to them with the first packet that opens under them, and keeps the previous ones for kKeepPrevious (or to the next
// update, if that is sooner) for packets that were reordered. Which key a packet of the other phase is tried with says its
// number: below the first one that opened in this phase the previous key, else the next.
//
// Forgery. Every failed open is counted over the connection's life; at kIntegrityLimit (2^36: ChaCha20-Poly1305's, the
// lower of the two) the opener opens nothing more, and the connection has to be closed.
//
// Sans-I/O. One owner's thread. No allocation and no derivation per packet; each key keeps its context of the library.
#pragma once

#include "rudp/handshake.h"

#include "plugin/descriptor.h"

#include <expected>
#include <optional>

namespace portolan::rudp {

inline constexpr std::size_t kMaxPacketOverhead = kTagSize;
inline constexpr std::uint64_t kPacketNumberLimit = std::uint64_t{1} << 62;
inline constexpr std::uint64_t kUpdatePackets = std::uint64_t{1} << 20;
inline constexpr std::uint64_t kUpdateBytes = std::uint64_t{1} << 30;
inline constexpr std::uint64_t kConfidentialityLimit = std::uint64_t{1} << 23;
inline constexpr std::uint64_t kIntegrityLimit = std::uint64_t{1} << 36;
inline constexpr Duration kKeepPrevious = std::chrono::seconds(10);

// What a packet grows by: 16, or 4 without a key.
constexpr std::size_t packet_overhead(Cipher cipher) noexcept { return cipher == Cipher::crc32c ? 4 : kTagSize; }

// The limits, for tests that cannot send 2^20 packets.
struct KeyLimits {
  std::uint64_t update_packets = kUpdatePackets;
  std::uint64_t update_bytes = kUpdateBytes;
  std::uint64_t confidentiality = kConfidentialityLimit;
  std::uint64_t integrity = kIntegrityLimit;
};

enum class SealError : std::uint8_t {
  packet_number,  // not above all those before, or over 62 bits: a nonce would come twice
  key_worn_out,   // kConfidentialityLimit, and still nothing acknowledged
  no_room,        // the packet is shorter than overhead()
  unavailable,    // libcrypto refuses
};
enum class OpenError : std::uint8_t {
  truncated,  // shorter than overhead()
  forged,     // or corrupt, or of another connection
  old_key,    // of a phase whose key is gone: too late
  limit,      // kIntegrityLimit: close the connection
};
std::string_view to_string(SealError error) noexcept;
std::string_view to_string(OpenError error) noexcept;

// One phase of one direction: the key made from a secret, and the way to the next.
class PhaseKey {
 public:
  PhaseKey(Cipher cipher, AeadKey::Use use, const Secret& secret) noexcept;
  PhaseKey next() const noexcept;
  // `packet` is the payload with room for the tag, or with the tag, behind it.
  [[nodiscard]] bool seal(std::uint64_t packet_number, Bytes header, MutableBytes packet) noexcept;
  [[nodiscard]] bool open(std::uint64_t packet_number, Bytes header, MutableBytes packet) noexcept;

 private:
  std::array<std::byte, kNonceSize> nonce(std::uint64_t packet_number) const noexcept;
  static constexpr std::size_t kChecksumSize = 4;
  std::array<std::byte, kChecksumSize> checksum(std::uint64_t packet_number, Bytes header,
                                                Bytes payload) const noexcept;
  Cipher cipher_;
  AeadKey::Use use_;
  Secret secret_;
  std::array<std::byte, kNonceSize> iv_{};
  std::optional<AeadKey> key_;  // none: CRC32C, or the library refused
};

class PacketSealer {
 public:
  PacketSealer(Cipher cipher, const Secret& secret, const KeyLimits& limits = {}) noexcept;

  std::size_t overhead() const noexcept { return packet_overhead(cipher_); }
  // For the header of the packet that is sealed next: seal alone changes it, and only as it ends. 0 without a key.
  bool key_phase() const noexcept { return (phase_ & 1U) != 0; }
  std::uint64_t phase() const noexcept { return phase_; }

  // `packet` is the payload and behind it overhead() bytes of room. Packet numbers rise from call to call.
  [[nodiscard]] std::expected<void, SealError> seal(std::uint64_t packet_number, Bytes header,
                                                    MutableBytes packet) noexcept;
  // A packet of ours was acknowledged, by a packet that opened.
  void acknowledged(std::uint64_t packet_number) noexcept;
  // Changes keys ahead of time, when a packet of this phase has been acknowledged; the next packet but one has the new ones
  // at the soonest.
  void update_soon() noexcept { update_wanted_ = true; }

 private:
  void go_to_next_phase() noexcept;
  Cipher cipher_;
  KeyLimits limits_;
  PhaseKey key_;
  std::uint64_t phase_ = 0;
  std::uint64_t next_number_ = 0;     // the lowest that may be sealed
  std::uint64_t first_of_phase_ = 0;  // no packet below was sealed in this phase
  std::uint64_t packets_ = 0;         // of this phase
  std::uint64_t bytes_ = 0;
  bool acknowledged_ = false;  // a packet of this phase
  bool update_wanted_ = false;
};

class PacketOpener {
 public:
  PacketOpener(Cipher cipher, const Secret& secret, const KeyLimits& limits = {}) noexcept;

  std::size_t overhead() const noexcept { return packet_overhead(cipher_); }
  std::uint64_t phase() const noexcept { return phase_; }
  std::uint64_t forgeries() const noexcept { return forgeries_; }  // failed opens since the beginning

  // `packet` is the payload and its tag; it is opened in place, and what is left is the payload. On an error its bytes are
  // spoilt. `key_phase` is the header's bit. It does not look for replays: replay_window.h, before and after.
  [[nodiscard]] std::expected<MutableBytes, OpenError> open(Duration now, std::uint64_t packet_number, bool key_phase,
                                                            Bytes header, MutableBytes packet) noexcept;

 private:
  PhaseKey* key_for(std::uint64_t packet_number, bool key_phase) noexcept;
  void go_to_next_phase(Duration now, std::uint64_t packet_number) noexcept;
  Cipher cipher_;
  KeyLimits limits_;
  std::optional<PhaseKey> previous_;
  PhaseKey current_;
  PhaseKey next_;
  Duration drop_previous_at_{};
  std::uint64_t phase_ = 0;
  std::uint64_t first_of_phase_ = 0;  // that opened
  std::uint64_t forgeries_ = 0;
};

}  // namespace portolan::rudp
