#include "cli/terminal.h"

#include "base/utf8.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

namespace portolan {

namespace {

// Characters, by counting bytes that begin one: good for names, not for the scripts of East Asia. What emphasizes takes no
// room.
std::size_t width(std::string_view text) {
  std::size_t count = 0;
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] == '\x1b') {
      at = std::min(text.find('m', at), text.size());
    } else if ((static_cast<unsigned char>(text[at]) & 0xc0) != 0x80) {
      ++count;
    }
  }
  return count;
}

}  // namespace

bool output_is_terminal() noexcept { return isatty(STDOUT_FILENO) == 1; }

bool output_has_colors() noexcept {
  const char* no_color = std::getenv("NO_COLOR");
  const char* terminal = std::getenv("TERM");
  return output_is_terminal() && !(no_color && *no_color) && terminal && std::string_view(terminal) != "dumb";
}

std::string emphasized(Emphasis emphasis, std::string_view text) {
  if (emphasis == Emphasis::none || !output_has_colors()) return std::string(text);
  const char* code = emphasis == Emphasis::bold   ? "1"
                     : emphasis == Emphasis::dim  ? "2"
                     : emphasis == Emphasis::good ? "32"
                                                  : "31";
  return fmt::format("\x1b[{}m{}\x1b[0m", code, text);
}

std::string printable(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const std::size_t size = printable_size(text);
    if (size > 0)
      out += text.substr(0, size);
    else
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(text.front()));
    text.remove_prefix(std::max<std::size_t>(size, 1));
  }
  return out;
}

std::string rough_age(std::int64_t milliseconds) {
  const std::int64_t seconds = std::max<std::int64_t>(milliseconds, 0) / 1000;
  if (seconds < 120) return fmt::format("{}s", seconds);
  if (seconds < 120 * 60) return fmt::format("{}m", seconds / 60);
  if (seconds < 48 * 3600) return fmt::format("{}h", seconds / 3600);
  return fmt::format("{}d", seconds / 86400);
}

void Table::add(std::vector<std::string> cells) {
  cells.resize(columns_.size());
  rows_.push_back(std::move(cells));
}

std::string Table::text() const {
  std::vector<std::size_t> widths;
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    std::size_t widest = width(columns_[i].title);
    for (const auto& row : rows_) widest = std::max(widest, width(row[i]));
    widths.push_back(widest);
  }
  const auto line = [&](const auto& cell_at) {
    std::string out;
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      const std::string& cell = cell_at(i);
      const std::string padding(widths[i] - width(cell), ' ');
      out += columns_[i].to_the_right ? padding + cell : cell + padding;
      out += "  ";
    }
    out.erase(out.find_last_not_of(' ') + 1);
    return out;
  };
  const auto title_at = [&](std::size_t i) -> const std::string& { return columns_[i].title; };
  std::string text = emphasized(Emphasis::bold, line(title_at)) + "\n";
  for (const auto& row : rows_) {
    const auto cell_at = [&](std::size_t i) -> const std::string& { return row[i]; };
    text += line(cell_at) + "\n";
  }
  return text;
}

}  // namespace portolan
