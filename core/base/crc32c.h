// CRC32C (Castagnoli; RFC 3720 appendix B.4): reflected polynomial 0x82f63b78, all ones at first, complemented at last.
//
// Any thread, no allocation. By the processor's instruction where it has one (SSE4.2; CRC32 of ARMv8 in 64-bit mode), found
// at run time, and by slicing-by-8 (Kounavis and Berry, "Novel Table Lookup-Based Algorithms for High-Performance CRC
// Generation", 2008) elsewhere.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace portolan {

// `before` is what it was of the bytes in front: crc32c(b, crc32c(a)) is that of a and b in one.
std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t before = 0) noexcept;

// Each way by itself, to test one against the other. The former is the same as the latter where there is no instruction.
namespace crc32c_way {
std::uint32_t by_instruction(std::span<const std::byte> bytes, std::uint32_t before) noexcept;
std::uint32_t by_table(std::span<const std::byte> bytes, std::uint32_t before) noexcept;
bool has_instruction() noexcept;
}  // namespace crc32c_way

}  // namespace portolan
