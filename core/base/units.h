// Durations, sizes and rates as people write them: "1h30m", "64KiB", "100/s".
//
// Pure functions; the error is a sentence that says what was expected.
#pragma once

#include "plugin/descriptor.h"

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>

namespace portolan {

// A sum of numbers with the units ns, us, ms, s, m, h, d, w: "250ms", "1h30m", "1.5s". No sign; "0" alone is allowed.
std::expected<Duration, std::string> parse_duration(std::string_view text);
// "512", "64KiB", "1MB"; B, KiB, MiB, GiB, TiB (1024) and kB, MB, GB, TB (1000). Never over 2^53.
std::expected<std::int64_t, std::string> parse_size(std::string_view text);
// "100/s", "5/m", "3600/h", "1MiB/s", or a plain number per second. The answer is per second.
std::expected<double, std::string> parse_rate(std::string_view text);

std::string format_duration(Duration value);    // the shortest exact form: "90s" is "1m30s"
std::string format_size(std::int64_t bytes);    // exact when it can be: "64KiB", otherwise "1.4MiB"
std::string format_count(std::uint64_t value);  // for tables: "12,345"

}  // namespace portolan
