// Frames: a length in front, big-endian, and what it counts.
//
//   typed  [length u32][type u8][payload]   the length counts the payload alone
//   plain  [length u32][payload]
//
// Pure functions over bytes: no I/O, no memory of their own, any thread. What is refused is a length over
// `max_payload`, as soon as its four bytes are there, so that nobody makes room for a payload that will not be taken.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <span>

namespace portolan::binary {

enum class FrameForm : std::uint8_t { typed, plain };

inline constexpr std::size_t kLengthSize = 4;
inline constexpr std::size_t kMaxHeaderSize = 5;

constexpr std::size_t header_size(FrameForm form) noexcept {
  return form == FrameForm::typed ? kLengthSize + 1 : kLengthSize;
}

struct FrameLimits {
  FrameForm form = FrameForm::typed;
  std::uint32_t max_payload = 64 * 1024;  // 0..2^32-1; a payload of this length is taken
};

// Views of the parsed bytes.
struct Frame {
  std::uint8_t type;  // 0 in the plain form
  std::span<const std::byte> payload;
  std::span<const std::byte> whole;  // header and payload
};

enum class FrameError : std::uint8_t {
  too_long,  // the length is over max_payload
  not_one,   // a datagram that is not exactly one frame
};

// The frame that `data` begins with, or nothing when it has not come whole yet.
std::expected<std::optional<Frame>, FrameError> parse_frame(std::span<const std::byte> data,
                                                            const FrameLimits& limits) noexcept;

// The one frame that `data` is.
std::expected<Frame, FrameError> parse_datagram(std::span<const std::byte> data, const FrameLimits& limits) noexcept;

struct FrameHeader {
  std::array<std::byte, kMaxHeaderSize> bytes;
  std::size_t size;
  std::span<const std::byte> view() const noexcept { return {bytes.data(), size}; }
};
// The header of a frame with a payload of `length` bytes; the plain form has no room for `type` and leaves it out.
FrameHeader make_header(FrameForm form, std::uint8_t type, std::uint32_t length) noexcept;

// Writes the frame whose payload is `payload` from its last byte to its first. `out` has room for
// header_size(form) + payload.size() bytes and does not overlap; payload.size() fits its u32.
void copy_reversed(FrameForm form, std::uint8_t type, std::span<const std::byte> payload, std::byte* out) noexcept;

}  // namespace portolan::binary
