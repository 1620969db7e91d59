#include "transfer/link.h"

#include "transfer/rudp_link.h"
#include "transfer/socket_link.h"

#include <fmt/format.h>

#include <charconv>

namespace portolan::transfer {
namespace {

std::string_view scheme(Carrier carrier) noexcept {
  return carrier == Carrier::rudp ? "rudp://" : carrier == Carrier::tcp ? "tcp://" : "unix://";
}

}  // namespace

std::string Place::to_string() const {
  if (carrier == Carrier::unix_socket) return fmt::format("unix://{}", path);
  return fmt::format("{}{}", scheme(carrier),
                     name.empty() ? address.to_string() : fmt::format("{}:{}", name, address.port()));
}

std::expected<Place, std::string> Place::parse(std::string_view text, bool to_listen) {
  Place place;
  std::string_view rest = text;
  for (const Carrier carrier : {Carrier::rudp, Carrier::tcp, Carrier::unix_socket}) {
    if (!rest.starts_with(scheme(carrier))) continue;
    place.carrier = carrier;
    rest.remove_prefix(scheme(carrier).size());
    break;
  }
  const auto wrong = [&](std::string_view what) { return std::unexpected(fmt::format("\"{}\": {}", text, what)); };
  if (rest.find("://") != std::string_view::npos) return wrong("only rudp://, tcp:// and unix:// carry files");
  if (place.carrier == Carrier::unix_socket) {
    if (rest.empty()) return wrong("a path is missing");
    place.path = rest;
    return place;
  }
  if (const auto address = Address::parse(rest)) {
    place.address = *address;
    // Without a port none was written: 0 is one that takes any.
    const bool has_port = rest.ends_with(":0") || address->port() != 0;
    if (!has_port || (address->is_v6() && !rest.starts_with('['))) place.address.set_port(kDefaultPort);
    if (!to_listen && place.address.port() == 0) return wrong("a port is a number from 1 to 65535");
    return place;
  }
  std::string_view host = rest;
  std::uint16_t port = kDefaultPort;
  if (const std::size_t colon = rest.rfind(':'); colon != std::string_view::npos) {
    host = rest.substr(0, colon);
    const std::string_view digits = rest.substr(colon + 1);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
    if (error != std::errc{} || end != digits.data() + digits.size() || port == 0) {
      return wrong("a port is a number from 1 to 65535");
    }
  }
  if (!is_host_name(host)) return wrong("neither an address nor a host name, with a port or without");
  if (to_listen) return wrong("to listen, write an address: 0.0.0.0, [::], 127.0.0.1");
  place.name = host;
  place.address.set_port(port);
  return place;
}

std::expected<std::unique_ptr<Link>, std::string> dial(Loop& loop, const Place& place, const LinkOptions& options,
                                                       LinkHandler& handler) {
  if (place.carrier == Carrier::rudp) return dial_rudp(loop, place.address, options, handler);
  return dial_socket(loop, place, options, handler);
}

std::expected<std::unique_ptr<LinkListener>, std::string> listen(Loop& loop, const Place& place,
                                                                 const LinkOptions& options, LinkAcceptor& acceptor) {
  if (place.carrier == Carrier::rudp) return listen_rudp(loop, place.address, options, acceptor);
  return listen_socket(loop, place, options, acceptor);
}

}  // namespace portolan::transfer
