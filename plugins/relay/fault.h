// A fault: one way in which a relay breaks the network on purpose. What it is, how it is written, how it is checked.
//
// A value, made from an entry of the configuration's `faults` or from a line of text ("latency latency=100ms
// jitter=20ms"), which go through the same schema. Any thread. Refused are parameters that another kind has, missing
// ones, and values that contradict each other; whether a kind makes sense for what a service carries is asked of unfit().
// What the faults do is in fault_stream.h and fault_datagram.h.
#pragma once

#include "plugin/descriptor.h"

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>

namespace portolan::relay {

enum class FaultKind : std::uint8_t {
  latency,
  bandwidth,
  loss,
  duplicate,
  reorder,
  corrupt,
  slicer,
  slow_close,
  reset,
  close_after,
  black_hole,
};

// Sets, as bits.
enum class FaultDirection : std::uint8_t { to_backend = 1, to_client = 2, both = 3 };
enum class Carrier : std::uint8_t { streams = 1, datagrams = 2, both = 3 };
template <typename Set>
  requires(std::is_same_v<Set, FaultDirection> || std::is_same_v<Set, Carrier>)
constexpr bool overlap(Set one, Set other) noexcept {
  return (static_cast<unsigned>(one) & static_cast<unsigned>(other)) != 0;
}

enum class Distribution : std::uint8_t { uniform, normal };

// Zero is "not given" in every parameter; which ones a kind has is in the table of fault.cc (see fault_help).
struct Fault {
  std::string name;
  FaultKind kind = FaultKind::latency;
  FaultDirection direction = FaultDirection::both;
  double probability = 1;
  std::int64_t seed = 0;  // 0: a FaultSet draws one
  Duration latency{};
  Duration jitter{};
  Distribution distribution = Distribution::uniform;
  std::int64_t rate = 0;  // bytes per second
  std::int64_t burst = 0;
  std::int64_t copies = 0;
  std::int64_t gap = 0;
  std::int64_t block = 0;
  std::int64_t size = 0;
  std::int64_t variation = 0;
  Duration delay{};
  std::int64_t after_bytes = 0;
  Duration after_time{};
  friend bool operator==(const Fault&, const Fault&) = default;
};

// The largest seed: what a JSON number and a Lua number hold exactly.
inline constexpr std::int64_t kMaxFaultSeed = (std::int64_t{1} << 53U) - 1;

// The fields of an entry of `faults`, for a plugin's Option of type table.
inline constexpr Option kFaultFields[] = {
    {.key = "kind",
     .type = OptionType::choice,
     .help = "what goes wrong",
     .choices = "latency|bandwidth|loss|duplicate|reorder|corrupt|slicer|slow_close|reset|close_after|black_hole",
     .required = true},
    {.key = "name",
     .type = OptionType::text,
     .help = "what to change or remove it by; its kind when not given",
     .min = 1,
     .max = 64},
    {.key = "direction",
     .type = OptionType::choice,
     .fallback = "both",
     .help = "what it is done to: what goes to the backend, to the client, or both",
     .choices = "to_backend|to_client|both"},
    {.key = "probability",
     .type = OptionType::number,
     .fallback = "1",
     .help =
         "that it strikes: drawn for each datagram or corrupted block, by the other kinds once for each session and "
         "direction",
     .min = 0,
     .max = 1},
    {.key = "seed",
     .type = OptionType::integer,
     .fallback = "0",
     .help = "the same seed makes the same decisions; 0 draws one, which the list of faults shows",
     .min = 0,
     .max = static_cast<double>(kMaxFaultSeed)},
    {.key = "latency", .type = OptionType::duration, .help = "latency: time that bytes are under way", .max = 86400},
    {.key = "jitter",
     .type = OptionType::duration,
     .help = "latency: how far it varies, up or down; of distribution = \"normal\" the standard deviation",
     .max = 86400},
    {.key = "distribution",
     .type = OptionType::choice,
     .fallback = "uniform",
     .help = "latency: how the jitter is spread",
     .choices = "uniform|normal"},
    {.key = "rate", .type = OptionType::rate, .help = "bandwidth: bytes per second", .max = 1e12},
    {.key = "burst",
     .type = OptionType::size,
     .help = "bandwidth: bytes that pass at once after a pause",
     .max = 1024.0 * 1024 * 1024},
    {.key = "copies",
     .type = OptionType::integer,
     .fallback = "1",
     .help = "duplicate: how many more of the datagram there are",
     .min = 1,
     .max = 16},
    {.key = "gap",
     .type = OptionType::integer,
     .help = "reorder: how many later datagrams go past one that is held back",
     .min = 0,
     .max = 1000},
    {.key = "block",
     .type = OptionType::size,
     .fallback = "1KiB",
     .help = "corrupt: of a stream, one byte in a block of this size is changed; of a datagram, one byte",
     .min = 1,
     .max = 1024.0 * 1024 * 1024},
    {.key = "size",
     .type = OptionType::size,
     .help = "slicer: bytes that are written at once",
     .min = 1,
     .max = 1024.0 * 1024},
    {.key = "variation",
     .type = OptionType::size,
     .help = "slicer: how far the size varies, up or down",
     .max = 1024.0 * 1024},
    {.key = "delay",
     .type = OptionType::duration,
     .help =
         "slicer: pause between slices; slow_close: before the end is passed on; reorder: how long a datagram is held "
         "back at most",
     .max = 86400},
    {.key = "after_bytes",
     .type = OptionType::size,
     .help =
         "reset, close_after, black_hole: bytes that pass before; with after_time, what comes first; with neither, at "
         "once"},
    {.key = "after_time",
     .type = OptionType::duration,
     .help = "reset, close_after, black_hole: time that passes before"},
};

// One entry of `faults`, which the schema has passed. Reports what the schema cannot check under `path`: "faults[2]".
std::optional<Fault> read_fault(const Options& options, const std::string& path, Problems& problems);

// "latency latency=100ms jitter=20ms direction=to_client": the kind, then what the configuration has, in any order. The
// error says everything that is wrong with it.
std::expected<Fault, std::string> parse_fault(std::string_view text);
// The same line, such that parse_fault reads the same fault.
std::string to_text(const Fault& fault);
// {"name":"slow","kind":"latency",…}: the values are those of the configuration.
std::string to_json(const Fault& fault);

std::string_view kind_name(FaultKind kind) noexcept;
// True for kinds whose probability is drawn for each datagram or block, not for a session.
bool drawn_each_time(FaultKind kind) noexcept;
bool fits(FaultKind kind, Carrier carrier) noexcept;
// Why a service that carries nothing else has no use for this fault; empty when it has.
std::string unfit(const Fault& fault, Carrier carrier);

// For the terminal: every kind with its parameters.
std::string fault_help();

}  // namespace portolan::relay
