// The two seed formats, as bytes: what a plain stop-and-wait peer speaks.
//
//   messages  [SeqNum u32 BE][Ack u8][payload]    Ack 0: data, 1: its acknowledgement
//   files     [Type u8][SeqNum u32 BE][payload]   Type 1: data, 2: acknowledgement, 3: fin; at most 1024 bytes in all
//
// An acknowledgement repeats the SeqNum of the packet that it answers, and its payload is empty. Whatever else these
// bytes may be is no packet. Numbers wrap, and are compared as in RFC 1982. Pure functions.
//
// Our own extension hides in what every receiver has to survive, a duplicate. A sender that wants to know whether its
// peer keeps packets that come before their turn repeats a data packet that has been acknowledged, and puts
// kSeedQuestion where the payload was. To the letter of the format that is a duplicate: it is acknowledged again, and
// nobody looks at its payload. A receiver of ours does, and puts kSeedOffer and a u16 BE in its acknowledgement: how
// many packets from the next expected one on it keeps. seed_window.h says why nothing less is safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace portolan::rudp {

enum class SeedFormat : std::uint8_t { messages, files };
enum class SeedKind : std::uint8_t { data, acknowledgement, fin };

inline constexpr std::size_t kSeedHeader = 5;             // of both formats
inline constexpr std::size_t kSeedFilePacket = 1024;      // header and all
inline constexpr std::size_t kSeedMessagePacket = 65507;  // the most that UDP over IPv4 carries

inline constexpr std::string_view kSeedQuestion{"\0portolan seed: how many ahead?\0", 32};
inline constexpr std::string_view kSeedOffer{"\0portolan seed: ahead\0", 22};
inline constexpr std::size_t kSeedLongestReply = kSeedHeader + kSeedOffer.size() + 2;

struct SeedPacket {
  SeedKind kind;
  std::uint32_t sequence;
  std::span<const std::byte> payload;

  bool asks() const noexcept;                           // is the question
  std::optional<std::uint16_t> offer() const noexcept;  // the number that an acknowledgement brings
};

// Nothing: too short, too long for its format, or of no kind that it knows.
std::optional<SeedPacket> parse_seed(SeedFormat format, std::span<const std::byte> datagram) noexcept;
// The header, into the first kSeedHeader bytes. Messages have no fin.
void write_seed_header(SeedFormat format, SeedKind kind, std::uint32_t sequence, std::byte* into) noexcept;
// An acknowledgement: its size, at most kSeedLongestReply bytes.
std::size_t write_seed_reply(SeedFormat format, std::uint32_t sequence, std::optional<std::uint16_t> offer,
                             std::byte* into) noexcept;

// How far `to` lies behind `from`, going forward; negative: before it (RFC 1982).
constexpr std::int32_t seed_distance(std::uint32_t from, std::uint32_t to) noexcept {
  return static_cast<std::int32_t>(to - from);
}

}  // namespace portolan::rudp
