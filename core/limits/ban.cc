#include "ban.h"

#include <fmt/format.h>

namespace portolan {

std::string ban_text(const Address& client) { return client.host() + (client.is_v6() ? "/64" : ""); }

std::expected<Address, std::string> parse_banned(std::string_view text) {
  std::string_view host = text;
  std::string_view length;
  if (const std::size_t slash = text.find('/'); slash != std::string_view::npos) {
    host = text.substr(0, slash);
    length = text.substr(slash);
  }
  const auto address = Address::parse(host);
  if (!address) return std::unexpected(address.error());
  if (address->port() != 0 || host.starts_with('['))
    return std::unexpected(fmt::format("\"{}\": a ban is of an address, whatever its port: {}", text, address->host()));
  if (!length.empty() && length != (address->is_v6() ? "/64" : "/32"))
    return std::unexpected(
        fmt::format("\"{}\": a ban is of one IPv4 address, or of the /64 that an IPv6 address is in", text));
  return address->client();
}

}  // namespace portolan
