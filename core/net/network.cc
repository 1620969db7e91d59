#include "net/network.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

namespace portolan {

namespace {

constexpr unsigned kMappedBits = 96;  // ::ffff:0:0/96 is IPv4's place in IPv6

unsigned bits_of(const Address& address) noexcept { return address.is_v4() ? 32 : 128; }

// The bits of byte `at` that belong to a prefix of `length` bits.
std::uint8_t mask_at(std::size_t at, unsigned length) noexcept {
  const unsigned bits = std::clamp<unsigned>(length, static_cast<unsigned>(at) * 8, static_cast<unsigned>(at) * 8 + 8);
  return static_cast<std::uint8_t>(0xff00U >> (bits - at * 8));
}

// The address with zeros behind the prefix.
Address masked(const Address& address, unsigned length) noexcept {
  std::array<std::uint8_t, 16> bytes{};
  const std::size_t size = address.bytes().size();
  for (std::size_t at = 0; at < size; ++at) bytes[at] = address.bytes()[at] & mask_at(at, length);
  return Address::from(std::span(bytes).first(size), 0);
}

std::expected<unsigned, std::string> parse_length(std::string_view text, unsigned least, unsigned most,
                                                  std::string_view whole) {
  unsigned value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool number = end == text.data() + text.size() && !text.empty() && (text.size() == 1 || text.front() != '0');
  if (!number || error != std::errc{} || value < least || value > most) {
    return std::unexpected(
        fmt::format("\"{}\": the prefix length \"{}\" is not a number from {} to {}", whole, text, least, most));
  }
  return value;
}

}  // namespace

std::expected<Network, std::string> Network::parse(std::string_view text) {
  if (const std::size_t nul = text.find('\0'); nul != std::string_view::npos) {
    return std::unexpected(fmt::format("\"{}\": a network cannot hold a NUL byte", text.substr(0, nul)));
  }
  const std::size_t slash = text.find('/');
  const std::string_view host = text.substr(0, slash);
  if (host.empty()) {
    return std::unexpected(fmt::format(
        "\"{}\": the address is missing; 0.0.0.0/0 stands for every IPv4 address, ::/0 for every IPv6 one", text));
  }
  if (host.find_first_of("[]") != std::string_view::npos) {
    return std::unexpected(fmt::format("\"{}\": a network has neither brackets nor a port: 2001:db8::/32", text));
  }
  const bool v6 = std::ranges::count(host, ':') > 1;
  if (const std::size_t extra = host.find(v6 ? '%' : ':'); extra != std::string_view::npos) {
    return std::unexpected(
        fmt::format("\"{}\": a network has no {}; leave \"{}\" away", text, v6 ? "zone" : "port", host.substr(extra)));
  }
  const auto address = Address::parse(host);
  if (!address) {
    // The complaint quotes the part before the slash: quote what was written instead.
    return std::unexpected(fmt::format("\"{}\"{}", text, address.error().substr(host.size() + 2)));
  }

  const unsigned all = bits_of(*address);
  if (slash == std::string_view::npos) return Network(*address, all);
  const unsigned before = v6 && address->is_v4() ? kMappedBits : 0;  // counted by the text, not by the address
  const auto length = parse_length(text.substr(slash + 1), before, before + all, text);
  if (!length) return std::unexpected(length.error());
  const Network network(masked(*address, *length - before), *length - before);
  if (network.base_ != *address) {
    return std::unexpected(fmt::format("\"{}\": bits are set behind the prefix; write {}, or {} for the one address",
                                       text, network.to_string(), address->host()));
  }
  return network;
}

bool Network::contains(const Address& address) const noexcept {
  if (address.is_v4() != base_.is_v4() || address.is_v6() != base_.is_v6()) return false;
  const auto bytes = address.bytes();
  const auto base = base_.bytes();
  for (std::size_t at = 0; at * 8 < length_; ++at) {
    if ((bytes[at] ^ base[at]) & mask_at(at, length_)) return false;
  }
  return true;
}

std::string Network::to_string() const {
  return length_ == bits_of(base_) ? base_.host() : fmt::format("{}/{}", base_.host(), length_);
}

// ---- NetworkList ---------------------------------------------------------------------------------------------

std::expected<NetworkList, std::string> NetworkList::parse(std::span<const std::string_view> texts) {
  NetworkList list;
  for (const std::string_view text : texts) {
    if (auto added = list.add(text); !added) return std::unexpected(std::move(added.error()));
  }
  return list;
}

std::expected<void, std::string> NetworkList::add(std::string_view text) {
  if (text == "unix") {
    unix_ = true;
    return {};
  }
  auto network = Network::parse(text);
  if (!network) return std::unexpected(std::move(network.error()));
  networks_.push_back(*network);
  return {};
}

bool NetworkList::contains(const Address& address) const noexcept {
  if (address.empty()) return unix_;
  return std::ranges::any_of(networks_, [&](const Network& network) { return network.contains(address); });
}

}  // namespace portolan
