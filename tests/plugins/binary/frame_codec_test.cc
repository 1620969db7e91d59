#include "plugins/binary/frame_codec.h"

#include <cstring>
#include <string>
#include <string_view>

// Last: it defines macros with short names.
#include "support/cmocka.h"

namespace portolan::binary {
namespace {

using namespace std::string_view_literals;

constexpr FrameLimits kTyped{.form = FrameForm::typed, .max_payload = 8};
constexpr FrameLimits kPlain{.form = FrameForm::plain, .max_payload = 8};

std::span<const std::byte> bytes(std::string_view text) { return std::as_bytes(std::span(text.data(), text.size())); }

void assert_bytes(std::span<const std::byte> actual, std::string_view expected) {
  assert_int_equal(actual.size(), expected.size());
  if (!expected.empty()) assert_memory_equal(actual.data(), expected.data(), expected.size());
}

void assert_frame(std::string_view data, const FrameLimits& limits, unsigned type, std::string_view payload) {
  const auto frame = parse_frame(bytes(data), limits);
  assert_true(frame.has_value());
  assert_true(frame->has_value());
  assert_int_equal((*frame)->type, type);
  assert_bytes((*frame)->payload, payload);
  assert_ptr_equal((*frame)->whole.data(), data.data());
  assert_int_equal((*frame)->whole.size(), header_size(limits.form) + payload.size());
}

void assert_unfinished(std::string_view data, const FrameLimits& limits) {
  const auto frame = parse_frame(bytes(data), limits);
  assert_true(frame.has_value());
  assert_false(frame->has_value());
}

void assert_too_long(std::string_view data, const FrameLimits& limits) {
  const auto frame = parse_frame(bytes(data), limits);
  assert_false(frame.has_value());
  assert_int_equal(frame.error(), FrameError::too_long);
}

void takes_the_first_frame_alone(void**) {
  assert_frame("\0\0\0\3\1abc\0\0\0\1\2x"sv, kTyped, 1, "abc");
  assert_frame("\0\0\0\3abcd"sv, kPlain, 0, "abc");
}

void takes_an_empty_payload(void**) {
  assert_frame("\0\0\0\0\xff"sv, kTyped, 255, "");
  assert_frame("\0\0\0\0"sv, kPlain, 0, "");
}

void waits_for_every_byte(void**) {
  constexpr auto kWhole = "\0\0\0\3\1abc"sv;
  for (std::size_t size = 0; size < kWhole.size(); ++size) assert_unfinished(kWhole.substr(0, size), kTyped);
  constexpr auto kPlainWhole = "\0\0\0\3abc"sv;
  for (std::size_t size = 0; size < kPlainWhole.size(); ++size) assert_unfinished(kPlainWhole.substr(0, size), kPlain);
}

void the_limit_counts_the_payload_alone(void**) {
  assert_frame("\0\0\0\x08\1abcdefgh"sv, kTyped, 1, "abcdefgh");
  assert_frame(
      "\0\0\0\x08"
      "abcdefgh"sv,
      kPlain, 0, "abcdefgh");
  assert_too_long("\0\0\0\x09\1abcdefghi"sv, kTyped);
}

void a_length_over_the_limit_is_refused_at_its_fourth_byte(void**) {
  assert_unfinished("\xff\xff\xff"sv, kTyped);
  assert_too_long("\0\0\0\x09"sv, kTyped);
  assert_too_long("\0\0\0\x09"sv, kPlain);
  assert_too_long("\xff\xff\xff\xff"sv, kTyped);
}

void the_length_is_big_endian(void**) {
  for (const auto data : {"\1\0\0\0"sv, "\0\1\0\0"sv, "\0\0\1\0"sv}) assert_too_long(data, kPlain);
  std::string large("\0\1\2\3"sv);
  large.append(0x010203, 'x');
  const auto frame = parse_frame(bytes(large), {.form = FrameForm::plain, .max_payload = 0x010203});
  assert_true(frame.has_value() && frame->has_value());
  assert_int_equal((*frame)->payload.size(), 0x010203);
}

void the_greatest_length_does_not_wrap_round(void**) {
  assert_unfinished("\xff\xff\xff\xff\1abc"sv, {.form = FrameForm::typed, .max_payload = 0xffff'ffffU});
}

void a_datagram_is_exactly_one_frame(void**) {
  const auto right = parse_datagram(bytes("\0\0\0\1\2x"sv), kTyped);
  assert_true(right.has_value());
  assert_int_equal(right->type, 2);
  assert_bytes(right->payload, "x");
  for (const auto data : {""sv, "\0\0\0"sv, "\0\0\0\1\2"sv, "\0\0\0\1\2xy"sv, "\0\0\0\1\2x\0\0\0\1\2x"sv}) {
    const auto wrong = parse_datagram(bytes(data), kTyped);
    assert_false(wrong.has_value());
    assert_int_equal(wrong.error(), FrameError::not_one);
  }
  const auto long_one = parse_datagram(bytes("\0\0\0\x09\2"sv), kTyped);
  assert_false(long_one.has_value());
  assert_int_equal(long_one.error(), FrameError::too_long);
}

void a_header_is_read_back(void**) {
  assert_bytes(make_header(FrameForm::typed, 7, 0x01020304).view(), "\1\2\3\4\7"sv);
  assert_bytes(make_header(FrameForm::plain, 7, 0x01020304).view(), "\1\2\3\4"sv);
}

void a_payload_is_reversed(void**) {
  std::byte out[8];
  copy_reversed(FrameForm::typed, 2, bytes("abc"), out);
  assert_bytes(out, "\0\0\0\3\2cba"sv);
  copy_reversed(FrameForm::typed, 2, {}, out);
  assert_bytes(std::span(out).first(5), "\0\0\0\0\2"sv);
  copy_reversed(FrameForm::plain, 2, bytes("abcd"), out);
  assert_bytes(out, "\0\0\0\4dcba"sv);
}

// A frame begins anywhere in a buffer: after a frame of 6 bytes, at an odd address. Processors of armel trap there on a
// load of four bytes at once; a sanitizer build (./dev test asan) says so everywhere.
void frames_may_lie_at_any_address(void**) {
  constexpr std::size_t kOffsets = 8;
  alignas(16) std::byte in[kOffsets + 16];
  alignas(16) std::byte out[kOffsets + 16];
  for (std::size_t offset = 0; offset < kOffsets; ++offset) {
    constexpr auto kTypedFrame = "\0\0\0\3\1abc"sv;
    std::memcpy(in + offset, kTypedFrame.data(), kTypedFrame.size());
    const auto* const text = reinterpret_cast<const char*>(in) + offset;
    assert_frame({text, kTypedFrame.size()}, kTyped, 1, "abc");
    assert_true(parse_datagram({in + offset, kTypedFrame.size()}, kTyped).has_value());
    assert_too_long({text, kTypedFrame.size()}, {.form = FrameForm::typed, .max_payload = 2});

    copy_reversed(FrameForm::typed, 1, {in + offset + 5, 3}, out + offset);
    assert_bytes({out + offset, kTypedFrame.size()}, "\0\0\0\3\1cba"sv);
    const FrameHeader header = make_header(FrameForm::plain, 0, 3);
    std::memcpy(out + offset, header.view().data(), header.size);
    assert_bytes({out + offset, header.size}, "\0\0\0\3"sv);
  }
}

}  // namespace
}  // namespace portolan::binary

int main() {
  using namespace portolan::binary;
  const CMUnitTest tests[] = {
      cmocka_unit_test(takes_the_first_frame_alone),
      cmocka_unit_test(takes_an_empty_payload),
      cmocka_unit_test(waits_for_every_byte),
      cmocka_unit_test(the_limit_counts_the_payload_alone),
      cmocka_unit_test(a_length_over_the_limit_is_refused_at_its_fourth_byte),
      cmocka_unit_test(the_length_is_big_endian),
      cmocka_unit_test(the_greatest_length_does_not_wrap_round),
      cmocka_unit_test(a_datagram_is_exactly_one_frame),
      cmocka_unit_test(a_header_is_read_back),
      cmocka_unit_test(a_payload_is_reversed),
      cmocka_unit_test(frames_may_lie_at_any_address),
  };
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
