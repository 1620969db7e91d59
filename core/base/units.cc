#include "base/units.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <limits>
#include <optional>

namespace portolan {
namespace {

constexpr std::int64_t kLargestSize = std::int64_t{1} << 53U;  // what a Lua number holds exactly

struct Unit {
  std::string_view name;
  std::int64_t factor;
};

constexpr std::array kDurationUnits = {
    Unit{"w", 604'800'000'000'000},
    Unit{"d", 86'400'000'000'000},
    Unit{"h", 3'600'000'000'000},
    Unit{"m", 60'000'000'000},
    Unit{"s", 1'000'000'000},
    Unit{"ms", 1'000'000},
    Unit{"us", 1'000},
    Unit{"ns", 1},
};

constexpr std::array kSizeUnits = {
    Unit{"B", 1},
    Unit{"KiB", std::int64_t{1} << 10U},
    Unit{"MiB", std::int64_t{1} << 20U},
    Unit{"GiB", std::int64_t{1} << 30U},
    Unit{"TiB", std::int64_t{1} << 40U},
    Unit{"kB", 1'000},
    Unit{"MB", 1'000'000},
    Unit{"GB", 1'000'000'000},
    Unit{"TB", 1'000'000'000'000},
};

struct Decimal {
  std::int64_t whole = 0;
  std::string_view fraction;  // the digits after the point

  // Rounded down; nothing when it does not fit. There are 32-bit targets, so that this does without 128 bits.
  std::optional<std::int64_t> times(std::int64_t factor) const {
    std::int64_t part = 0;
    for (std::size_t at = fraction.size(); at-- > 0;) part = (part + (fraction[at] - '0') * factor) / 10;
    std::int64_t product = 0;
    if (__builtin_mul_overflow(whole, factor, &product)) return std::nullopt;
    if (__builtin_add_overflow(product, part, &product)) return std::nullopt;
    return product;
  }
};

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

// Takes "12" or "1.5" from the front. Nothing when there is none, or more digits than anybody means.
std::optional<Decimal> take_decimal(std::string_view& text) {
  Decimal result;
  std::size_t at = 0;
  while (at < text.size() && is_digit(text[at])) {
    if (at >= 15) return std::nullopt;
    result.whole = result.whole * 10 + (text[at] - '0');
    ++at;
  }
  if (at == 0) return std::nullopt;
  if (at + 1 < text.size() && text[at] == '.' && is_digit(text[at + 1])) {
    ++at;
    const std::size_t start = at;
    while (at < text.size() && is_digit(text[at])) {
      ++at;
    }
    result.fraction = text.substr(start, at - start);
  }
  text.remove_prefix(at);
  return result;
}

std::string_view take_letters(std::string_view& text) {
  std::size_t at = 0;
  while (at < text.size() && is_letter(text[at])) ++at;
  const std::string_view letters = text.substr(0, at);
  text.remove_prefix(at);
  return letters;
}

template <std::size_t N>
const Unit* find_unit(const std::array<Unit, N>& units, std::string_view name) {
  for (const Unit& unit : units) {
    if (unit.name == name) return &unit;
  }
  return nullptr;
}

std::unexpected<std::string> bad_duration(std::string_view text) {
  return std::unexpected(fmt::format(
      "\"{}\" is not a duration: write a number with ns, us, ms, s, m, h, d or w, as in \"30s\" or \"1h30m\"", text));
}
std::unexpected<std::string> bad_size(std::string_view text) {
  return std::unexpected(
      fmt::format("\"{}\" is not a size: write a number of bytes, or one with B, KiB, MiB, GiB, TiB, kB, MB, GB or TB, "
                  "as in \"64KiB\"",
                  text));
}
std::unexpected<std::string> bad_rate(std::string_view text) {
  return std::unexpected(fmt::format(
      "\"{}\" is not a rate: write it per second, minute or hour, as in \"100/s\", \"5/m\" or \"1MiB/s\"", text));
}

// "1.5", without the zeros that say nothing.
std::string trim_decimals(std::string text) {
  if (text.find('.') == std::string::npos) return text;
  while (text.back() == '0') text.pop_back();
  if (text.back() == '.') text.pop_back();
  return text;
}

}  // namespace

std::expected<Duration, std::string> parse_duration(std::string_view text) {
  if (text == "0") return Duration::zero();
  std::string_view rest = text;
  std::int64_t total = 0;
  if (rest.empty()) return bad_duration(text);
  while (!rest.empty()) {
    const auto number = take_decimal(rest);
    if (!number) return bad_duration(text);
    const Unit* unit = find_unit(kDurationUnits, take_letters(rest));
    if (unit == nullptr) return bad_duration(text);
    const auto part = number->times(unit->factor);
    if (!part || __builtin_add_overflow(total, *part, &total)) {
      return std::unexpected(fmt::format("\"{}\" is too long a duration: at most 292 years", text));
    }
  }
  return Duration(total);
}

std::expected<std::int64_t, std::string> parse_size(std::string_view text) {
  std::string_view rest = text;
  const auto number = take_decimal(rest);
  if (!number) return bad_size(text);
  const std::string_view name = rest;
  const Unit* unit = find_unit(kSizeUnits, name.empty() ? std::string_view("B") : name);
  if (unit == nullptr) return bad_size(text);
  if (unit->factor == 1 && !number->fraction.empty()) {
    return std::unexpected(fmt::format("\"{}\" is not a size: there are no parts of a byte", text));
  }
  const auto bytes = number->times(unit->factor);
  if (!bytes || *bytes > kLargestSize)
    return std::unexpected(fmt::format("\"{}\" is too large a size: at most 8192TiB", text));
  return *bytes;
}

std::expected<double, std::string> parse_rate(std::string_view text) {
  const std::size_t slash = text.find('/');
  const std::string_view amount = text.substr(0, slash);
  double seconds = 1;
  if (slash != std::string_view::npos) {
    const std::string_view per = text.substr(slash + 1);
    if (per == "s") {
      seconds = 1;
    } else if (per == "m") {
      seconds = 60;
    } else if (per == "h") {
      seconds = 3600;
    } else {
      return bad_rate(text);
    }
  }
  std::string_view rest = amount;
  const auto number = take_decimal(rest);
  if (!number) return bad_rate(text);
  double fraction = 0;
  for (std::size_t at = number->fraction.size(); at-- > 0;) fraction = (fraction + (number->fraction[at] - '0')) / 10;
  double value = static_cast<double>(number->whole) + fraction;
  if (!rest.empty()) {
    const Unit* unit = find_unit(kSizeUnits, rest);
    // "1MiB" alone may be meant as a size: that a rate is meant has to be said.
    if (unit == nullptr || slash == std::string_view::npos) return bad_rate(text);
    value *= static_cast<double>(unit->factor);
  }
  if (value > static_cast<double>(kLargestSize)) {
    return std::unexpected(fmt::format("\"{}\" is too high a rate: at most 8192TiB/s", text));
  }
  return value / seconds;
}

std::string format_duration(Duration value) {
  std::int64_t rest = value.count();
  if (rest == 0) return "0s";
  std::string text;
  if (rest < 0) {
    text = "-";
    // The most negative value has no positive counterpart; a nanosecond in 292 years is not missed.
    rest = rest == std::numeric_limits<std::int64_t>::min() ? std::numeric_limits<std::int64_t>::max() : -rest;
  }
  constexpr std::int64_t kSecond = 1'000'000'000;
  if (rest < kSecond) {
    for (const Unit& unit : {Unit{"ms", 1'000'000}, Unit{"us", 1'000}, Unit{"ns", 1}}) {
      if (rest < unit.factor) continue;
      const std::int64_t fraction = rest % unit.factor;
      std::string number = fmt::format("{}", rest / unit.factor);
      if (fraction != 0) {
        number += trim_decimals(fmt::format(".{:0{}}", fraction, unit.factor == 1'000'000 ? 6 : 3));
      }
      return text + number + std::string(unit.name);
    }
  }
  for (const Unit& unit : {Unit{"d", 86'400 * kSecond}, Unit{"h", 3'600 * kSecond}, Unit{"m", 60 * kSecond}}) {
    if (rest >= unit.factor) text += fmt::format("{}{}", rest / unit.factor, unit.name);
    rest %= unit.factor;
  }
  if (rest > 0) {
    text += fmt::format("{}", rest / kSecond);
    if (rest % kSecond != 0) text += trim_decimals(fmt::format(".{:09}", rest % kSecond));
    text += "s";
  }
  return text;
}

std::string format_size(std::int64_t bytes) {
  if (bytes < 0)
    return fmt::format("-{}", format_size(bytes == std::numeric_limits<std::int64_t>::min() ? kLargestSize : -bytes));
  if (bytes == 0) return "0B";
  constexpr std::int64_t kReadable = 10'000;  // more digits than this say less than a rounded number
  for (std::size_t at = 5; at-- > 0;) {
    const Unit& unit = kSizeUnits.at(at);
    if (bytes % unit.factor == 0 && bytes / unit.factor < kReadable) {
      return fmt::format("{}{}", bytes / unit.factor, unit.name);
    }
  }
  for (std::size_t at = 5; at-- > 0;) {
    const Unit& unit = kSizeUnits.at(at);
    if (bytes >= unit.factor) {
      return trim_decimals(fmt::format("{:.1f}", static_cast<double>(bytes) / static_cast<double>(unit.factor))) +
             std::string(unit.name);
    }
  }
  return fmt::format("{}B", bytes);
}

std::string format_count(std::uint64_t value) {
  const std::string digits = fmt::format("{}", value);
  std::string grouped;
  for (std::size_t at = 0; at < digits.size(); ++at) {
    if (at > 0 && (digits.size() - at) % 3 == 0) grouped += ',';
    grouped += digits[at];
  }
  return grouped;
}

}  // namespace portolan
