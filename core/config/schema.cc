#include "config/schema.h"

#include "base/units.h"
#include "config/nearest.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>

namespace portolan {
namespace {

bool is_text(OptionType type) {
  return type == OptionType::text || type == OptionType::choice || type == OptionType::address ||
         type == OptionType::target;
}

// A default is written as a user would write it, so that it is read by the same code.
Value fallback_value(const Option& option, std::string_view text) {
  Value value;
  const char* const end = text.data() + text.size();
  if (option.type == OptionType::boolean && (text == "true" || text == "false")) {
    value.kind = Value::Kind::boolean;
    value.boolean = text == "true";
    return value;
  }
  if (option.type == OptionType::integer) {
    const auto result = std::from_chars(text.data(), end, value.integer);
    if (result.ec == std::errc() && result.ptr == end) {
      value.kind = Value::Kind::integer;
      value.number = static_cast<double>(value.integer);
      return value;
    }
  }
  if (option.type == OptionType::number) {
    const auto result = std::from_chars(text.data(), end, value.number);
    if (result.ec == std::errc() && result.ptr == end) {
      value.kind = Value::Kind::number;
      return value;
    }
  }
  value.kind = Value::Kind::text;
  value.text = text;
  return value;
}

}  // namespace

// Fills one entry. Values that are refused leave the entry as it is.
class OptionTree::Reading {
 public:
  Reading(Entry& entry, std::string path, Checker& checker)
      : entry_(entry), option_(*entry.option), path_(std::move(path)), checker_(checker) {}

  void read(const Value& value) {
    if (!option_.list) {
      one(value, path_);
      return;
    }
    // A table with text keys alone, where tables are listed, is the only one of the list.
    const bool is_list = value.kind == Value::Kind::table &&
                         (option_.type != OptionType::table || !value.items.empty() || value.fields.empty());
    entry_.texts.clear();
    entry_.tables.clear();
    if (!is_list) {
      one(value, path_);
      return;
    }
    for (const auto& [key, unused] : value.fields) {
      (void)unused;
      checker_.add(join_path(path_, key), "a list of values was expected here, not a table with keys");
    }
    for (const std::string& key : value.other_keys) {
      checker_.add(path_ + key, "a list counts 1, 2, 3 without a gap; this element would be lost");
    }
    for (std::size_t index = 0; index < value.items.size(); ++index) {
      one(value.items[index], fmt::format("{}[{}]", path_, index + 1));
    }
  }

 private:
  void wrong(const std::string& path, const Value& value) {
    std::string message = fmt::format("expected {}, found {}", expected_text(option_), value.describe());
    if (value.kind == Value::Kind::number || value.kind == Value::Kind::integer) {
      if (option_.type == OptionType::duration) message += fmt::format("; write \"{}s\" for seconds", value.number);
      if (is_text(option_.type)) message += "; text is written in quotes";
    }
    checker_.add(path, std::move(message));
  }

  void out_of_range(const std::string& path, const Value& value) {
    checker_.add(path, fmt::format("{} is out of range: expected {}", value.describe(), range_text(option_)));
  }

  bool in_range(double value) const { return value >= option_.min && value <= option_.max; }

  void one(const Value& value, const std::string& path) {
    switch (option_.type) {
      case OptionType::boolean:
        if (value.kind != Value::Kind::boolean) return wrong(path, value);
        entry_.boolean = value.boolean;
        return;
      case OptionType::integer: return integer(value, path);
      case OptionType::number:
        if (value.kind != Value::Kind::integer && value.kind != Value::Kind::number) return wrong(path, value);
        if (!in_range(value.number)) return out_of_range(path, value);
        entry_.number = value.number;
        return;
      case OptionType::duration: return duration(value, path);
      case OptionType::size: return size(value, path);
      case OptionType::rate: return rate(value, path);
      case OptionType::text:
        if (value.kind != Value::Kind::text) return wrong(path, value);
        if (!in_range(static_cast<double>(value.text.size()))) {
          checker_.add(path, fmt::format("the text {} is {} bytes long: expected {}", quote(value.text),
                                         value.text.size(), range_text(option_)));
          return;
        }
        return keep(value.text);
      case OptionType::choice: return choice(value, path);
      case OptionType::address:
      case OptionType::target: return address(value, path);
      case OptionType::table:
        if (value.kind != Value::Kind::table) return wrong(path, value);
        return table(value, path);
    }
  }

  void keep(std::string text) {
    if (!option_.list) entry_.texts.clear();
    entry_.texts.push_back(std::move(text));
  }

  void integer(const Value& value, const std::string& path) {
    std::int64_t result = value.integer;
    if (value.kind == Value::Kind::number) {
      // 1e6 is a float in Lua, and means a million.
      if (value.number != std::floor(value.number) || std::fabs(value.number) > 9e15) return wrong(path, value);
      result = static_cast<std::int64_t>(value.number);
    } else if (value.kind != Value::Kind::integer) {
      return wrong(path, value);
    }
    if (!in_range(static_cast<double>(result))) return out_of_range(path, value);
    entry_.integer = result;
  }

  void duration(const Value& value, const std::string& path) {
    Duration result{};
    if (value.kind == Value::Kind::text) {
      const auto parsed = parse_duration(value.text);
      if (!parsed) {
        checker_.add(path, parsed.error());
        return;
      }
      result = *parsed;
    } else if (value.kind != Value::Kind::integer || value.integer != 0) {
      return wrong(path, value);
    }
    if (!in_range(std::chrono::duration<double>(result).count())) return out_of_range(path, value);
    entry_.duration = result;
  }

  void size(const Value& value, const std::string& path) {
    std::int64_t result = value.integer;
    if (value.kind == Value::Kind::text) {
      const auto parsed = parse_size(value.text);
      if (!parsed) {
        checker_.add(path, parsed.error());
        return;
      }
      result = *parsed;
    } else if (value.kind == Value::Kind::number && value.number == std::floor(value.number) && value.number >= 0 &&
               value.number < 9e15) {
      result = static_cast<std::int64_t>(value.number);
    } else if (value.kind != Value::Kind::integer) {
      return wrong(path, value);
    }
    if (result < 0 || !in_range(static_cast<double>(result))) return out_of_range(path, value);
    entry_.integer = result;
  }

  void rate(const Value& value, const std::string& path) {
    double result = value.number;
    if (value.kind == Value::Kind::text) {
      const auto parsed = parse_rate(value.text);
      if (!parsed) {
        checker_.add(path, parsed.error());
        return;
      }
      result = *parsed;
    } else if (value.kind != Value::Kind::integer && value.kind != Value::Kind::number) {
      return wrong(path, value);
    }
    if (!(result >= 0) || (result != 0 && !in_range(result))) return out_of_range(path, value);
    entry_.number = result;
  }

  void choice(const Value& value, const std::string& path) {
    if (value.kind != Value::Kind::text) return wrong(path, value);
    const auto choices = split_list(option_.choices, '|');
    if (std::ranges::find(choices, value.text) == choices.end()) {
      std::string message = fmt::format("expected {}, found {}", expected_text(option_), value.describe());
      if (const std::string_view meant = nearest(value.text, choices); !meant.empty()) {
        message += fmt::format("; did you mean \"{}\"?", meant);
      }
      checker_.add(path, std::move(message));
      return;
    }
    keep(value.text);
  }

  void address(const Value& value, const std::string& path) {
    if (value.kind != Value::Kind::text) return wrong(path, value);
    auto endpoint =
        option_.type == OptionType::target ? Endpoint::parse_target(value.text) : Endpoint::parse(value.text);
    if (!endpoint) {
      checker_.add(path, endpoint.error());
      return;
    }
    if (endpoint->transport != Transport::unix_stream || endpoint->path.starts_with('@')) return keep(value.text);
    if (!endpoint->path.starts_with('/')) endpoint->path = checker_.state_dir + "/" + endpoint->path;
    // The kernel keeps 108 bytes, the last for a zero.
    constexpr std::size_t kLongestPath = 107;
    if (endpoint->path.size() > kLongestPath) {
      checker_.add(path, fmt::format("the path {} is {} bytes long: a unix socket's path may have at most {}; choose a "
                                     "shorter one, or a shorter state_dir",
                                     quote(endpoint->path), endpoint->path.size(), kLongestPath));
      return;
    }
    keep("unix://" + endpoint->path);
  }

  void table(const Value& value, const std::string& path) {
    std::vector<std::string_view> known;
    for (const Option& field : option_.fields) known.push_back(field.key);
    report_unknown_keys(value, known, path, checker_);
    if (!option_.list) entry_.tables.clear();
    entry_.tables.push_back(OptionTree::read(value, option_.fields, path, checker_));
  }

  Entry& entry_;
  const Option& option_;
  std::string path_;
  Checker& checker_;
};

OptionTree::OptionTree(std::span<const Option> schema) {
  entries_.reserve(schema.size());
  for (const Option& option : schema) {
    Entry& entry = entries_.emplace_back();
    entry.option = &option;
    if (option.type == OptionType::table) {
      if (!option.list) entry.tables.emplace_back(option.fields);
      continue;
    }
    if (!option.list && is_text(option.type)) entry.texts.emplace_back();
    if (option.fallback.empty()) continue;
    // A default was checked with its schema (check_schema); what is reported here is not wanted again.
    std::vector<Problem> unwanted;
    Checker checker{unwanted, {}};
    Reading reading(entry, {}, checker);
    if (option.list) {
      Value list;
      list.kind = Value::Kind::table;
      for (const std::string_view part : split_list(option.fallback, ','))
        list.items.push_back(fallback_value(option, part));
      reading.read(list);
    } else {
      reading.read(fallback_value(option, option.fallback));
    }
  }
}

OptionTree OptionTree::read(const Value& table, std::span<const Option> schema, const std::string& path,
                            Checker& checker) {
  OptionTree tree(schema);
  for (Entry& entry : tree.entries_) {
    const Value* value = table.find(entry.option->key);
    if (value == nullptr) {
      if (entry.option->required) {
        checker.add(join_path(path, entry.option->key),
                    fmt::format("is missing: expected {}", expected_text(*entry.option)));
      }
      continue;
    }
    entry.written = true;
    Reading(entry, join_path(path, entry.option->key), checker).read(*value);
  }
  return tree;
}

const OptionTree::Entry* OptionTree::find(std::string_view key) const noexcept {
  for (const Entry& entry : entries_) {
    if (entry.option->key == key) return &entry;
  }
#ifndef NDEBUG
  std::fprintf(stderr, "options: \"%.*s\" is not in the schema\n", static_cast<int>(key.size()), key.data());
  std::abort();
#endif
  return nullptr;
}

const OptionTree::Entry* OptionTree::find(std::string_view key, std::initializer_list<OptionType> types,
                                          bool list) const noexcept {
  const Entry* entry = find(key);
  if (entry == nullptr) return nullptr;
  if (entry->option->list == list && std::ranges::find(types, entry->option->type) != types.end()) return entry;
#ifndef NDEBUG
  std::fprintf(stderr, "options: \"%.*s\" has another type than it is asked for\n", static_cast<int>(key.size()),
               key.data());
  std::abort();
#endif
  return nullptr;
}

bool OptionTree::has(std::string_view key) const noexcept {
  const Entry* entry = find(key);
  return entry != nullptr && entry->written;
}
bool OptionTree::boolean(std::string_view key) const noexcept {
  const Entry* entry = find(key, {OptionType::boolean}, false);
  return entry != nullptr && entry->boolean;
}
std::int64_t OptionTree::integer(std::string_view key) const noexcept {
  const Entry* entry = find(key, {OptionType::integer, OptionType::size}, false);
  return entry == nullptr ? 0 : entry->integer;
}
double OptionTree::number(std::string_view key) const noexcept {
  const Entry* entry = find(key, {OptionType::number, OptionType::rate}, false);
  return entry == nullptr ? 0 : entry->number;
}
Duration OptionTree::duration(std::string_view key) const noexcept {
  const Entry* entry = find(key, {OptionType::duration}, false);
  return entry == nullptr ? Duration::zero() : entry->duration;
}
std::string_view OptionTree::text(std::string_view key) const noexcept {
  const Entry* entry =
      find(key, {OptionType::text, OptionType::choice, OptionType::address, OptionType::target}, false);
  return entry == nullptr || entry->texts.empty() ? std::string_view() : entry->texts.front();
}
std::size_t OptionTree::count(std::string_view key) const noexcept {
  const Entry* entry = find(
      key, {OptionType::text, OptionType::choice, OptionType::address, OptionType::target, OptionType::table}, true);
  if (entry == nullptr) return 0;
  return entry->option->type == OptionType::table ? entry->tables.size() : entry->texts.size();
}
std::string_view OptionTree::text_at(std::string_view key, std::size_t index) const noexcept {
  const Entry* entry = find(key, {OptionType::text, OptionType::choice, OptionType::address, OptionType::target}, true);
  return entry == nullptr || index >= entry->texts.size() ? std::string_view() : entry->texts[index];
}

namespace {
const Options& no_options() noexcept {
  static const OptionTree empty{std::span<const Option>()};
  return empty;
}
}  // namespace

const Options& OptionTree::table(std::string_view key) const noexcept {
  const Entry* entry = find(key, {OptionType::table}, false);
  if (entry == nullptr || entry->tables.empty()) return no_options();
  return entry->tables.front();
}
const Options& OptionTree::table_at(std::string_view key, std::size_t index) const noexcept {
  const Entry* entry = find(key, {OptionType::table}, true);
  if (entry == nullptr || index >= entry->tables.size()) return no_options();
  return entry->tables[index];
}
bool OptionTree::has_hook(std::string_view name) const noexcept { return hooks_.contains(name); }

void report_unknown_keys(const Value& table, std::span<const std::string_view> known, const std::string& path,
                         Checker& checker) {
  for (const auto& [key, value] : table.fields) {
    (void)value;
    if (std::ranges::find(known, key) != known.end()) continue;
    checker.add(join_path(path, key), "unknown key" + suggestion(key, known, "the keys here"));
  }
  for (std::size_t index = 0; index < table.items.size(); ++index) {
    checker.add(fmt::format("{}[{}]", path, index + 1),
                fmt::format("expected a key and a value, found {} without a key", table.items[index].describe()));
  }
  for (const std::string& key : table.other_keys) checker.add(path + key, "unknown key: keys are text");
}

std::string check_schema(std::span<const Option> schema) {
  for (std::size_t at = 0; at < schema.size(); ++at) {
    const Option& option = schema[at];
    const auto wrong = [&option](std::string_view what) {
      return fmt::format("its option \"{}\" {}", option.key, what);
    };
    if (option.key.empty() || !std::ranges::all_of(option.key, [](char c) {
          return c == '_' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z');
        })) {
      return wrong("has a name that is not made of a-z, 0-9 and _");
    }
    for (std::size_t other = 0; other < at; ++other) {
      if (schema[other].key == option.key) return wrong("is declared twice");
    }
    if (option.type > OptionType::table) return wrong("has no known type");
    if (!(option.min <= option.max)) return wrong("has a range without a value in it");
    if ((option.type == OptionType::choice) != !option.choices.empty()) {
      return wrong(option.choices.empty() ? "is a choice of nothing" : "has choices but is no choice");
    }
    if (option.list && !is_text(option.type) && option.type != OptionType::table) {
      return wrong("is a list of a type that cannot be listed (text, choice, address and table can)");
    }
    if (option.type == OptionType::table) {
      if (option.fields.empty()) return wrong("is a table without fields");
      if (!option.fallback.empty()) return wrong("is a table with a default of its own");
      if (std::string inner = check_schema(option.fields); !inner.empty()) {
        return fmt::format("in its table \"{}\", {}", option.key, inner);
      }
      continue;
    }
    if (!option.fields.empty()) return wrong("has fields but is no table");
    if (option.fallback.empty()) continue;
    if (option.required) return wrong("is required and has a default, which is never used");
    Value table;
    table.kind = Value::Kind::table;
    Value value;
    if (option.list) {
      value.kind = Value::Kind::table;
      for (const std::string_view part : split_list(option.fallback, ','))
        value.items.push_back(fallback_value(option, part));
    } else {
      value = fallback_value(option, option.fallback);
    }
    table.fields.emplace_back(std::string(option.key), std::move(value));
    std::vector<Problem> problems;
    Checker checker{problems, {}};
    OptionTree::read(table, {&option, 1}, {}, checker);
    if (!problems.empty()) return wrong("has a default that it would refuse: " + problems.front().message);
  }
  return {};
}

}  // namespace portolan
