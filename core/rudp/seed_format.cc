#include "rudp/seed_format.h"

#include <algorithm>
#include <cstring>

namespace portolan::rudp {

namespace {

constexpr std::byte kTypes[] = {std::byte{1}, std::byte{2}, std::byte{3}};  // of files, by SeedKind

std::uint32_t load_be32(const std::byte* bytes) noexcept {
  std::uint32_t value = 0;
  for (int i = 0; i < 4; ++i) value = value << 8U | std::to_integer<std::uint32_t>(bytes[i]);
  return value;
}

void store_be32(std::uint32_t value, std::byte* bytes) noexcept {
  for (int i = 3; i >= 0; --i, value >>= 8U) bytes[i] = static_cast<std::byte>(value);
}

bool begins_with(std::span<const std::byte> bytes, std::string_view text) noexcept {
  return bytes.size() >= text.size() && std::memcmp(bytes.data(), text.data(), text.size()) == 0;
}

}  // namespace

bool SeedPacket::asks() const noexcept {
  return kind == SeedKind::data && payload.size() == kSeedQuestion.size() && begins_with(payload, kSeedQuestion);
}

std::optional<std::uint16_t> SeedPacket::offer() const noexcept {
  if (kind != SeedKind::acknowledgement || payload.size() != kSeedOffer.size() + 2 || !begins_with(payload, kSeedOffer))
    return std::nullopt;
  const std::byte* number = payload.data() + kSeedOffer.size();
  return static_cast<std::uint16_t>(std::to_integer<unsigned>(number[0]) << 8U | std::to_integer<unsigned>(number[1]));
}

std::optional<SeedPacket> parse_seed(SeedFormat format, std::span<const std::byte> datagram) noexcept {
  if (datagram.size() < kSeedHeader) return std::nullopt;
  const std::span<const std::byte> payload = datagram.subspan(kSeedHeader);
  if (format == SeedFormat::messages) {
    if (datagram[4] > std::byte{1}) return std::nullopt;
    const SeedKind kind = datagram[4] == std::byte{0} ? SeedKind::data : SeedKind::acknowledgement;
    return SeedPacket{kind, load_be32(datagram.data()), payload};
  }
  const auto* type = std::ranges::find(kTypes, datagram[0]);
  if (type == std::end(kTypes) || datagram.size() > kSeedFilePacket) return std::nullopt;
  constexpr SeedKind kKinds[] = {SeedKind::data, SeedKind::acknowledgement, SeedKind::fin};
  return SeedPacket{kKinds[type - kTypes], load_be32(datagram.data() + 1), payload};
}

void write_seed_header(SeedFormat format, SeedKind kind, std::uint32_t sequence, std::byte* into) noexcept {
  if (format == SeedFormat::messages) {
    store_be32(sequence, into);
    into[4] = kind == SeedKind::acknowledgement ? std::byte{1} : std::byte{0};
  } else {
    into[0] = kTypes[static_cast<std::size_t>(kind)];
    store_be32(sequence, into + 1);
  }
}

std::size_t write_seed_reply(SeedFormat format, std::uint32_t sequence, std::optional<std::uint16_t> offer,
                             std::byte* into) noexcept {
  write_seed_header(format, SeedKind::acknowledgement, sequence, into);
  if (!offer) return kSeedHeader;
  std::byte* payload = into + kSeedHeader;
  std::memcpy(payload, kSeedOffer.data(), kSeedOffer.size());
  payload[kSeedOffer.size()] = static_cast<std::byte>(*offer >> 8U);
  payload[kSeedOffer.size() + 1] = static_cast<std::byte>(*offer);
  return kSeedLongestReply;
}

}  // namespace portolan::rudp
