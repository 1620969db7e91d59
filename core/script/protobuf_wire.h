// The encoding of protobuf: tags, varints, fixed numbers and lengths, read and written by nanopb.
//
// A WireReader walks along bytes that it does not own and never past their end; what it answers are views of them. Once a
// function has answered false, why() says what was wrong, and nothing more is to be asked. A WireWriter appends to a
// string of its own. Used by one thread each.
#pragma once

#include "script/protobuf_schema.h"

#include <pb.h>
#include <pb_decode.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace portolan::protobuf {

// Messages in messages.
inline constexpr int kDeepestMessage = 100;

enum class WireType : std::uint8_t { varint = 0, fixed64 = 1, bytes = 2, begin_group = 3, end_group = 4, fixed32 = 5 };

// As what one of this type is sent.
WireType wire_type(FieldType type) noexcept;

// How sint32 and sint64 are sent: small numbers of either sign as small varints.
constexpr std::uint64_t zigzag(std::int64_t value) noexcept {
  return static_cast<std::uint64_t>(value) << 1U ^ (value < 0 ? ~std::uint64_t{0} : 0);
}
constexpr std::int64_t unzigzag(std::uint64_t bits) noexcept {
  return static_cast<std::int64_t>(bits >> 1U ^ ((bits & 1U) != 0 ? ~std::uint64_t{0} : 0));
}

class WireReader {
 public:
  explicit WireReader(std::string_view bytes) noexcept;

  bool at_end() const noexcept { return stream_.bytes_left == 0; }
  // Bytes in front of the next.
  std::size_t position() const noexcept { return bytes_.size() - stream_.bytes_left; }
  const char* why() const noexcept { return why_; }

  [[nodiscard]] bool tag(std::uint32_t& number, WireType& type) noexcept;
  [[nodiscard]] bool varint(std::uint64_t& value) noexcept;
  [[nodiscard]] bool fixed32(std::uint32_t& value) noexcept;
  [[nodiscard]] bool fixed64(std::uint64_t& value) noexcept;
  [[nodiscard]] bool bytes(std::string_view& value) noexcept;
  // What follows a tag, a whole group as well.
  [[nodiscard]] bool skip(std::uint32_t number, WireType type) noexcept;
  // Whichever of varint, fixed32 and fixed64 it is: the bits.
  [[nodiscard]] bool number(WireType type, std::uint64_t& bits) noexcept;

 private:
  bool fail(const char* why) noexcept;
  bool skip_group(std::uint32_t number) noexcept;

  std::string_view bytes_;
  pb_istream_t stream_;
  const char* why_ = "";
};

class WireWriter {
 public:
  const std::string& bytes() const noexcept { return out_; }
  std::size_t size() const noexcept { return out_.size(); }

  void tag(std::uint32_t number, WireType type);
  void varint(std::uint64_t value);
  void fixed32(std::uint32_t value);
  void fixed64(std::uint64_t value);
  void bytes(std::string_view value);  // behind their length
  // Puts the length of all that was written since size() was `from` in front of it.
  void close(std::size_t from);

 private:
  std::string out_;
};

}  // namespace portolan::protobuf
