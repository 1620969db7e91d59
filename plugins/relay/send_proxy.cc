#include "plugins/relay/send_proxy.h"

namespace portolan::relay {
namespace {

ProxyHeaderBytes make(const SendProxySettings& settings, const Address& source, const Address& destination) noexcept {
  if (settings.version == SendProxy::none) {
    ProxyHeaderBytes nothing;
    nothing.size = 0;
    return nothing;
  }
  if (settings.version == SendProxy::v1) return make_proxy_line(source, destination);
  // Only texts can make one too long, and there are none.
  return *make_proxy_header({.source = source, .destination = destination, .crc32c = settings.crc});
}

}  // namespace

ProxyHeaderBytes session_header(const SendProxySettings& settings, const Stream& client) noexcept {
  if (settings.version == SendProxy::none) return check_header(settings);  // asks the system for nothing
  return make(settings, Address::from(client.peer_address()), Address::from(client.local_address()));
}

ProxyHeaderBytes check_header(const SendProxySettings& settings) noexcept { return make(settings, {}, {}); }

}  // namespace portolan::relay
