// What commands print on standard output: tables, and colours where a person looks.
//
// Main thread of a command; never used by the daemon. Colours only on a terminal, and not with NO_COLOR or TERM=dumb.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace portolan {

bool output_is_terminal() noexcept;
bool output_has_colors() noexcept;

enum class Emphasis : std::uint8_t { none, bold, dim, good, bad };
std::string emphasized(Emphasis emphasis, std::string_view text);

// Control characters as \xNN: what a service or peer is called must not steer the terminal.
std::string printable(std::string_view text);

// "3s", "5m", "2h", "4d": how long ago something was, roughly.
std::string rough_age(std::int64_t milliseconds);

// Columns in line. Numbers are set to the right when the column says so.
class Table {
 public:
  struct Column {
    std::string title;
    bool to_the_right = false;
  };
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
  void add(std::vector<std::string> cells);
  std::string text() const;
  bool empty() const noexcept { return rows_.empty(); }

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace portolan
