#include "cli/transfer_connection.h"

#include "net/rudp_settings.h"

#include <cstdlib>

namespace portolan {

std::expected<rudp::ConnectionOptions, std::string> transfer_connection(const TransferArguments& arguments) {
  RudpTarget target{.key = arguments.key, .key_file = arguments.key_file};
  const bool from_environment = arguments.key.empty() && arguments.key_file.empty();
  if (from_environment) {
    if (const char* variable = std::getenv("PORTOLAN_KEY")) target.key = variable;
  }
  auto read = read_rudp(target, ".");
  if (!read) return std::unexpected((from_environment ? "$PORTOLAN_KEY: " : "the key: ") + read.error());
  // What is of a transfer, and not of a listener of many sessions.
  rudp::ConnectionOptions options;
  options.key = read->key;
  options.congestion = arguments.congestion;
  options.rate = options.max_rate = arguments.rate;
  // Both sides say something at least once a second: silence means that the link is dead.
  options.idle_timeout = std::chrono::seconds(10);
  return options;
}

}  // namespace portolan
