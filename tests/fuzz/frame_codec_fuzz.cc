// The frame codec: frames are where their lengths put them, a frame is never found early or late, and what is written
// is read back. Input: form and limit, then the bytes.
#include "fuzz_target.h"
#include "plugins/binary/frame_codec.h"

#include <algorithm>
#include <vector>

using namespace portolan;
using namespace portolan::binary;
using fuzz::check;

namespace {

void check_written(const Frame& frame, const FrameLimits& limits) {
  const auto length = static_cast<std::uint32_t>(frame.payload.size());
  const FrameHeader header = make_header(limits.form, frame.type, length);
  check(std::ranges::equal(header.view(), frame.whole.first(header.size)), "a header is written as it was read");
  std::vector<std::byte> reversed(frame.whole.size());
  copy_reversed(limits.form, frame.type, frame.payload, reversed.data());
  const auto back = parse_datagram(reversed, limits);
  check(back.has_value() && back->type == frame.type, "a reversed frame is a frame of the same type");
  check(std::ranges::equal(back->payload.rbegin(), back->payload.rend(), frame.payload.begin(), frame.payload.end()),
        "a reversed payload is reversed");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* input_data, std::size_t size) {
  fuzz::Input input(input_data, size);
  const std::uint8_t choice = input.byte();
  constexpr std::uint32_t kLimits[] = {0, 1, 7, 64, 4096, 65536, 16 * 1024 * 1024, 0xffff'ffffU};
  const FrameLimits limits{.form = (choice & 1U) != 0 ? FrameForm::plain : FrameForm::typed,
                           .max_payload = kLimits[(choice >> 1U) % std::size(kLimits)]};
  const std::string_view text = input.rest();
  std::span<const std::byte> data = std::as_bytes(std::span(text.data(), text.size()));
  for (;;) {
    const auto frame = parse_frame(data, limits);
    const auto datagram = parse_datagram(data, limits);
    if (!frame) {
      check(!datagram && datagram.error() == frame.error(), "a datagram is refused like a frame");
      check(data.size() >= kLengthSize, "nothing is refused before its length is there");
      check(!parse_frame(data.first(kLengthSize), limits), "a length is refused with its fourth byte");
      return 0;
    }
    if (!*frame) {
      check(!datagram, "a part of a frame is no datagram");
      return 0;
    }
    const std::span<const std::byte> whole = (*frame)->whole;
    check(whole.data() == data.data(), "a frame begins where its data begins");
    check((*frame)->payload.size() <= limits.max_payload, "a payload is within the limit");
    check(whole.size() == header_size(limits.form) + (*frame)->payload.size(), "a frame is its header and payload");
    check(datagram.has_value() == (whole.size() == data.size()), "a datagram is exactly one frame");
    const auto shorter = parse_frame(data.first(whole.size() - 1), limits);
    check(shorter.has_value() && !shorter->has_value(), "a frame without its last byte is waited for");
    check_written(**frame, limits);
    data = data.subspan(whole.size());
  }
}
