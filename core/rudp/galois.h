// Arithmetic in GF(2^8) modulo x^8 + x^4 + x^3 + x^2 + 1 (0x11d), and the one operation on buffers that erasure codes
// spend their time in: adding multiples of one buffer to others.
//
// Done by libisal where the build has it, otherwise by shuffles of 16 bytes (SSSE3, NEON), otherwise by tables. Pure
// functions, any thread. A byte's product is the sum of those of its halves, each of which is one of 16: Plank,
// Greenan, Miller, "Screaming Fast Galois Field Arithmetic Using Intel SIMD Instructions", FAST 2013.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace portolan::rudp::galois {

std::uint8_t multiply(std::uint8_t a, std::uint8_t b) noexcept;
std::uint8_t inverse(std::uint8_t a) noexcept;  // of 0: 0

// At most this many buffers are added to at a time.
inline constexpr std::size_t kMostTargets = 32;

// targets[i] += factors[i] * source, over the length of the source, which no target overlaps.
void add_multiples(std::span<std::byte* const> targets, const std::uint8_t* factors,
                   std::span<const std::byte> source) noexcept;

// The ways of doing so, to be tested and measured against each other; each may be called where it is available.
enum class Way : std::uint8_t { tables, shuffles, library };
bool available(Way way) noexcept;
void add_multiples(Way way, std::span<std::byte* const> targets, const std::uint8_t* factors,
                   std::span<const std::byte> source) noexcept;
Way chosen() noexcept;  // what add_multiples takes when not told
std::string_view to_string(Way way) noexcept;

}  // namespace portolan::rudp::galois
