// Links over rudp: one stream of a connection of its own (link.h says what a link is).
#pragma once

#include "transfer/link.h"

namespace portolan::transfer {

std::expected<std::unique_ptr<Link>, std::string> dial_rudp(Loop& loop, const Address& address,
                                                            const LinkOptions& options, LinkHandler& handler);
std::expected<std::unique_ptr<LinkListener>, std::string> listen_rudp(Loop& loop, const Address& address,
                                                                      const LinkOptions& options,
                                                                      LinkAcceptor& acceptor);

}  // namespace portolan::transfer
