#include "config/limit_schema.h"

#include "base/units.h"

#include <fmt/format.h>

#include <cmath>
#include <optional>

namespace portolan {

namespace {

LimitAlgorithm algorithm_of(std::string_view word) {
  return word == "fixed_window"     ? LimitAlgorithm::fixed_window
         : word == "sliding_window" ? LimitAlgorithm::sliding_window
                                    : LimitAlgorithm::token_bucket;
}

std::optional<LimitRule> read_limit(const Options& options, const std::string& path, Checker& checker) {
  const std::string_view count = options.text("count");
  const std::string_view over = options.text("over");
  const double rate = options.number("rate");
  const Duration window = options.duration("window");
  const LimitAlgorithm algorithm = algorithm_of(options.text("algorithm"));
  // What the schema refused has been reported, and is its default here.
  if (count.empty() || (rate == 0 && !options.has("rate"))) return std::nullopt;

  const std::size_t problems_before = checker.problems.size();
  if (count == "sessions" && over == "delay") {
    checker.add(path + ".over",
                "a session cannot be delayed: whose it is shows when it is accepted; use \"refuse\" or \"drop\"");
  }
  const double allowed = rate * std::chrono::duration<double>(window).count();
  if (rate == 0) {
    checker.add(path + ".rate", "is 0: leave the limit out, or write what it allows");
  } else if (allowed < 1) {
    checker.add(path + ".window", fmt::format("is {}, in which the rate allows less than one: write \"{}s\" or more",
                                              format_duration(window), std::ceil(1 / rate)));
  } else if (algorithm != LimitAlgorithm::token_bucket && allowed > WindowLimit::kMost) {
    checker.add(
        path + ".window",
        fmt::format("is {}, in which the rate allows more than the {} that a window counts: write a shorter one, "
                    "or algorithm = \"token_bucket\"",
                    format_duration(window), WindowLimit::kMost));
  }
  if (checker.problems.size() != problems_before) return std::nullopt;

  using Rule = LimitRule;
  return Rule{.count = count == "sessions"   ? Rule::Count::sessions
                       : count == "messages" ? Rule::Count::messages
                                             : Rule::Count::bytes,
              .per = options.text("per") == "service" ? Rule::Per::service : Rule::Per::client,
              .over = over == "delay"  ? Rule::Over::delay
                      : over == "drop" ? Rule::Over::drop
                                       : Rule::Over::refuse,
              .limiter = Limiter(algorithm, rate, window)};
}

}  // namespace

void read_limits(const Options& options, const std::string& path, Checker& checker, std::vector<LimitRule>& limits) {
  const std::size_t count = options.count("limits");
  if (count > LimitSet::kMostRules) {
    checker.add(path, fmt::format("{} limits: a service may have at most {}", count, LimitSet::kMostRules));
    return;
  }
  for (std::size_t i = 0; i < count; ++i) {
    if (auto rule = read_limit(options.table_at("limits", i), fmt::format("{}[{}]", path, i + 1), checker))
      limits.push_back(*rule);
  }
}

void read_bans(const Options& options, bool enabled, Checker& checker, BanOptions& bans) {
  bans.automatic = enabled;
  bans.violations = static_cast<std::uint32_t>(options.integer("violations"));
  bans.within = options.duration("within");
  bans.time = options.duration("time");
  bans.max = static_cast<std::uint32_t>(options.integer("max"));
  bans.datagrams = options.boolean("datagrams");
  for (std::size_t i = 0; i < options.count("never"); ++i) {
    if (const auto added = bans.never.add(options.text_at("never", i)); !added)
      checker.add(fmt::format("bans.never[{}]", i + 1), added.error());
  }
}

}  // namespace portolan
