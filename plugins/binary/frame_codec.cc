#include "plugins/binary/frame_codec.h"

#include <algorithm>

namespace portolan::binary {
namespace {

std::uint32_t load_be32(const std::byte* bytes) noexcept {
  return std::to_integer<std::uint32_t>(bytes[0]) << 24U | std::to_integer<std::uint32_t>(bytes[1]) << 16U |
         std::to_integer<std::uint32_t>(bytes[2]) << 8U | std::to_integer<std::uint32_t>(bytes[3]);
}

}  // namespace

std::expected<std::optional<Frame>, FrameError> parse_frame(std::span<const std::byte> data,
                                                            const FrameLimits& limits) noexcept {
  if (data.size() < kLengthSize) return std::nullopt;
  const std::uint32_t length = load_be32(data.data());
  if (length > limits.max_payload) return std::unexpected(FrameError::too_long);
  const std::size_t header = header_size(limits.form);
  // Compared as what is left: header + length may not fit the size_t of a 32-bit machine.
  if (data.size() < header || data.size() - header < length) return std::nullopt;
  const auto type =
      limits.form == FrameForm::typed ? std::to_integer<std::uint8_t>(data[kLengthSize]) : std::uint8_t{0};
  return Frame{.type = type, .payload = data.subspan(header, length), .whole = data.first(header + length)};
}

std::expected<Frame, FrameError> parse_datagram(std::span<const std::byte> data, const FrameLimits& limits) noexcept {
  const auto frame = parse_frame(data, limits);
  if (!frame) return std::unexpected(frame.error());
  if (!*frame || (*frame)->whole.size() != data.size()) return std::unexpected(FrameError::not_one);
  return **frame;
}

FrameHeader make_header(FrameForm form, std::uint8_t type, std::uint32_t length) noexcept {
  return {.bytes = {static_cast<std::byte>(length >> 24U), static_cast<std::byte>(length >> 16U),
                    static_cast<std::byte>(length >> 8U), static_cast<std::byte>(length), static_cast<std::byte>(type)},
          .size = header_size(form)};
}

void copy_reversed(FrameForm form, std::uint8_t type, std::span<const std::byte> payload, std::byte* out) noexcept {
  const FrameHeader header = make_header(form, type, static_cast<std::uint32_t>(payload.size()));
  out = std::ranges::copy(header.view(), out).out;
  std::ranges::reverse_copy(payload, out);
}

}  // namespace portolan::binary
