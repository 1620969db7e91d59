// The options `store`, and what is made of them. Internal to core/config.
#pragma once

#include "config/schema.h"
#include "store/store.h"

#include <cstdint>

namespace portolan {

inline constexpr double kLongestKept = 86'400.0 * 3650;  // seconds

inline constexpr Option kStoreFields[] = {
    {.key = "path",
     .type = OptionType::text,
     .fallback = "portolan.db",
     .help = "the SQLite file, in state_dir when relative",
     .min = 1},
    {.key = "flush_every",
     .type = OptionType::duration,
     .fallback = "10s",
     .help = "how often counters are written, and how much a crash may lose",
     .min = 0.1,
     .max = 86'400},
    {.key = "keep",
     .type = OptionType::duration,
     .fallback = "90d",
     .help = "how long days, sessions and events are kept",
     .min = 60,
     .max = kLongestKept},
    {.key = "keep_minutes",
     .type = OptionType::duration,
     .fallback = "2d",
     .help = "how long minutes are kept; then hours remain",
     .min = 60,
     .max = kLongestKept},
    {.key = "keep_hours",
     .type = OptionType::duration,
     .fallback = "30d",
     .help = "how long hours are kept; then days remain",
     .min = 3600,
     .max = kLongestKept},
    {.key = "session_records",
     .type = OptionType::integer,
     .fallback = "100",
     .help = "ended sessions recorded in one flush; the rest are only counted",
     .min = 0,
     .max = 1'000'000},
    {.key = "event_records",
     .type = OptionType::integer,
     .fallback = "100",
     .help = "different events recorded in one flush",
     .min = 0,
     .max = 1'000'000},
    {.key = "keep_messages",
     .type = OptionType::duration,
     .help = "how long messages of chats are kept; as long as store.keep when it is not given",
     .min = 60,
     .max = kLongestKept},
    {.key = "messages_per_service",
     .type = OptionType::integer,
     .fallback = "100000",
     .help = "messages of chats kept of one service; the oldest go first",
     .min = 0,
     .max = 100'000'000},
    {.key = "script_keys",
     .type = OptionType::integer,
     .fallback = "10000",
     .help = "values that scripts may keep, over all services",
     .min = 0,
     .max = 10'000'000},
    {.key = "script_bytes",
     .type = OptionType::size,
     .fallback = "16MiB",
     .help = "bytes that those values and their keys may take, in memory too",
     .min = 0,
     .max = 1'073'741'824.0},
};

// All but the path.
inline void read_store(const Options& store, StoreOptions& out) {
  const auto integer32 = [&](std::string_view key) { return static_cast<std::uint32_t>(store.integer(key)); };
  out.flush_every = store.duration("flush_every");
  out.keep = store.duration("keep");
  out.keep_minutes = store.duration("keep_minutes");
  out.keep_hours = store.duration("keep_hours");
  out.keep_messages = store.has("keep_messages") ? store.duration("keep_messages") : out.keep;
  out.session_records = integer32("session_records");
  out.event_records = integer32("event_records");
  out.messages_per_service = integer32("messages_per_service");
  out.script_keys = integer32("script_keys");
  out.script_bytes = static_cast<std::uint64_t>(store.integer("script_bytes"));
}

}  // namespace portolan
