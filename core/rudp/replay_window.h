// Accepts each packet number once: a bitmap over the newest numbers, a ring of words that is never shifted (RFC 6479; the
// rule is RFC 4303 section 3.4.3's). What lies further back than the window is refused, whether it came or not.
//
// 512 bytes for each connection. One owner's thread. O(1): a jump clears at most all words, once.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

namespace portolan::rudp {

class ReplayWindow {
 public:
  // One word less than the ring has: the newest number may be the first of its word, whose others are yet to come.
  static constexpr std::uint64_t kWords = 64;
  static constexpr std::uint64_t kSize = (kWords - 1) * 64;

  // Whether it would be accepted: asked before a packet is opened, which spares the work for what was seen.
  bool is_new(std::uint64_t number) const noexcept {
    if (number >= end_) return true;
    return end_ - number <= kSize && (word(number) & bit(number)) == 0;
  }

  // False: seen, or too old. Only for a packet that opened, or a forger could move the window.
  bool accept(std::uint64_t number) noexcept {
    if (!is_new(number)) return false;
    if (number >= end_) advance(number);
    word(number) |= bit(number);
    return true;
  }

 private:
  static std::uint64_t bit(std::uint64_t number) noexcept { return std::uint64_t{1} << (number % 64); }
  std::uint64_t& word(std::uint64_t number) noexcept { return words_[number / 64 % kWords]; }
  std::uint64_t word(std::uint64_t number) const noexcept { return words_[number / 64 % kWords]; }

  void advance(std::uint64_t number) noexcept {
    // Words that begin anew: those behind the one that held the newest number so far (at first, its own as well, clear
    // already), up to that of this number.
    const std::uint64_t from = end_ == 0 ? 0 : (end_ - 1) / 64 + 1;
    const std::uint64_t to = number / 64 + 1;
    const std::uint64_t count = std::min(to - std::min(from, to), kWords);
    for (std::uint64_t i = 1; i <= count; ++i) words_[(to - i) % kWords] = 0;
    end_ = number + 1;
  }

  std::uint64_t end_ = 0;  // the newest number accepted, and one
  std::array<std::uint64_t, kWords> words_{};
};

}  // namespace portolan::rudp
