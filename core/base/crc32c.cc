#include "crc32c.h"

#include <array>
#include <bit>
#include <cstring>

#if defined(__x86_64__) || defined(__i386__)
#include <nmmintrin.h>
#elif defined(__aarch64__)
#include <arm_acle.h>
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace portolan {

namespace {

using Table = std::array<std::array<std::uint32_t, 256>, 8>;

// kTable[n][b]: byte b with n zero bytes behind it.
constexpr Table kTable = [] {
  Table table{};
  for (std::uint32_t index = 0; index < 256; ++index) {
    std::uint32_t crc = index;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1U) ^ ((crc & 1U) != 0 ? 0x82f63b78U : 0U);
    table[0][index] = crc;
  }
  for (std::size_t zeros = 1; zeros < 8; ++zeros) {
    for (std::size_t index = 0; index < 256; ++index) {
      const std::uint32_t crc = table[zeros - 1][index];
      table[zeros][index] = (crc >> 8U) ^ table[0][crc & 0xffU];
    }
  }
  return table;
}();

std::uint32_t load32(const std::byte* at) noexcept {
  std::uint32_t value;
  std::memcpy(&value, at, sizeof value);
  if constexpr (std::endian::native == std::endian::big) value = __builtin_bswap32(value);
  return value;
}

std::uint32_t table_over(std::uint32_t crc, std::span<const std::byte> bytes) noexcept {
  const std::byte* at = bytes.data();
  std::size_t left = bytes.size();
  for (; left >= 8; left -= 8, at += 8) {
    const std::uint32_t low = crc ^ load32(at);
    const std::uint32_t high = load32(at + 4);
    crc = kTable[7][low & 0xffU] ^ kTable[6][low >> 8U & 0xffU] ^ kTable[5][low >> 16U & 0xffU] ^
          kTable[4][low >> 24U] ^ kTable[3][high & 0xffU] ^ kTable[2][high >> 8U & 0xffU] ^
          kTable[1][high >> 16U & 0xffU] ^ kTable[0][high >> 24U];
  }
  for (; left > 0; --left, ++at) crc = (crc >> 8U) ^ kTable[0][(crc ^ static_cast<std::uint32_t>(*at)) & 0xffU];
  return crc;
}

#if defined(__x86_64__) || defined(__i386__)

bool find_instruction() noexcept { return __builtin_cpu_supports("sse4.2"); }

__attribute__((target("sse4.2"))) std::uint32_t instruction_over(std::uint32_t crc,
                                                                 std::span<const std::byte> bytes) noexcept {
  const std::byte* at = bytes.data();
  std::size_t left = bytes.size();
#if defined(__x86_64__)
  std::uint64_t wide = crc;
  for (; left >= 8; left -= 8, at += 8) {
    std::uint64_t value;
    std::memcpy(&value, at, sizeof value);
    wide = _mm_crc32_u64(wide, value);
  }
  crc = static_cast<std::uint32_t>(wide);
#else
  for (; left >= 4; left -= 4, at += 4) crc = _mm_crc32_u32(crc, load32(at));
#endif
  for (; left > 0; --left, ++at) crc = _mm_crc32_u8(crc, static_cast<std::uint8_t>(*at));
  return crc;
}

#elif defined(__aarch64__)

bool find_instruction() noexcept { return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0; }

__attribute__((target("+crc"))) std::uint32_t instruction_over(std::uint32_t crc,
                                                               std::span<const std::byte> bytes) noexcept {
  const std::byte* at = bytes.data();
  std::size_t left = bytes.size();
  for (; left >= 8; left -= 8, at += 8) {
    std::uint64_t value;
    std::memcpy(&value, at, sizeof value);
    crc = __crc32cd(crc, value);
  }
  for (; left > 0; --left, ++at) crc = __crc32cb(crc, static_cast<std::uint8_t>(*at));
  return crc;
}

#else

bool find_instruction() noexcept { return false; }
std::uint32_t instruction_over(std::uint32_t crc, std::span<const std::byte> bytes) noexcept {
  return table_over(crc, bytes);
}

#endif

}  // namespace

bool crc32c_way::has_instruction() noexcept {
  static const bool found = find_instruction();
  return found;
}

std::uint32_t crc32c_way::by_table(std::span<const std::byte> bytes, std::uint32_t before) noexcept {
  return ~table_over(~before, bytes);
}

std::uint32_t crc32c_way::by_instruction(std::span<const std::byte> bytes, std::uint32_t before) noexcept {
  return has_instruction() ? ~instruction_over(~before, bytes) : by_table(bytes, before);
}

std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t before) noexcept {
  return crc32c_way::by_instruction(bytes, before);
}

}  // namespace portolan
