// The contract of a plugin: what a service has the store keep, and gets back (Context in service.h).
#pragma once

#include "descriptor.h"

#include <cstdint>
#include <span>
#include <string_view>

namespace portolan {

// A message between people that a service wants to find again: a row of the store's `chat_log`.
struct KeptMessage {
  std::int64_t time_ms = 0;  // Unix time; 0 in keep_message: now
  std::string_view room;
  std::string_view sender;
  std::string_view kind;  // of the plugin's own choice: "message", "action"
  std::string_view text;
};
class RecentMessagesHandler {
 public:
  // The oldest first; the views are valid during the call. With an `error`, a sentence, there are none: the store is
  // disabled, busy or broken.
  virtual void on_recent_messages(std::string_view room, std::span<const KeptMessage> messages,
                                  std::string_view error) noexcept = 0;

 protected:
  ~RecentMessagesHandler() = default;
};

// A file that came or went, and what became of it: a row of the store's `transfers`.
struct KeptTransfer {
  std::int64_t time_ms = 0;  // Unix time of its end; 0: now
  std::string_view peer;
  std::string_view direction;  // "received", "sent"
  std::string_view name;
  std::uint64_t bytes = 0;
  std::uint64_t new_bytes = 0;  // that travelled; fewer where a part was there already
  Duration duration{};
  std::string_view sha256 = {};  // in hexadecimal; empty: it did not come so far
  std::string_view outcome;      // "received", "identical", "refused", "failed"
  std::string_view detail = {};  // a sentence: why not
};

}  // namespace portolan
