// The pre-shared key of a transfer's command, from where the user has put it.
#pragma once

#include "cli/transfer_commands.h"

#include <expected>
#include <optional>
#include <string>

namespace portolan {

// Nothing: none was given. The error is a sentence.
std::expected<std::optional<rudp::Key>, std::string> transfer_key(const TransferArguments& arguments);

}  // namespace portolan
