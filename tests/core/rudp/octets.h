// Bytes as tests of rudp write and compare them.
#pragma once

#include "rudp/primitives.h"

#include <string>
#include <string_view>
#include <vector>

namespace portolan::rudp {

using Octets = std::vector<std::byte>;

inline Octets from_hex(std::string_view digits) {
  Octets out;
  for (std::size_t i = 0; i + 1 < digits.size(); i += 2) {
    out.push_back(static_cast<std::byte>(std::stoul(std::string(digits.substr(i, 2)), nullptr, 16)));
  }
  return out;
}

inline std::string to_hex(Bytes bytes) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (const std::byte byte : bytes) {
    out += kDigits[static_cast<unsigned>(byte) >> 4U];
    out += kDigits[static_cast<unsigned>(byte) & 15U];
  }
  return out;
}

inline Octets from_text(std::string_view text) {
  const Bytes bytes = std::as_bytes(std::span(text.data(), text.size()));
  return Octets(bytes.begin(), bytes.end());
}

inline Secret secret_of(std::string_view digits) {
  const Octets octets = from_hex(digits);
  return Secret(std::span<const std::byte, Secret::kSize>(octets.data(), Secret::kSize));
}

// 00 01 02 ... 1f
inline const Secret kCounting = secret_of("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");

inline Octets counting(std::size_t size) {
  Octets out(size);
  for (std::size_t i = 0; i < size; ++i) out[i] = static_cast<std::byte>(i * 7 + 1);
  return out;
}

}  // namespace portolan::rudp
