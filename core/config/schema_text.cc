// How an option is described in messages and help.
#include "base/units.h"
#include "config/schema.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

namespace portolan {
namespace {

std::string number_text(double value) {
  // Bounds are mostly whole; "%g" would write a large one as 1e+06.
  if (value == std::floor(value) && std::fabs(value) < 1e15) return fmt::format("{}", static_cast<std::int64_t>(value));
  return fmt::format("{}", value);
}

// A value of an option's type in the unit that users write.
std::string bound_text(const Option& option, double value) {
  constexpr double kLargest = 9e18;
  switch (option.type) {
    case OptionType::duration:
      return format_duration(Duration(static_cast<std::int64_t>(std::clamp(value * 1e9, -kLargest, kLargest))));
    case OptionType::size: return format_size(static_cast<std::int64_t>(std::clamp(value, -kLargest, kLargest)));
    case OptionType::rate: return number_text(value) + "/s";
    case OptionType::text: return number_text(value) + (value == 1 ? " byte" : " bytes");
    default: return number_text(value);
  }
}

}  // namespace

std::vector<std::string_view> split_list(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (true) {
    const std::size_t end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

std::string expected_text(const Option& option) {
  if (option.list) {
    Option one = option;
    one.list = false;
    if (option.type == OptionType::table) return "a list of tables";
    return expected_text(one) + ", or a list of such";
  }
  const std::string range = range_text(option);
  const std::string bounds = range.empty() ? "" : fmt::format(" ({})", range);
  switch (option.type) {
    case OptionType::boolean: return "true or false";
    case OptionType::integer: return "a whole number" + bounds;
    case OptionType::number: return "a number" + bounds;
    case OptionType::text: return "text" + bounds;
    case OptionType::choice: {
      std::vector<std::string> choices;
      for (const std::string_view choice : split_list(option.choices, '|')) choices.push_back(quote(choice));
      if (choices.size() == 1) return choices.front();
      if (choices.size() == 2) return choices[0] + " or " + choices[1];
      return fmt::format("one of {}", fmt::join(choices, ", "));
    }
    case OptionType::duration: return "a duration such as \"30s\" or \"1h30m\"" + bounds;
    case OptionType::size: return "a size such as \"64KiB\"" + bounds;
    case OptionType::rate: return "a rate such as \"100/s\"" + bounds;
    case OptionType::address: return "an address such as \"tcp://127.0.0.1:7007\"";
    case OptionType::target: return "an address to connect to such as \"tcp://192.0.2.7:80\" or \"tcp://nas.lan:80\"";
    case OptionType::table: return "a table";
  }
  return {};
}

std::string range_text(const Option& option) {
  // No size, rate or length is negative, so that a lower bound of zero says nothing.
  const bool never_negative = option.type == OptionType::size || option.type == OptionType::rate ||
                              option.type == OptionType::text || option.type == OptionType::duration;
  const bool low = std::isfinite(option.min) && !(never_negative && option.min <= 0);
  const bool high = std::isfinite(option.max);
  std::string text;
  if (low && high) {
    text = fmt::format("{} to {}",
                       option.type == OptionType::text ? number_text(option.min) : bound_text(option, option.min),
                       bound_text(option, option.max));
  } else if (low) {
    text = "at least " + bound_text(option, option.min);
  } else if (high) {
    text = "at most " + bound_text(option, option.max);
  }
  if (option.type == OptionType::rate && low) text += ", or 0 for no limit";
  return text;
}

std::string type_text(const Option& option) {
  std::string_view one;
  std::string_view many;
  switch (option.type) {
    case OptionType::boolean:
      one = "boolean";
      many = "booleans";
      break;
    case OptionType::integer:
      one = "integer";
      many = "integers";
      break;
    case OptionType::number:
      one = "number";
      many = "numbers";
      break;
    case OptionType::text:
      one = "text";
      many = "texts";
      break;
    case OptionType::choice:
      one = "choice";
      many = "choices";
      break;
    case OptionType::duration:
      one = "duration";
      many = "durations";
      break;
    case OptionType::size:
      one = "size";
      many = "sizes";
      break;
    case OptionType::rate:
      one = "rate";
      many = "rates";
      break;
    case OptionType::address:
    case OptionType::target:
      one = "address";
      many = "addresses";
      break;
    case OptionType::table:
      one = "table";
      many = "tables";
      break;
  }
  return option.list ? fmt::format("list of {}", many) : std::string(one);
}

std::string join_path(const std::string& path, std::string_view key) {
  const bool plain = !key.empty() && std::ranges::all_of(key, [](char c) {
    return c == '_' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  });
  if (!plain) return fmt::format("{}[{}]", path, quote(key));
  return path.empty() ? std::string(key) : fmt::format("{}.{}", path, key);
}

}  // namespace portolan
