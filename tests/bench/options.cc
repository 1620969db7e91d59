#include "options.h"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <span>

#include "benches.h"

namespace portolan::bench {
namespace {

constexpr int kMaxRounds = 1000;
constexpr double kMaxSeconds = 60;

std::vector<std::string> split(std::string_view text) {
  std::vector<std::string> parts;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    parts.emplace_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

std::optional<int> whole_number(std::string_view text, int low, int high) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value < low || value > high) return {};
  return value;
}

std::optional<double> number(const std::string& text, double low, double high) {
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  if (end == text.c_str() || *end != '\0' || !(value >= low && value <= high)) return {};
  return value;
}

struct LinkNumber {
  std::string_view name;
  double LinkBenchOptions::* figure;
  double low;
  double high;
};
constexpr LinkNumber kLinkNumbers[] = {
    {"--rate", &LinkBenchOptions::megabits_per_second, 0.1, 1000},
    {"--queue", &LinkBenchOptions::queue_ms, 0.1, 10'000},
    {"--size", &LinkBenchOptions::megabytes, 0.001, 10'000},
    {"--limit", &LinkBenchOptions::limit_seconds, 1, 3600},
};
struct LinkList {
  std::string_view name;
  std::vector<double> LinkBenchOptions::* list;
  double high;
};
constexpr LinkList kLinkLists[] = {{"--rtt", &LinkBenchOptions::rtt_ms, 5'000},
                                   {"--loss", &LinkBenchOptions::loss_percent, 90}};

Result<void> check_keys(std::string_view option, const std::vector<std::string>& keys,
                        std::span<const std::string_view> known) {
  for (const std::string& key : keys) {
    if (std::ranges::find(known, key) != known.end()) continue;
    return Failure(fmt::format("{} takes {}, and not \"{}\"", option, fmt::join(known, ", "), key));
  }
  return {};
}

// Empty where there is no such option of the link benches.
std::optional<Result<void>> set(LinkBenchOptions& link, std::string_view name, const std::string& value) {
  if (name == "--peers") {
    link.peers = split(value);
    return check_keys(name, link.peers, kLinkPeerKeys);
  }
  if (name == "--seeds") {
    link.seeds = whole_number(value, 1, kMaxRounds);
    if (!link.seeds) return Failure(fmt::format("--seeds takes 1 to {}, and not \"{}\"", kMaxRounds, value));
    return Result<void>();
  }
  for (const LinkNumber& option : kLinkNumbers) {
    if (option.name != name) continue;
    const auto found = number(value, option.low, option.high);
    if (!found) return Failure(fmt::format("{} takes {} to {}, and not \"{}\"", name, option.low, option.high, value));
    link.*option.figure = *found;
    return Result<void>();
  }
  for (const LinkList& option : kLinkLists) {
    if (option.name != name) continue;
    (link.*option.list).clear();
    for (const std::string& part : split(value)) {
      const auto found = number(part, 0, option.high);
      if (!found) return Failure(fmt::format("{} takes numbers up to {}, and not \"{}\"", name, option.high, part));
      (link.*option.list).push_back(*found);
    }
    return Result<void>();
  }
  return {};
}

Result<void> set(Options& options, std::string_view name, const std::string& value) {
  if (name == "--portolan") {
    options.portolan = value;
  } else if (name == "--servers") {
    options.directory = value;
  } else if (name == "--only") {
    options.only = split(value);
    return check_keys(name, options.only, kServerKeys);
  } else if (name == "--rounds") {
    options.rounds = whole_number(value, 1, kMaxRounds);
    if (!options.rounds) return Failure(fmt::format("--rounds takes 1 to {}, and not \"{}\"", kMaxRounds, value));
  } else if (name == "--seconds") {
    options.seconds = number(value, 0.01, kMaxSeconds);
    if (!options.seconds) return Failure(fmt::format("--seconds takes 0.01 to {}, and not \"{}\"", kMaxSeconds, value));
  } else if (name == "--pin") {
    const auto cpus = split(value);
    options.server_cpu = whole_number(cpus[0], 0, CPU_SETSIZE - 1);
    options.load_cpu = cpus.size() == 2 ? whole_number(cpus[1], 0, CPU_SETSIZE - 1) : std::nullopt;
    if (!options.server_cpu || !options.load_cpu) {
      return Failure(fmt::format("--pin takes two CPUs such as 0,1, and not \"{}\"", value));
    }
  } else if (auto done = set(options.link, name, value)) {
    return *done;
  } else {
    return Failure(fmt::format("there is no option {}", name));
  }
  return {};
}

}  // namespace

bool Options::wants(std::string_view key) const { return only.empty() || std::ranges::find(only, key) != only.end(); }

bool LinkBenchOptions::wants(std::string_view key) const {
  return peers.empty() || std::ranges::find(peers, key) != peers.end();
}

Result<Options> parse_options(int argc, char** argv) {
  Options options;
  std::error_code ignored;
  options.directory = std::filesystem::read_symlink("/proc/self/exe", ignored).parent_path();
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--help" || argument == "-h") {
      options.help = true;
      return options;
    }
    if (argument == "--json") {
      options.format = Format::kJson;
    } else if (argument == "--markdown") {
      options.format = Format::kMarkdown;
    } else if (!argument.starts_with("-")) {
      if (!options.bench.empty()) return Failure(fmt::format("one bench at a time: {} or {}", options.bench, argument));
      options.bench = argument;
    } else if (const auto equals = argument.find('='); equals != std::string_view::npos) {
      auto done = set(options, argument.substr(0, equals), std::string(argument.substr(equals + 1)));
      if (!done) return Failure(std::move(done).error());
    } else if (i + 1 < argc) {
      auto done = set(options, argument, argv[++i]);
      if (!done) return Failure(std::move(done).error());
    } else {
      return Failure(fmt::format("{} needs a value, or does not exist", argument));
    }
  }
  if (options.bench.empty()) return Failure("which bench?");
  if (!std::ranges::any_of(benches(), [&](const Bench& bench) { return is_of(bench, options.bench); })) {
    return Failure(fmt::format("there is no bench \"{}\"", options.bench));
  }
  return options;
}

std::string usage() {
  std::string text =
      "usage: portolan_bench NAME [options]\n\n"
      "  --portolan FILE   the portolan binary; without it only the others run\n"
      "  --only LIST       of floor,portolan,go,haproxy,nginx,mosquitto\n"
      "  --rounds N        rounds of every server (each bench has its own number)\n"
      "  --seconds S       seconds of load in a round\n"
      "  --pin S,L         keep servers on CPU S and the load generator on CPU L (default: the kernel "
      "decides)\n"
      "  --json            one JSON document\n"
      "  --markdown        tables for the README\n"
      "  --servers DIR     where bench_floor and the go_ servers are (default: beside this program)\n\n"
      "of the link benches (rudp):\n"
      "  --peers LIST      of ours,bulk,bbr,cubic,ngtcp2,enet,udt,scp\n"
      "  --rtt LIST        in ms (20,100)\n"
      "  --loss LIST       in percent (0,1,5,10,20; messages 1,5,10)\n"
      "  --seeds N         runs of every cell, each with a seed of its own; the median counts (3; share and messages "
      "1)\n"
      "  --size MB         of the file (25)\n"
      "  --limit S         for a run; what is not there by then is cut (60)\n"
      "  --rate MBIT       of the link (50)\n"
      "  --queue MS        of its drop-tail queue (50)\n\n"
      "benches:\n";
  for (const Bench& bench : benches()) text += fmt::format("  {:<15}{}\n", bench.name, bench.summary);
  text += fmt::format("  {:<15}{}\n", "relay", "all whose names begin with relay-");
  text += fmt::format("  {:<15}{}\n", "rudp", "all whose names begin with rudp-: about an hour, as root");
  text += fmt::format("  {:<15}{}\n", "all", "all of them in this order, but for rudp's");
  return text;
}

}  // namespace portolan::bench
