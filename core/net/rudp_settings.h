// From what a configuration or a script says of rudp to what a connection is told.
//
// Any thread. Reads the key's file, and opens nothing else.
#pragma once

#include "plugin/service.h"
#include "rudp/options.h"

#include <expected>
#include <string>

namespace portolan {

// The error is a sentence that begins with the option it is about. Relative paths belong to `folder`. A key that is a
// passphrase costs a tenth of a second the first time.
std::expected<rudp::ConnectionOptions, std::string> read_rudp(const RudpTarget& options, const std::string& folder);

}  // namespace portolan
