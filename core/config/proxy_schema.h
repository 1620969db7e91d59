// The option `proxy_protocol` of a service, and what is made of it. Internal to core/config.
#pragma once

#include "config/configuration.h"
#include "config/schema.h"

#include <string>

namespace portolan {

inline constexpr Option kProxyFields[] = {
    {.key = "from",
     .type = OptionType::text,
     .help =
         "the proxies: networks such as \"10.0.0.0/8\", and \"unix\" for the peers of unix:// listeners. Whoever "
         "connects from there says who the client is: name the proxies, not the network that they share with others",
     .required = true,
     .list = true},
    {.key = "timeout",
     .type = OptionType::duration,
     .fallback = "3s",
     .help = "from the connection to the end of the header",
     .min = 0.01,
     .max = 300},
    {.key = "max_size",
     .type = OptionType::size,
     .fallback = "536",
     .help = "the longest header; more for proxies that tell all that they know of a TLS client",
     .min = kProxyLineSize,
     .max = kMaxProxyHeaderSize},
};

// `options` is the service's table of this name, `path` its path. Needs service.listen.
void read_proxy_protocol(const Options& options, const std::string& path, Checker& checker,
                         ServiceConfiguration& service);

}  // namespace portolan
