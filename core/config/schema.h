// Checks a tree of values against a schema and keeps the result in the form that a plugin sees.
//
// Everything that is wrong becomes a Problem with the key's path; checking goes on, so that all of it is reported.
// Values of an OptionTree that were refused hold their default. Any thread.
#pragma once

#include "config/configuration.h"
#include "config/value.h"

#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace portolan {

// Where the checker reports, and what it resolves relative unix paths against.
struct Checker {
  std::vector<Problem>& problems;
  std::string state_dir;

  void add(std::string path, std::string message) { problems.push_back({std::move(path), std::move(message)}); }
};

// An implementation of Options: the schema's keys with their values, defaults filled in. The schema outlives it.
class OptionTree final : public Options {
 public:
  // With the defaults alone.
  explicit OptionTree(std::span<const Option> schema);

  // Takes from `table` the keys of `schema`; what else it holds is not looked at. `path` is the table's own.
  static OptionTree read(const Value& table, std::span<const Option> schema, const std::string& path, Checker& checker);

  bool has(std::string_view key) const noexcept override;
  bool boolean(std::string_view key) const noexcept override;
  std::int64_t integer(std::string_view key) const noexcept override;
  double number(std::string_view key) const noexcept override;
  Duration duration(std::string_view key) const noexcept override;
  std::string_view text(std::string_view key) const noexcept override;
  std::size_t count(std::string_view key) const noexcept override;
  std::string_view text_at(std::string_view key, std::size_t index) const noexcept override;
  const Options& table(std::string_view key) const noexcept override;
  const Options& table_at(std::string_view key, std::size_t index) const noexcept override;
  std::uint8_t listens() const noexcept override { return listens_; }
  bool has_hook(std::string_view name) const noexcept override;

  void set_listens(std::uint8_t transports) { listens_ = transports; }
  void add_hook(std::string_view name) { hooks_.emplace(name); }

 private:
  struct Entry {
    const Option* option = nullptr;
    bool written = false;
    bool boolean = false;
    std::int64_t integer = 0;
    double number = 0;
    Duration duration{};
    std::vector<std::string> texts;  // one, unless it is a list
    std::vector<OptionTree> tables;
  };
  class Reading;  // fills entries from values

  const Entry* find(std::string_view key) const noexcept;
  const Entry* find(std::string_view key, std::initializer_list<OptionType> types, bool list) const noexcept;

  std::vector<Entry> entries_;
  std::set<std::string, std::less<>> hooks_;
  std::uint8_t listens_ = 0;
};

// Reports every key of `table` that is none of `known`.
void report_unknown_keys(const Value& table, std::span<const std::string_view> known, const std::string& path,
                         Checker& checker);

// "a duration such as \"30s\"": what a key takes, for messages and help.
std::string expected_text(const Option& option);
// "1s to 1h", "at least 1", in the units of the option; "" when there are no bounds.
std::string range_text(const Option& option);
// "duration", "list of addresses", …
std::string type_text(const Option& option);

// "services[2].health" and "every" make "services[2].health.every".
std::string join_path(const std::string& path, std::string_view key);

// "a|b" makes a, b: the choices of an option, and the default of a list.
std::vector<std::string_view> split_list(std::string_view text, char separator);

// What is wrong with a schema itself (a default that is not of its type, a key twice), or an empty text.
std::string check_schema(std::span<const Option> schema);

}  // namespace portolan
