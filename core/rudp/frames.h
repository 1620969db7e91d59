// The numbers of the wire: first bytes of packets, types of frames, limits. plugins/rudp/PROTOCOL.md says what they mean.
#pragma once

#include <cstddef>
#include <cstdint>

namespace portolan::rudp {

inline constexpr std::uint32_t kVersion = 0x52550201;  // "RU", protocol 2, revision 1

// The first byte. Below kOurs: another protocol on the same port.
namespace packet_type {
inline constexpr std::uint8_t kOurs = 0x40;
inline constexpr std::uint8_t kData = 0x40;  // to 0x41: bit 0 is the key phase
inline constexpr std::uint8_t kDataMask = 0xfe;
inline constexpr std::uint8_t kInitial = 0xc0;
inline constexpr std::uint8_t kRetry = 0xc1;
inline constexpr std::uint8_t kAccept = 0xc2;
inline constexpr std::uint8_t kVersions = 0xc3;
inline constexpr std::uint8_t kReset = 0xc4;
inline constexpr std::uint8_t kRefused = 0xc5;
}  // namespace packet_type

inline constexpr std::size_t kDataHeader = 1 + 8 + 4;  // type, connection id, low bits of the packet number
inline constexpr std::size_t kBaseDatagram = 1200;     // every path takes as much (RFC 9000, section 14.1)
inline constexpr std::size_t kLargestDatagram = 8972;

enum class FrameType : std::uint8_t {
  padding = 0x00,
  ping = 0x01,
  ack = 0x02,
  recovered = 0x03,
  reset_stream = 0x04,
  stop_sending = 0x05,
  stream = 0x08,  // to 0x0b: bit 0 is the end of the stream, bit 1 a length (without: to the end of the packet)
  max_data = 0x10,
  max_stream_data = 0x11,
  max_streams = 0x12,
  path_challenge = 0x1a,
  path_response = 0x1b,
  close = 0x1c,
  message = 0x30,           // reliable
  message_deadline = 0x31,  // given up when its time is over
  datagram = 0x32,          // unreliable
  fec_source = 0x38,
  fec_repair = 0x39,
};
inline constexpr std::uint8_t kStreamEnd = 1, kStreamLength = 2;

// Codes of CLOSE below 0x100 are the protocol's own.
namespace close_code {
inline constexpr std::uint64_t kNone = 0x00;
inline constexpr std::uint64_t kProtocol = 0x01;
inline constexpr std::uint64_t kRefused = 0x02;
inline constexpr std::uint64_t kLimit = 0x03;
inline constexpr std::uint64_t kApplication = 0x100;  // added to the code of an application
}  // namespace close_code

}  // namespace portolan::rudp
