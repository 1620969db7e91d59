// The options `limits` of a service and `bans` of the whole, and what is made of them. Internal to core/config.
#pragma once

#include "config/configuration.h"
#include "config/schema.h"

#include <string>

namespace portolan {

inline constexpr Option kLimitFields[] = {
    {.key = "count",
     .type = OptionType::choice,
     .help = "what: new sessions, messages handled (of a stream or by datagram), or bytes received",
     .choices = "sessions|messages|bytes",
     .required = true},
    {.key = "per",
     .type = OptionType::choice,
     .fallback = "client",
     .help = "of one client address (IPv6: one /64; all unix peers are one), or of the service as a whole",
     .choices = "client|service"},
    {.key = "rate",
     .type = OptionType::rate,
     .help = "how many, as in \"100/s\", \"30/m\" or \"1MiB/s\"",
     .min = 0,
     .max = 1'099'511'627'776.0,
     .required = true},
    {.key = "window",
     .type = OptionType::duration,
     .fallback = "1s",
     .help = "the time over which `rate` times it is allowed: also what a token bucket lets through at once",
     .min = 0.1,
     .max = 86'400},
    {.key = "algorithm",
     .type = OptionType::choice,
     .fallback = "token_bucket",
     .help = "fixed_window: counts anew in each window, so that twice as much may pass around its turn; "
             "sliding_window: also counts what of the last window is still in view",
     .choices = "token_bucket|fixed_window|sliding_window"},
    {.key = "over",
     .type = OptionType::choice,
     .fallback = "refuse",
     .help =
         "refuse: the session is ended in order; delay: a stream is read later (not for sessions); drop: the "
         "connection is reset without a word. A datagram is dropped by each. All are counted as refused but a delay",
     .choices = "refuse|delay|drop"},
};

inline constexpr Option kBanFields[] = {
    {.key = "violations",
     .type = OptionType::integer,
     .fallback = "10",
     .help =
         "so many ban an address: refusals by accept_rate, message_rate, byte_rate (those of its own limits, not of "
         "the service's), max_sessions_per_client, message_too_long, bad_message, first_message_timeout or tls",
     .min = 1,
     .max = 1'000'000},
    {.key = "within", .type = OptionType::duration, .fallback = "1m", .help = "in this time", .min = 1, .max = 86'400},
    {.key = "time",
     .type = OptionType::duration,
     .fallback = "10m",
     .help = "how long it is turned away by every service",
     .min = 1,
     .max = 315'360'000},
    {.key = "never",
     .type = OptionType::text,
     .fallback = "127.0.0.0/8,::1",
     .help = "networks that are not banned, by hand neither; unix peers never are",
     .list = true},
    {.key = "max",
     .type = OptionType::integer,
     .fallback = "10000",
     .help = "addresses banned at the same time; over it the automatic ban that ends first gives way",
     .min = 1,
     .max = 100'000},
    {.key = "datagrams",
     .type = OptionType::boolean,
     .fallback = "false",
     .help = "violations by UDP count as well: its address may be forged, to have somebody else banned"},
};

void read_limits(const Options& options, const std::string& path, Checker& checker, std::vector<LimitRule>& limits);

// `enabled`: the configuration asks for automatic bans.
void read_bans(const Options& options, bool enabled, Checker& checker, BanOptions& bans);

}  // namespace portolan
