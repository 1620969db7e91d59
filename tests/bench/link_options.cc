#include "link_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <utility>

namespace portolan::bench {
namespace {

using std::chrono::duration;

struct Unit {
  std::string_view name;
  double factor;
};
constexpr Unit kRates[] = {{"Gbit", 1e9}, {"Mbit", 1e6}, {"kbit", 1e3}, {"bit", 1}};
constexpr Unit kTimes[] = {{"ms", 1e-3}, {"us", 1e-6}, {"s", 1}};
constexpr Unit kSizes[] = {{"MiB", 1024.0 * 1024}, {"KiB", 1024}, {"B", 1}};
constexpr Unit kShares[] = {{"%", 0.01}};

// A number and its unit, which may not be left out; negative ones have no meaning anywhere here.
template <std::size_t N>
std::optional<double> quantity(std::string_view text, const Unit (&units)[N]) {
  for (const Unit& unit : units) {
    if (!text.ends_with(unit.name)) continue;
    const std::string_view digits = text.substr(0, text.size() - unit.name.size());
    double value = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (error != std::errc{} || end != digits.data() + digits.size() || !(value >= 0) || std::isinf(value)) return {};
    return value * unit.factor;
  }
  return {};
}

std::optional<LinkTime> time_of(std::string_view text) {
  const auto seconds = quantity(text, kTimes);
  if (!seconds || *seconds > 1e6) return {};
  return std::chrono::duration_cast<LinkTime>(duration<double>(*seconds));
}

// `text` up to the mark, and what is behind it.
std::optional<std::pair<std::string_view, std::string_view>> halves(std::string_view text, char mark) {
  const std::size_t at = text.find(mark);
  if (at == std::string_view::npos) return {};
  return std::pair(text.substr(0, at), text.substr(at + 1));
}

template <typename T>
bool assign(T& target, const std::optional<T>& value) {
  if (value) target = *value;
  return value.has_value();
}

bool set_rate(LinkShape& shape, std::string_view text) {
  return assign(shape.bits_per_second, quantity(text, kRates)) && shape.bits_per_second >= 1;
}

bool set_step(LinkShape& shape, std::string_view text) {
  const auto parts = halves(text, '=');
  const auto at = parts ? time_of(parts->first) : std::nullopt;
  const auto rate = parts ? quantity(parts->second, kRates) : std::nullopt;
  if (!at || !rate || *rate < 1) return false;
  shape.steps.push_back({*at, *rate});
  std::ranges::stable_sort(shape.steps, {}, &RateStep::at);
  return true;
}

bool set_queue(LinkShape& shape, std::string_view text) {
  if (const auto bytes = quantity(text, kSizes); bytes && !text.ends_with("s")) {
    shape.queue_bytes = std::max<std::uint64_t>(1, static_cast<std::uint64_t>(*bytes));
    return true;
  }
  return assign(shape.queue, time_of(text));
}

bool set_policer(LinkShape& shape, std::string_view text) {
  const auto parts = halves(text, '/');
  const auto burst = parts ? quantity(parts->second, kSizes) : std::nullopt;
  if (burst) shape.policer_burst_bytes = static_cast<std::uint64_t>(*burst);
  return burst && assign(shape.policed_bits_per_second, quantity(parts->first, kRates));
}

bool set_loss(LinkShape& shape, std::string_view text) {
  const auto parts = halves(text, '/');
  if (parts) {
    const std::string_view digits = parts->second;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), shape.loss_burst);
    if (error != std::errc{} || end != digits.data() + digits.size() || !(shape.loss_burst >= 1)) return false;
  }
  return assign(shape.loss, quantity(parts ? parts->first : text, kShares)) && shape.loss < 1;
}

bool set_reordering(LinkShape& shape, std::string_view text) {
  const auto parts = halves(text, '/');
  if (parts && !assign(shape.reorder_by, time_of(parts->second))) return false;
  return assign(shape.reorder, quantity(parts ? parts->first : text, kShares));
}

bool set_outage(LinkShape& shape, std::string_view text) {
  const auto parts = halves(text, '+');
  const auto from = parts ? time_of(parts->first) : std::nullopt;
  const auto length = parts ? time_of(parts->second) : std::nullopt;
  if (from && length) shape.outages.push_back({*from, *from + *length});
  return from && length;
}

// What is said of the link holds for both directions, unless `--there-` or `--back-` is before the name.
struct ShapeOption {
  std::string_view name;
  std::string_view example;
  std::string_view help;
  bool (*set)(LinkShape& shape, std::string_view text);
};
constexpr ShapeOption kShapeOptions[] = {
    {"rate", "50Mbit", "of the bottleneck, Ethernet headers included", set_rate},
    {"rate-at", "5s=20Mbit", "from then on; may be repeated", set_step},
    {"queue", "50ms", "drop-tail, before the bottleneck; or in bytes: 64KiB, 30000B", set_queue},
    {"police", "40Mbit/64KiB", "drop what exceeds that rate and burst, before the queue", set_policer},
    {"loss", "5%", "after the bottleneck, each packet for itself; 5%/8: in bursts of 8 packets on average", set_loss},
    {"delay", "10ms", "of propagation, one way",
     [](LinkShape& shape, std::string_view text) { return assign(shape.delay, time_of(text)); }},
    {"jitter", "2ms", "up to so much more, in order",
     [](LinkShape& shape, std::string_view text) { return assign(shape.jitter, time_of(text)); }},
    {"reorder", "1%/5ms", "packets that come so much later than their turn", set_reordering},
    {"duplicate", "1%", "packets that come twice",
     [](LinkShape& shape, std::string_view text) { return assign(shape.duplicate, quantity(text, kShares)); }},
    {"corrupt", "0.1%", "packets with a bit turned over",
     [](LinkShape& shape, std::string_view text) { return assign(shape.corrupt, quantity(text, kShares)); }},
    {"outage", "5s+2s", "from then, for so long, all is lost; may be repeated", set_outage},
};

template <typename T>
bool set_number(T& target, std::string_view text, T low, T high) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value < low || value > high) return false;
  target = value;
  return true;
}

struct SetupOption {
  std::string_view name;
  std::string_view example;
  std::string_view help;
  bool (*set)(LinkSetup& setup, std::string_view text);
};
constexpr SetupOption kSetupOptions[] = {
    {"near", "COMMAND", "what is measured; may be repeated, and all run at once",
     [](LinkSetup& setup, std::string_view text) { return setup.near.emplace_back(text), true; }},
    {"far", "COMMAND", "a server for it; may be repeated",
     [](LinkSetup& setup, std::string_view text) { return setup.far.emplace_back(text), true; }},
    {"near-after", "1s", "after the far ones' start, instead of when each has bound a port",
     [](LinkSetup& setup, std::string_view text) { return (setup.near_after = time_of(text)).has_value(); }},
    {"linger", "300ms", "for the far ones to end on their own, when the near ones have",
     [](LinkSetup& setup, std::string_view text) { return assign(setup.linger, time_of(text)); }},
    {"time-limit", "60s", "for the near ones",
     [](LinkSetup& setup, std::string_view text) { return assign(setup.time_limit, time_of(text)); }},
    {"seed", "7", "of all that is random",
     [](LinkSetup& setup, std::string_view text) {
       return set_number<std::uint64_t>(setup.seed, text, 0, UINT32_MAX);
     }},
    {"mtu", "1500", "of both devices",
     [](LinkSetup& setup, std::string_view text) { return set_number(setup.mtu, text, 1280, 65535); }},
};

Result<void> set(LinkSetup& setup, std::string_view option, const std::string& value) {
  const auto refused = [&](std::string_view example) {
    return Failure(fmt::format("{} takes values like {}, and not \"{}\"", option, example, value));
  };
  std::string_view name = option.substr(2);
  for (const SetupOption& known : kSetupOptions) {
    if (known.name != name) continue;
    if (!known.set(setup, value)) return refused(known.example);
    return {};
  }
  std::vector<LinkShape*> shapes{&setup.there, &setup.back};
  if (name.starts_with("there-")) {
    shapes = {&setup.there};
    name.remove_prefix(6);
  } else if (name.starts_with("back-")) {
    shapes = {&setup.back};
    name.remove_prefix(5);
  }
  for (const ShapeOption& known : kShapeOptions) {
    if (known.name != name) continue;
    for (LinkShape* shape : shapes) {
      if (!known.set(*shape, value)) return refused(known.example);
    }
    return {};
  }
  return Failure(fmt::format("there is no option {}", option));
}

}  // namespace

Result<LinkOptions> parse_link_options(int argc, char** argv) {
  LinkOptions options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--help" || argument == "-h") {
      options.help = true;
      return options;
    }
    if (argument == "--summary") {
      options.summary = true;
    } else if (argument == "--loopback") {
      options.setup.loopback = true;
    } else if (!argument.starts_with("--")) {
      return Failure(fmt::format("\"{}\" is no option", argument));
    } else if (i + 1 == argc) {
      return Failure(fmt::format("{} needs a value, or does not exist", argument));
    } else {
      ++i;
      if (auto done = set(options.setup, argument, argv[i]); !done) return Failure(done.error());
    }
  }
  if (options.setup.near.empty()) return Failure("--near is missing: what is to run?");
  return options;
}

std::string link_usage() {
  const LinkShape plain;
  std::string text = fmt::format(
      "usage: portolan_link --near COMMAND [--far COMMAND] [options]\n\n"
      "Runs both commands in network namespaces of their own, joined by an emulated link, until the near one ends, "
      "and\n"
      "prints counters as JSON. Near is {} and {}, far is {} and {}. It needs root.\n\n",
      kNearAddress, kNearAddress6, kFarAddress, kFarAddress6);
  const auto line = [&](std::string_view name, std::string_view example, std::string_view help) {
    text += fmt::format("  --{:<28}{}\n", fmt::format("{} {}", name, example), help);
  };
  for (const SetupOption& option : kSetupOptions) line(option.name, option.example, option.help);
  line("loopback", "", "no link: both in one namespace, far is 127.0.0.1");
  line("summary", "", "a few lines for people instead of JSON");
  text += "\nthe link, both directions alike, or one of them: --there-loss (near to far), --back-loss:\n\n";
  for (const ShapeOption& option : kShapeOptions) line(option.name, option.example, option.help);
  text += fmt::format(
      "\nWithout options it has {:.0f} Mbit/s, a queue of {} ms and a delay of {} ms, and loses nothing.\n\n",
      plain.bits_per_second / 1e6, std::chrono::duration_cast<std::chrono::milliseconds>(plain.queue).count(),
      std::chrono::duration_cast<std::chrono::milliseconds>(plain.delay).count());
  text += fmt::format(
      "example:\n"
      "  portolan_link --delay 50ms --loss 10% --summary --far 'iperf3 -s -1' --near 'iperf3 -c {} -C bbr -t 10'\n",
      kFarAddress);
  return text;
}

}  // namespace portolan::bench
