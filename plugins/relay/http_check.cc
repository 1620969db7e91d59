#include "plugins/relay/http_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace portolan::relay {
namespace {

bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }
char lower(char c) noexcept { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool is_token(std::string_view text) noexcept {
  static constexpr std::string_view kMarks = "!#$%&'*+-.^_`|~";
  return !text.empty() && std::ranges::all_of(text, [](char c) {
    return is_digit(c) || (lower(c) >= 'a' && lower(c) <= 'z') || kMarks.contains(c);
  });
}

bool is_text(std::string_view text) noexcept {
  return std::ranges::none_of(text, [](unsigned char c) { return (c < ' ' && c != '\t') || c == 0x7f; });
}

// `word` is in lower case.
bool is_word(std::string_view text, std::string_view word) noexcept {
  return std::ranges::equal(text, word, {}, lower);
}

std::string_view trim(std::string_view text) noexcept {
  const std::size_t first = text.find_first_not_of(" \t");
  return first == std::string_view::npos ? std::string_view()
                                         : text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

// "HTTP/1.1 200 OK"; the space behind the number may be missing, which the RFC does not allow but many do.
bool parse_status_line(std::string_view line, HttpHead& head) noexcept {
  if (line.size() < 12 || !is_digit(line[7]) || line[8] != ' ' || !std::ranges::all_of(line.substr(9, 3), is_digit))
    return false;
  std::from_chars(line.data() + 9, line.data() + 12, head.status);
  head.keeps_alive = line[7] != '0';
  return head.status >= 100 && (line.size() == 12 || line[12] == ' ') && is_text(line.substr(12));
}

struct Framing {
  bool coded = false;
  bool closes = false;
  bool keeps = false;
};

// Empty: well.
std::string_view parse_field(std::string_view line, HttpHead& head, Framing& framing) noexcept {
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos || !is_token(line.substr(0, colon)) || !is_text(line.substr(colon)))
    return "a line of its head is not HTTP";
  const std::string_view name = line.substr(0, colon);
  std::string_view value = trim(line.substr(colon + 1));
  if (is_word(name, "transfer-encoding")) {
    framing.coded = true;
  } else if (is_word(name, "content-length")) {
    std::uint64_t length = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), length);
    if (value.empty() || error != std::errc() || end != value.data() + value.size())
      return "its Content-Length is no number";
    if (head.body && *head.body != length) return "it has two lengths";
    head.body = length;
  } else if (is_word(name, "connection")) {
    for (bool more = true; more;) {
      const std::size_t comma = value.find(',');
      const std::string_view option = trim(value.substr(0, comma));
      framing.closes |= is_word(option, "close");
      framing.keeps |= is_word(option, "keep-alive");
      more = comma != std::string_view::npos;
      if (more) value.remove_prefix(comma + 1);
    }
  }
  return {};
}

}  // namespace

std::expected<HttpHead, NoHttpHead> parse_http_head(std::string_view text) noexcept {
  constexpr std::string_view kVersion = "HTTP/1.";
  const auto refuse = [](std::string_view why) { return std::unexpected(NoHttpHead{why}); };
  if (!text.starts_with(kVersion.substr(0, text.size()))) return refuse("it does not speak HTTP/1");
  HttpHead head;
  Framing framing;
  for (;;) {
    const std::string_view rest = text.substr(head.size, kMaxHttpHead - head.size);
    const std::size_t end = rest.find('\n');
    if (end == std::string_view::npos)
      return refuse(text.size() < kMaxHttpHead ? "" : "the head of its answer is over 16 KiB");
    if (end == 0 || rest[end - 1] != '\r') return refuse("a line of its head does not end in CRLF");
    const std::string_view line = rest.substr(0, end - 1);
    const bool first = head.size == 0;
    head.size += end + 1;
    if (first) {
      if (!parse_status_line(line, head)) return refuse("its status line is not HTTP");
    } else if (line.empty()) {
      break;
    } else if (const std::string_view wrong = parse_field(line, head, framing); !wrong.empty()) {
      return refuse(wrong);
    }
  }
  if (head.status < 200 || head.status == 204 || head.status == 304)
    head.body = 0;
  else if (framing.coded)
    head.body.reset();
  head.keeps_alive = !framing.closes && (head.keeps_alive || framing.keeps) && head.body && !framing.coded;
  return head;
}

std::string http_request(std::string_view path, std::string_view host) {
  return fmt::format("GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: portolan\r\nAccept: */*\r\n\r\n", path, host);
}

}  // namespace portolan::relay
