// A systematic erasure code: up to 64 source symbols, up to 32 repair symbols, and any as many of them as there are
// sources give back the sources. What is lost is known; what arrives is taken to be whole.
//
// Repair j is the sum over the sources i of factor(j, i) * source i, in GF(2^8). The factors are a Cauchy matrix, 1 /
// (x_j + y_i) with y_i = i and x_j = 64 + j, whose columns are divided by their first row: repair 0 is the XOR of the
// sources. The matrix does not depend on how many sources or repairs there are. A symbol that is shorter than others is
// taken to end in zeros. Pure functions, any thread; nothing is allocated.
//
// Cauchy matrices as codes: Blömer et al., "An XOR-Based Erasure-Resilient Coding Scheme", ICSI TR-95-048, 1995.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace portolan::rudp::reed_solomon {

inline constexpr std::size_t kMostSources = 64;
inline constexpr std::size_t kMostRepairs = 32;

// Of source `source` (< kMostSources) in repair `repair` (< kMostRepairs).
std::uint8_t factor(std::size_t repair, std::size_t source) noexcept;

// Adds a source to repairs 0, 1, …, which start as zeros and are at least as long as it. In any order, each once.
void add_source(std::size_t index, std::span<const std::byte> source, std::span<std::byte* const> repairs) noexcept;

struct Repair {
  std::size_t index = 0;
  std::byte* bytes = nullptr;  // of the block's symbol size; used up by the recovery
};

// Fills the sources that are missing: those whose bit in `missing` is set (bit i for source i), each a buffer of `size`
// bytes. The others are at most as long. Takes as many different repairs as sources are missing, which is at most
// kMostRepairs.
void recover(std::span<const std::span<std::byte>> sources, std::uint64_t missing, std::span<const Repair> repairs,
             std::size_t size) noexcept;

}  // namespace portolan::rudp::reed_solomon
