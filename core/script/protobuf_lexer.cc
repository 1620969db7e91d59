#include "script/protobuf_lexer.h"

#include <fmt/format.h>

namespace portolan::protobuf {
namespace {

constexpr std::size_t kShown = 40;

bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }
bool begins_name(char c) noexcept { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool goes_on_name(char c) noexcept { return begins_name(c) || is_digit(c); }
int hex_digit(char c) noexcept {
  if (is_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

void add_code_point(std::uint32_t code, Place at, std::string& out) {
  if (code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF))
    throw SchemaProblem{at, fmt::format("\\u of {:x}, which is no character", code)};
  const auto tail = [&](unsigned shift) { out += static_cast<char>(0x80U | ((code >> shift) & 0x3FU)); };
  if (code < 0x80) {
    out += static_cast<char>(code);
  } else if (code < 0x800) {
    out += static_cast<char>(0xC0U | code >> 6U);
    tail(0);
  } else if (code < 0x10000) {
    out += static_cast<char>(0xE0U | code >> 12U);
    tail(6);
    tail(0);
  } else {
    out += static_cast<char>(0xF0U | code >> 18U);
    tail(12);
    tail(6);
    tail(0);
  }
}

// Digits of an escape, as many as there are up to `most`; moves `place` behind them.
std::uint32_t escape_number(std::string_view text, std::size_t& place, int base, std::size_t least, std::size_t most,
                            Place at) {
  std::uint32_t value = 0;
  std::size_t count = 0;
  for (; count < most && place < text.size(); ++count, ++place) {
    const int digit = hex_digit(text[place]);
    if (digit < 0 || digit >= base) break;
    value = value * static_cast<std::uint32_t>(base) + static_cast<std::uint32_t>(digit);
  }
  if (count < least) throw SchemaProblem{at, fmt::format("an escape with too few digits; expected {}", least)};
  return value;
}

}  // namespace

std::string Token::shown() const {
  if (kind == Kind::end) return "the end";
  if (kind == Kind::text) return fmt::format("the text {}{}", text.substr(0, kShown), text.size() > kShown ? "…" : "");
  return fmt::format("\"{}\"{}", text.substr(0, kShown), text.size() > kShown ? "…" : "");
}

Lexer::Lexer(std::string_view text, std::uint32_t file) : text_(text), file_(file) {
  if (text_.starts_with("\xEF\xBB\xBF")) text_.remove_prefix(3);  // some editors mark UTF-8 so
  advance();
}

Token Lexer::take() {
  const Token token = token_;
  if (token.kind != Token::Kind::end) advance();
  return token;
}

bool Lexer::take_if(std::string_view word) {
  if (!token_.is(word)) return false;
  advance();
  return true;
}

void Lexer::step() noexcept {
  if (text_[place_++] == '\n') {
    ++line_;
    column_ = 1;
  } else {
    ++column_;
  }
}

void Lexer::skip_comment() {
  const Place from = here();
  if (at(1) == '/') {
    while (place_ < text_.size() && at(0) != '\n') step();
    return;
  }
  step();
  step();
  while (place_ < text_.size()) {
    if (at(0) == '*' && at(1) == '/') {
      step();
      step();
      return;
    }
    step();
  }
  throw SchemaProblem{from, "a comment that does not end; expected */"};
}

void Lexer::skip_blanks() {
  while (place_ < text_.size()) {
    const char c = at(0);
    if (c == ' ' || (c >= '\t' && c <= '\r'))
      step();
    else if (c == '/' && (at(1) == '/' || at(1) == '*'))
      skip_comment();
    else
      return;
  }
}

Token::Kind Lexer::read_number() {
  Token::Kind kind = Token::Kind::integer;
  if (at(0) == '0' && (at(1) == 'x' || at(1) == 'X')) {
    step();
    step();
    if (hex_digit(at(0)) < 0) throw SchemaProblem{here(), "0x without digits"};
    while (hex_digit(at(0)) >= 0) step();
  } else {
    while (is_digit(at(0))) step();
    if (at(0) == '.') {
      kind = Token::Kind::number;
      step();
      while (is_digit(at(0))) step();
    }
    if (at(0) == 'e' || at(0) == 'E') {
      kind = Token::Kind::number;
      step();
      if (at(0) == '+' || at(0) == '-') step();
      if (!is_digit(at(0))) throw SchemaProblem{here(), "an exponent without digits"};
      while (is_digit(at(0))) step();
    }
  }
  if (goes_on_name(at(0)) || at(0) == '.')
    throw SchemaProblem{here(), "a number that goes on; expected a blank behind it"};
  return kind;
}

void Lexer::read_text() {
  const Place from = here();
  const char quote = at(0);
  step();
  while (place_ < text_.size() && at(0) != quote) {
    if (at(0) == '\n' || at(0) == '\0') throw SchemaProblem{from, "a text that does not end on its line"};
    if (at(0) == '\\' && place_ + 1 < text_.size() && at(1) != '\n') step();
    step();
  }
  if (place_ == text_.size()) throw SchemaProblem{from, "a text that does not end"};
  step();
}

void Lexer::advance() {
  skip_blanks();
  token_ = {.kind = Token::Kind::end, .text = {}, .at = here()};
  if (place_ == text_.size()) return;
  const std::size_t from = place_;
  const char c = at(0);
  if (begins_name(c)) {
    token_.kind = Token::Kind::name;
    while (goes_on_name(at(0))) step();
  } else if (is_digit(c) || (c == '.' && is_digit(at(1)))) {
    token_.kind = read_number();
  } else if (c == '"' || c == '\'') {
    token_.kind = Token::Kind::text;
    read_text();
  } else if (c > ' ' && c < 0x7F) {
    token_.kind = Token::Kind::sign;
    step();
  } else {
    throw SchemaProblem{here(), fmt::format("the byte 0x{:02x}; expected a name, a number, a text or a sign",
                                            static_cast<unsigned char>(c))};
  }
  token_.text = text_.substr(from, place_ - from);
  if (token_.kind == Token::Kind::name && token_.text.size() > kLongestName)
    throw SchemaProblem{token_.at, "a name longer than 512 bytes"};
}

void unescape(std::string_view text, Place at, std::string& out) {
  for (std::size_t place = 0; place < text.size();) {
    if (text[place] != '\\') {
      out += text[place++];
      continue;
    }
    const char kind = place + 1 < text.size() ? text[place + 1] : '\0';
    place += 2;
    switch (kind) {
      case 'a': out += '\a'; break;
      case 'b': out += '\b'; break;
      case 'f': out += '\f'; break;
      case 'n': out += '\n'; break;
      case 'r': out += '\r'; break;
      case 't': out += '\t'; break;
      case 'v': out += '\v'; break;
      case '\\':
      case '\'':
      case '"':
      case '?': out += kind; break;
      case 'x':
      case 'X': out += static_cast<char>(escape_number(text, place, 16, 1, 2, at)); break;
      case 'u': add_code_point(escape_number(text, place, 16, 4, 4, at), at, out); break;
      case 'U': add_code_point(escape_number(text, place, 16, 8, 8, at), at, out); break;
      default:
        if (kind < '0' || kind > '7')
          throw SchemaProblem{at, "an escape that is none; expected \\n, \\t, \\x41, \\101, …"};
        --place;
        out += static_cast<char>(escape_number(text, place, 8, 1, 3, at));
    }
  }
}

}  // namespace portolan::protobuf
