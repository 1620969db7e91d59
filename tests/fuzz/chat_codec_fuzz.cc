// The chat's codec: however the network cuts a line it is found the same, what a client's JSON gives is UTF-8, what is
// cleaned has nothing left that commands a terminal, and what is written as JSON reads back as it was. Input: a byte for
// max_line, a seed for the cuts, then the bytes of the peer.
#include "base/utf8.h"
#include "fuzz_target.h"
#include "plugins/chat/codec.h"
#include "plugins/chat/text.h"

#include <nlohmann/json.hpp>

#include <string>
#include <vector>

using namespace portolan;
using namespace portolan::chat;
using portolan::fuzz::check;

namespace {

struct Found {
  std::vector<std::string> lines;
  std::size_t too_long = 0;
  std::string last;
  friend bool operator==(const Found&, const Found&) = default;
};

// What the README says, in the plainest way.
Found model(std::string_view input, std::size_t max_line) {
  Found found;
  while (!input.empty()) {
    const std::size_t end = input.find('\n');
    std::string_view text = input.substr(0, end);
    if (text.ends_with('\r')) text.remove_suffix(1);
    if (text.size() > max_line) {
      ++found.too_long;
    } else if (end == std::string_view::npos) {
      found.last = text;
    } else {
      found.lines.emplace_back(text);
    }
    input.remove_prefix(end == std::string_view::npos ? input.size() : end + 1);
  }
  return found;
}

Found run(std::string_view input, std::size_t max_line, std::size_t most, std::uint8_t seed) {
  Found found;
  portolan::fuzz::Cuts cuts(seed);
  std::string kept;
  bool skipping = false;
  while (!input.empty()) {
    const std::size_t size = std::min(seed ? cuts.next(most) : most, input.size());
    kept += input.substr(0, size);
    input.remove_prefix(size);
    for (;;) {
      const std::vector<char> exact(kept.begin(), kept.end());  // a byte read behind its end is seen
      const NextLine next = next_line(std::as_bytes(std::span(exact)), max_line, skipping);
      check(next.used <= kept.size(), "no more is used than came");
      if (next.kind == NextLine::Kind::line) found.lines.emplace_back(next.text);
      if (next.kind == NextLine::Kind::too_long) ++found.too_long;
      if (next.used == 0) break;
      kept.erase(0, next.used);
    }
    check(kept.size() <= max_line + 1, "no more is kept than the longest line and its return");
  }
  found.last = last_line(std::as_bytes(std::span(kept)), skipping);
  return found;
}

bool commands_a_terminal(std::string_view text) {
  for (std::size_t at = 0; at < text.size(); ++at) {
    const auto byte = static_cast<unsigned char>(text[at]);
    if (byte < 0x20 || byte == 0x7F) return true;
    if (byte == 0xC2 && static_cast<unsigned char>(text[at + 1]) < 0xA0) return true;
  }
  return false;
}

std::string encoded(const Words& words, Format format) {
  fmt::memory_buffer out;
  encode(words, format, out);
  return fmt::to_string(out);
}

void check_text(const std::string& line) {
  std::string text = line;
  if (!clean(text)) {
    check(!valid_utf8(line) && text == line, "only what is not UTF-8 is refused, and it stays as it was");
    return;
  }
  check(valid_utf8(text) && !commands_a_terminal(text), "a clean text is clean");
  std::string again = text;
  check(clean(again) && again == text, "and stays so");
  const std::string object = encoded({.from = "a \"name\"", .content = text, .time = "12:34:56"}, Format::json);
  const auto read = nlohmann::json::parse(object);
  check(read["content"] == text && read["from"] == "a \"name\"", "what is written reads back");
  check(object.find('\n') == object.size() - 1, "an object is one line");
  check(parse_object({object.data(), object.size() - 1}).content == text, "we read what we write");
  check(encoded({.from = "n", .content = text}, Format::text) == "[n] " + text + "\n", "a text is what it is");
}

void check_object(const std::string& line) {
  const ClientObject object = parse_object(line);
  if (!object.problem.empty()) return;
  check(valid_utf8(object.content), "a content is UTF-8");
  const auto whole = nlohmann::json::parse(line, nullptr, false);
  check(whole.is_object() && whole["content"] == object.content, "a content is that of the object");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  portolan::fuzz::Input input(data, size);
  const std::size_t max_line = input.byte() % 80 + 1;
  const auto seed = static_cast<std::uint8_t>(input.byte() | 1U);
  const std::string_view bytes = input.rest();
  const Found expected = model(bytes, max_line);
  check(run(bytes, max_line, bytes.size() + 1, 0) == expected, "lines in one piece");
  check(run(bytes, max_line, 1, 0) == expected, "lines byte by byte");
  check(run(bytes, max_line, 40, seed) == expected, "lines in pieces");
  for (const std::string& line : expected.lines) {
    check_text(line);
    check_object(line);
    if (name_problem(line).empty()) {
      std::string text = line;
      check(clean(text) && text == line, "a name has nothing to clean");
      check(line.size() <= 4 * kMaxName, "a name is short");
    }
    std::string_view rest = line;
    while (!rest.empty()) {
      const std::size_t before = rest.size();
      take_word(rest);
      check(rest.size() < before, "words come to an end");
    }
  }
  return 0;
}
