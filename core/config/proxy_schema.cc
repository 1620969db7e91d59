#include "config/proxy_schema.h"

#include "base/net_error.h"

#include <fmt/format.h>

namespace portolan {

void read_proxy_protocol(const Options& options, const std::string& path, Checker& checker,
                         ServiceConfiguration& service) {
  ProxyOptions proxy{.timeout = options.duration("timeout"),
                     .max_size = static_cast<std::size_t>(options.integer("max_size"))};
  const std::size_t count = options.count("from");
  if (options.has("from") && count == 0)
    checker.add(path + ".from", "is empty: nobody could connect; name the proxies, as in { \"10.0.0.7\", \"unix\" }");
  for (std::size_t at = 0; at < count; ++at) {
    if (const auto added = proxy.from.add(options.text_at("from", at)); !added)
      checker.add(fmt::format("{}.from[{}]", path, at + 1), added.error());
  }
  if (service.listen.empty()) checker.add(path, "is given, but nothing listens");
  for (const Endpoint& endpoint : service.listen) {
    if (endpoint.transport != Transport::udp && endpoint.transport != Transport::rudp) continue;
    checker.add(path, fmt::format("a header in front of a stream is no matter of {}: give the {}:// listeners a "
                                  "service of their own",
                                  endpoint.to_string(), to_string(endpoint.transport)));
  }
  service.proxy_protocol = std::move(proxy);
}

}  // namespace portolan
