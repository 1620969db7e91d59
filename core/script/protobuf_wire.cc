#include "script/protobuf_wire.h"

#include <pb_encode.h>

#include <array>

namespace portolan::protobuf {
namespace {

constexpr std::size_t kLongestVarint = 10;

// What nanopb writes of a number, which is short.
template <typename Write>
void append(std::string& out, Write&& write) {
  std::array<pb_byte_t, kLongestVarint> buffer;
  pb_ostream_t stream = pb_ostream_from_buffer(buffer.data(), buffer.size());
  write(&stream);
  out.append(reinterpret_cast<const char*>(buffer.data()), stream.bytes_written);
}

}  // namespace

WireType wire_type(FieldType type) noexcept {
  switch (type) {
    case FieldType::float64:
    case FieldType::fixed64:
    case FieldType::sfixed64: return WireType::fixed64;
    case FieldType::float32:
    case FieldType::fixed32:
    case FieldType::sfixed32: return WireType::fixed32;
    case FieldType::string:
    case FieldType::bytes:
    case FieldType::message: return WireType::bytes;
    default: return WireType::varint;
  }
}

WireReader::WireReader(std::string_view bytes) noexcept
    : bytes_(bytes), stream_(pb_istream_from_buffer(reinterpret_cast<const pb_byte_t*>(bytes.data()), bytes.size())) {}

bool WireReader::fail(const char* why) noexcept {
  why_ = why;
  return false;
}

bool WireReader::tag(std::uint32_t& number, WireType& type) noexcept {
  pb_wire_type_t wire{};
  bool at_end = false;
  if (!pb_decode_tag(&stream_, &wire, &number, &at_end)) return fail("a tag that does not end, or is too large");
  if (number == 0) return fail("the field number 0");
  if (wire > PB_WT_32BIT) return fail("a wire type that is none");
  type = static_cast<WireType>(wire);
  return true;
}

bool WireReader::varint(std::uint64_t& value) noexcept {
  return pb_decode_varint(&stream_, &value) || fail("a varint that does not end, or is too large");
}

bool WireReader::fixed32(std::uint32_t& value) noexcept {
  return pb_decode_fixed32(&stream_, &value) || fail("four bytes that are not all there");
}

bool WireReader::fixed64(std::uint64_t& value) noexcept {
  return pb_decode_fixed64(&stream_, &value) || fail("eight bytes that are not all there");
}

bool WireReader::bytes(std::string_view& value) noexcept {
  std::uint64_t size = 0;  // not 32 bits: more is a mistake as well, and must not pass as less
  if (!pb_decode_varint(&stream_, &size)) return fail("a length that does not end, or is too large");
  if (size > stream_.bytes_left) return fail("a length beyond the end");
  value = bytes_.substr(position(), static_cast<std::size_t>(size));
  return pb_read(&stream_, nullptr, static_cast<std::size_t>(size)) || fail("bytes that are not there");
}

bool WireReader::number(WireType type, std::uint64_t& bits) noexcept {
  if (type == WireType::varint) return varint(bits);
  if (type == WireType::fixed64) return fixed64(bits);
  std::uint32_t half = 0;
  if (!fixed32(half)) return false;
  bits = half;
  return true;
}

bool WireReader::skip(std::uint32_t number_of_group, WireType type) noexcept {
  std::uint64_t bits = 0;
  std::string_view view;
  switch (type) {
    case WireType::varint:
    case WireType::fixed64:
    case WireType::fixed32: return number(type, bits);
    case WireType::bytes: return bytes(view);
    case WireType::begin_group: return skip_group(number_of_group);
    default: return fail("the end of a group that has not begun");
  }
}

// nanopb knows no groups. Without recursion: how deep they are is the sender's choice.
bool WireReader::skip_group(std::uint32_t number_of_group) noexcept {
  std::array<std::uint32_t, kDeepestMessage> open{};
  std::size_t depth = 0;
  open[depth++] = number_of_group;
  while (depth > 0) {
    std::uint32_t number = 0;
    WireType type{};
    if (at_end()) return fail("a group that does not end");
    if (!tag(number, type)) return false;
    if (type == WireType::begin_group) {
      if (depth == open.size()) return fail("groups nested too deeply");
      open[depth++] = number;
    } else if (type == WireType::end_group) {
      if (open[--depth] != number) return fail("the end of another group");
    } else if (!skip(number, type)) {
      return false;
    }
  }
  return true;
}

void WireWriter::tag(std::uint32_t number, WireType type) {
  append(out_, [&](pb_ostream_t* stream) { pb_encode_tag(stream, static_cast<pb_wire_type_t>(type), number); });
}

void WireWriter::varint(std::uint64_t value) {
  append(out_, [&](pb_ostream_t* stream) { pb_encode_varint(stream, value); });
}

void WireWriter::fixed32(std::uint32_t value) {
  append(out_, [&](pb_ostream_t* stream) { pb_encode_fixed32(stream, &value); });
}

void WireWriter::fixed64(std::uint64_t value) {
  append(out_, [&](pb_ostream_t* stream) { pb_encode_fixed64(stream, &value); });
}

void WireWriter::bytes(std::string_view value) {
  varint(value.size());
  out_ += value;
}

void WireWriter::close(std::size_t from) {
  const std::size_t size = out_.size() - from;
  std::string length;
  append(length, [&](pb_ostream_t* stream) { pb_encode_varint(stream, size); });
  out_.insert(from, length);
}

}  // namespace portolan::protobuf
