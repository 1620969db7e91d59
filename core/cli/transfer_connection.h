// What a transfer's command tells rudp, and the pre-shared key from where the user has put it.
#pragma once

#include "cli/transfer_commands.h"

#include <expected>
#include <string>

namespace portolan {

// The error is a sentence.
std::expected<rudp::ConnectionOptions, std::string> transfer_connection(const TransferArguments& arguments);

}  // namespace portolan
