#include "plugins/relay/send_proxy.h"

namespace portolan::relay {
namespace {

ProxyHeaderBytes make(const SendProxySettings& settings, const Address& source, const Address& destination,
                      std::string_view host) noexcept {
  if (settings.version == SendProxy::none) {
    ProxyHeaderBytes nothing;
    nothing.size = 0;
    return nothing;
  }
  if (settings.version == SendProxy::v1) return make_proxy_line(source, destination);
  // A host's name alone makes none too long.
  return *make_proxy_header({.source = source, .destination = destination, .authority = host, .crc32c = settings.crc});
}

}  // namespace

ProxyHeaderBytes session_header(const SendProxySettings& settings, const Stream& client) noexcept {
  if (settings.version == SendProxy::none) return check_header(settings);  // asks the system for nothing
  const std::string_view host = client.server_name();
  return make(settings, Address::from(client.peer_address()), Address::from(client.local_address()),
              is_host_name(host) ? host : std::string_view());
}

ProxyHeaderBytes check_header(const SendProxySettings& settings) noexcept { return make(settings, {}, {}, {}); }

}  // namespace portolan::relay
