// The option `rudp` of a service and of targets, and what is made of it. Internal to core, and to plugins that dial.
#pragma once

#include "config/configuration.h"
#include "config/schema.h"

#include <string>

namespace portolan {

inline constexpr Option kRudpFields[] = {
    {.key = "key",
     .type = OptionType::text,
     .help = "pre-shared key, the same on both sides: a passphrase of five random words or more, \"hex:…\" or "
             "\"base64:…\" of 32 bytes; without one, nobody is kept out and nothing is secret",
     .min = 1,
     .max = 1024},
    {.key = "key_file", .type = OptionType::text, .help = "instead: a file with the key in its first line", .min = 1},
    {.key = "congestion",
     .type = OptionType::choice,
     .fallback = "model",
     .help = "model: tells random loss from congestion; cubic: as TCP does; fixed: `rate`, for links of one's own",
     .choices = "model|cubic|fixed"},
    {.key = "rate",
     .type = OptionType::rate,
     .fallback = "0",
     .help = "bytes sent with congestion = \"fixed\", as in \"5MiB/s\"",
     .min = 0,
     .max = 1e11},
    {.key = "max_rate",
     .type = OptionType::rate,
     .fallback = "0",
     .help = "bytes sent at most; 0: no limit",
     .min = 0,
     .max = 1e11},
    {.key = "redundancy",
     .type = OptionType::choice,
     .fallback = "fec",
     .help =
         "what goes beside the end of a stream, against loss: repair packets by the measured loss, its last packets "
         "twice, or nothing",
     .choices = "fec|twice|none"},
    {.key = "idle_timeout",
     .type = OptionType::duration,
     .fallback = "30s",
     .help = "without a packet from the peer: its connection, with all its streams, is given up",
     .min = 1,
     .max = 3600},
    {.key = "keep_alive",
     .type = OptionType::duration,
     .fallback = "10s",
     .help = "a packet after so long without one sent, well below the peer's idle_timeout; 0: none",
     .min = 0,
     .max = 3600},
};

// The views are into `options`.
inline RudpTarget rudp_target(const Options& options) noexcept {
  return {.key = options.text("key"),
          .key_file = options.text("key_file"),
          .congestion = options.text("congestion"),
          .redundancy = options.text("redundancy"),
          .rate = options.number("rate"),
          .max_rate = options.number("max_rate"),
          .idle_timeout = options.duration("idle_timeout"),
          .keep_alive = options.duration("keep_alive")};
}

}  // namespace portolan
