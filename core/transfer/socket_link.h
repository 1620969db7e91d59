// Links over TCP and unix sockets (link.h says what a link is).
#pragma once

#include "transfer/link.h"

namespace portolan::transfer {

std::expected<std::unique_ptr<Link>, std::string> dial_socket(Loop& loop, const Place& place,
                                                              const LinkOptions& options, LinkHandler& handler);
std::expected<std::unique_ptr<LinkListener>, std::string> listen_socket(Loop& loop, const Place& place,
                                                                        const LinkOptions& options,
                                                                        LinkAcceptor& acceptor);

}  // namespace portolan::transfer
