// The words of a .proto file: names, numbers, texts and signs, without comments and white space. A view of the text, which
// outlives it; used by one thread. Whatever is none of these, or does not end, is a SchemaProblem at its place.
#pragma once

#include "script/protobuf_draft.h"

#include <cstdint>
#include <string>
#include <string_view>

namespace portolan::protobuf {

struct Token {
  enum class Kind : std::uint8_t { end, name, integer, number, text, sign };
  Kind kind = Kind::end;
  std::string_view text;  // of a text: with its quotation marks
  Place at;
  bool is(std::string_view word) const noexcept { return (kind == Kind::name || kind == Kind::sign) && text == word; }
  // As messages show it: "the end", "\"x\"".
  std::string shown() const;
};

class Lexer {
 public:
  Lexer(std::string_view text, std::uint32_t file);

  // The next word, which stays until take().
  const Token& peek() const noexcept { return token_; }
  Token take();
  bool take_if(std::string_view word);

 private:
  void advance();
  void skip_blanks();
  void skip_comment();
  Token::Kind read_number();
  void read_text();
  char at(std::size_t ahead) const noexcept { return place_ + ahead < text_.size() ? text_[place_ + ahead] : '\0'; }
  void step() noexcept;
  Place here() const noexcept { return {file_, line_, column_}; }

  std::string_view text_;
  std::size_t place_ = 0;
  std::uint32_t file_;
  std::uint32_t line_ = 1;
  std::uint32_t column_ = 1;
  Token token_;
};

// What a text of .proto files means, without its quotation marks: adds it to `out`. Throws a SchemaProblem at `at`.
void unescape(std::string_view text, Place at, std::string& out);

}  // namespace portolan::protobuf
