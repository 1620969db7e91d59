// The options of a chat service as its code wants them.
#pragma once

#include "limits/rate_limit.h"
#include "plugin/descriptor.h"
#include "plugins/chat/bridge.h"
#include "plugins/chat/history.h"
#include "plugins/chat/outbox.h"

#include <optional>
#include <string>

namespace portolan::chat {

enum class FormatChoice : std::uint8_t { automatic, text, json };

struct Settings {
  FormatChoice format = FormatChoice::automatic;
  std::size_t max_line = 4096;
  std::string room;  // the first one
  std::string welcome;
  std::size_t max_rooms = 100;
  HistoryLimits history;
  bool keep_history = false;  // in the store
  OutboxLimits queue;
  RateLimit user_rate;
  std::string operator_password;  // empty: nobody becomes one by it
  std::optional<BridgeSettings> bridge;
};

}  // namespace portolan::chat
