// Reading and writing the fields of packets: big-endian integers and the variable-length integers of RFC 9000, section 16.
//
// A Reader never reads past its end: what is missing makes it fail, it then answers zeros and stays failed. A Writer
// never writes past its end: whoever uses it has asked `room` before.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace portolan::rudp {

inline constexpr std::uint64_t kMaxVarint = (std::uint64_t{1} << 62U) - 1;

constexpr std::size_t varint_size(std::uint64_t value) noexcept {
  return value < 64 ? 1 : value < 16384 ? 2 : value < (1U << 30U) ? 4 : 8;
}

class Reader {
 public:
  explicit Reader(std::span<const std::byte> data) noexcept : at_(data.data()), end_(data.data() + data.size()) {}

  bool failed() const noexcept { return failed_; }
  std::size_t left() const noexcept { return static_cast<std::size_t>(end_ - at_); }
  bool empty() const noexcept { return at_ == end_; }
  std::span<const std::byte> rest() const noexcept { return {at_, left()}; }

  std::uint8_t u8() noexcept { return static_cast<std::uint8_t>(integer<1>()); }
  std::uint16_t u16() noexcept { return static_cast<std::uint16_t>(integer<2>()); }
  std::uint32_t u32() noexcept { return static_cast<std::uint32_t>(integer<4>()); }
  std::uint64_t u64() noexcept { return integer<8>(); }

  std::uint64_t varint() noexcept {
    if (at_ == end_) return fail();
    switch (std::to_integer<unsigned>(*at_) >> 6U) {
      case 0: return integer<1>();
      case 1: return integer<2>() & 0x3fffU;
      case 2: return integer<4>() & 0x3fffffffU;
      default: return integer<8>() & kMaxVarint;
    }
  }

  std::span<const std::byte> bytes(std::uint64_t count) noexcept {
    if (count > left()) {
      fail();
      return {};
    }
    const std::span<const std::byte> found(at_, static_cast<std::size_t>(count));
    at_ += count;
    return found;
  }

 private:
  template <std::size_t Size>
  std::uint64_t integer() noexcept {
    if (left() < Size) return fail();
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < Size; ++i) value = value << 8U | std::to_integer<std::uint64_t>(at_[i]);
    at_ += Size;
    return value;
  }
  std::uint64_t fail() noexcept {
    failed_ = true;
    at_ = end_;
    return 0;
  }

  const std::byte* at_;
  const std::byte* end_;
  bool failed_ = false;
};

class Writer {
 public:
  explicit Writer(std::span<std::byte> room) noexcept
      : begin_(room.data()), at_(room.data()), end_(room.data() + room.size()) {}

  std::size_t size() const noexcept { return static_cast<std::size_t>(at_ - begin_); }
  std::size_t room() const noexcept { return static_cast<std::size_t>(end_ - at_); }
  std::span<std::byte> written() const noexcept { return {begin_, size()}; }

  void u8(std::uint8_t value) noexcept { *at_++ = static_cast<std::byte>(value); }
  void u16(std::uint16_t value) noexcept { integer<2>(value); }
  void u32(std::uint32_t value) noexcept { integer<4>(value); }
  void u64(std::uint64_t value) noexcept { integer<8>(value); }
  void varint(std::uint64_t value) noexcept {
    if (value < 64) return integer<1>(value);
    if (value < 16384) return integer<2>(value | 0x4000U);
    if (value < (1U << 30U)) return integer<4>(value | 0x80000000U);
    integer<8>(value | std::uint64_t{3} << 62U);
  }
  void bytes(std::span<const std::byte> data) noexcept {
    if (!data.empty()) std::memcpy(at_, data.data(), data.size());
    at_ += data.size();
  }
  // Room that the caller fills itself.
  std::span<std::byte> take(std::size_t count) noexcept {
    const std::span<std::byte> taken(at_, count);
    at_ += count;
    return taken;
  }
  void zeros(std::size_t count) noexcept {
    std::memset(at_, 0, count);
    at_ += count;
  }

 private:
  template <std::size_t Size>
  void integer(std::uint64_t value) noexcept {
    for (std::size_t i = 0; i < Size; ++i) at_[i] = static_cast<std::byte>(value >> (8 * (Size - 1 - i)));
    at_ += Size;
  }

  std::byte* begin_;
  std::byte* at_;
  std::byte* end_;
};

}  // namespace portolan::rudp
