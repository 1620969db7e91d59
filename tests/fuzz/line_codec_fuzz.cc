// The line codec: what it finds is where a plain search finds it, nothing is lost between lines, and remembering what
// was searched changes nothing. Input: max_line, then the bytes.
#include "fuzz_target.h"
#include "plugins/echo/line_codec.h"

#include <string>

using namespace portolan;
using namespace portolan::echo;
using fuzz::check;

namespace {

std::span<const std::byte> as_bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

void check_line(const Line& line, std::string_view data, std::size_t max_line) {
  check(line.text.data() == data.data(), "a line begins where its data begins");
  check(line.ending.data() == data.data() + line.text.size(), "the ending is directly behind the text");
  check(line.text.size() <= max_line, "the text is within the limit");
  check(line.ending.empty() || line.ending == "\n" || line.ending == "\r\n", "an ending is \\n, \\r\\n or none");
}

void check_upper(std::string_view text) {
  std::string upper(text.size(), '\0');
  copy_upper(text, std::as_writable_bytes(std::span(upper)).data());
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char expected = text[i] >= 'a' && text[i] <= 'z' ? static_cast<char>(text[i] - 32) : text[i];
    check(upper[i] == expected, "upper changes a..z alone");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* input_data, std::size_t size) {
  fuzz::Input input(input_data, size);
  const std::size_t max_line = input.byte() % 32 + 1;
  std::string_view data = input.rest();
  check_upper(data);
  for (;;) {
    const auto line = parse_line(as_bytes(data), max_line);
    const std::size_t end = data.find('\n');
    // Whatever is known to hold no "\n" may be left out of the search.
    const std::size_t searchable = end == std::string_view::npos ? data.size() : end;
    for (const std::size_t searched : {searchable / 2, searchable}) {
      const auto again = parse_line(as_bytes(data), max_line, searched);
      check(again.has_value() == line.has_value(), "searched: same outcome");
      if (line) check(again->has_value() == line->has_value(), "searched: same line");
      if (line && *line) check((*again)->size() == (*line)->size(), "searched: same size");
    }
    if (!line) {
      check(std::min(end, data.size()) > max_line, "only a long line is too long");
      break;
    }
    if (!*line) {
      check(end == std::string_view::npos, "a whole line is found");
      check(data.size() <= max_line + 1, "an unfinished line within the limit is waited for");
      break;
    }
    check_line(**line, data, max_line);
    check((*line)->size() == end + 1, "a line ends at its first \\n");
    data.remove_prefix((*line)->size());
  }
  const auto last = parse_last_line(as_bytes(data), max_line);
  if (last) {
    check_line(*last, data, max_line);
    check(last->size() == data.size(), "the last line is all that is left");
  } else {
    check(data.size() > max_line, "only a long last line is too long");
  }
  return 0;
}
