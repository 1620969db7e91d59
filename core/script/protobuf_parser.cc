#include "script/protobuf_parser.h"

#include "script/protobuf_default.h"
#include "script/protobuf_lexer.h"

#include <fmt/format.h>

#include <unordered_map>
#include <utility>

namespace portolan::protobuf {
namespace {

using Kind = Token::Kind;

constexpr std::size_t kMostFiles = 256;

struct Import {
  std::string name;
  Place at;
};

// An option, or one of a field's: where its name is one word, that; else "".
struct OptionDraft {
  std::string_view name;
  std::string_view value;
  Literal literal = Literal::any;
  Place at;
};

class Parser {
 public:
  Parser(Drafts& drafts, std::string_view text, std::uint32_t file)
      : drafts_(drafts), lexer_(text, file), file_(file) {}

  std::vector<Import> parse() {
    read_syntax();
    while (lexer_.peek().kind != Kind::end) read_statement();
    return std::move(imports_);
  }

 private:
  FileDraft& draft() { return drafts_.files[file_]; }

  // ---- Words ---------------------------------------------------------------------------------------------------

  [[noreturn]] static void wrong(Place at, std::string text) { throw SchemaProblem{at, std::move(text)}; }
  [[noreturn]] void unexpected(std::string_view expected) const {
    wrong(lexer_.peek().at, fmt::format("found {}, expected {}", lexer_.peek().shown(), expected));
  }
  void expect(std::string_view word) {
    if (!lexer_.take_if(word)) unexpected(fmt::format("\"{}\"", word));
  }
  Token expect(Kind kind, std::string_view what) {
    if (lexer_.peek().kind != kind) unexpected(what);
    return lexer_.take();
  }
  std::uint64_t read_number(std::string_view what, std::uint64_t most) {
    const Token token = expect(Kind::integer, what);
    const auto value = read_integer(token.text);
    if (!value || *value > most)
      wrong(token.at, fmt::format("found {}, expected {}, at most {}", token.text, what, most));
    return *value;
  }
  std::int64_t read_enum_number(std::string_view what) {
    const bool negative = lexer_.take_if("-");
    const auto magnitude = static_cast<std::int64_t>(read_number(what, negative ? 0x80000000U : 0x7FFFFFFFU));
    return negative ? -magnitude : magnitude;
  }
  // Texts that stand one behind the other are one.
  std::string read_text(std::string_view what) {
    if (lexer_.peek().kind != Kind::text) unexpected(what);
    std::string text;
    while (lexer_.peek().kind == Kind::text) {
      const Token token = lexer_.take();
      unescape(token.text.substr(1, token.text.size() - 2), token.at, text);
    }
    return text;
  }
  // a.b.c, of which `begun` may have been taken already.
  std::string_view read_dotted(std::string_view begun, std::string_view what) {
    std::string_view name = begun;
    std::string joined;
    const auto add = [&](std::string_view part) {
      if (joined.empty() && (name.empty() || name.data() + name.size() == part.data()))
        name = {name.empty() ? part.data() : name.data(), name.size() + part.size()};
      else
        joined += joined.empty() ? fmt::format("{}{}", name, part) : std::string(part);  // blanks are between them
    };
    if (name.empty()) add(expect(Kind::name, what).text);
    while (lexer_.peek().is(".")) {
      add(lexer_.take().text);
      add(expect(Kind::name, "a name behind the dot").text);
    }
    return joined.empty() ? name : drafts_.keep(std::move(joined));
  }
  std::string_view read_type_name() {
    const Token& token = lexer_.peek();
    if (!token.is(".")) return read_dotted({}, "a type");
    const std::string_view dot = lexer_.take().text;
    const Token first = expect(Kind::name, "a name behind the dot");
    if (dot.data() + 1 == first.text.data()) return read_dotted({dot.data(), 1 + first.text.size()}, "");
    return drafts_.keep(fmt::format(".{}", read_dotted(first.text, "")));
  }
  void skip_braces() {
    const Place from = lexer_.peek().at;
    expect("{");
    for (std::size_t depth = 1; depth > 0;) {
      const Token token = lexer_.take();
      if (token.kind == Kind::end) wrong(from, "a { without its }");
      if (token.is("{")) ++depth;
      if (token.is("}")) --depth;
    }
  }

  // ---- Statements of a file ------------------------------------------------------------------------------------

  void read_syntax() {
    if (lexer_.peek().is("edition")) unexpected("syntax = \"proto2\" or \"proto3\": editions are not known here");
    if (!lexer_.take_if("syntax")) return;  // proto2
    expect("=");
    const Place at = lexer_.peek().at;
    const std::string syntax = read_text("\"proto2\" or \"proto3\"");
    if (syntax != "proto2" && syntax != "proto3")
      wrong(at, fmt::format("found \"{}\", expected \"proto2\" or \"proto3\"", syntax));
    draft().is_proto3 = syntax == "proto3";
    expect(";");
  }

  void read_statement() {
    const Token token = lexer_.peek();
    if (lexer_.take_if(";")) return;
    if (token.is("message")) return read_message(kNone, 1);
    if (token.is("enum")) return read_enum(kNone);
    if (token.is("extend")) return read_extend();
    if (token.is("option")) {
      read_option_statement();
    } else if (lexer_.take_if("service")) {
      expect(Kind::name, "a name");
      skip_braces();
    } else if (lexer_.take_if("import")) {
      if (!lexer_.take_if("public")) lexer_.take_if("weak");
      const Place at = lexer_.peek().at;
      imports_.push_back({read_text("the name of a file in quotation marks"), at});
      expect(";");
    } else if (lexer_.take_if("package")) {
      if (!draft().package.empty()) wrong(token.at, "a second package");
      draft().package_at = lexer_.peek().at;
      draft().package = read_dotted({}, "a name");
      expect(";");
    } else {
      unexpected("message, enum, import, package, option or service");
    }
  }

  // Only of what says something about .proto files, not about messages.
  void read_extend() {
    const Place at = lexer_.take().at;
    std::string_view name = read_type_name();
    if (name.starts_with('.')) name.remove_prefix(1);
    if (!name.starts_with("google.protobuf.") || !name.ends_with("Options"))
      wrong(at, fmt::format("an extension of \"{}\": extensions are not known here, expected a field", name));
    skip_braces();
  }

  // ---- Options -------------------------------------------------------------------------------------------------

  OptionDraft read_option() {
    OptionDraft option{.at = lexer_.peek().at};
    std::size_t parts = 0;
    do {
      ++parts;
      if (lexer_.take_if("(")) {
        ++parts;
        read_type_name();
        expect(")");
      } else {
        option.name = expect(Kind::name, "the name of an option").text;
      }
    } while (lexer_.take_if("."));
    if (parts != 1) option.name = {};
    expect("=");
    read_constant(option);
    return option;
  }

  void read_constant(OptionDraft& option) {
    const bool is_default = option.name == "default";
    const Token token = lexer_.peek();
    if (token.is("{")) return skip_braces();
    if (token.kind == Kind::text) {
      std::string text = read_text("");
      option.literal = Literal::text;
      if (is_default) option.value = drafts_.keep(std::move(text));
      return;
    }
    const bool negative = lexer_.take_if("-");
    if (!negative) lexer_.take_if("+");
    option.literal = lexer_.peek().kind == Kind::name ? Literal::word : Literal::number;
    if (lexer_.peek().kind == Kind::name)
      option.value = read_dotted({}, "");
    else if (lexer_.peek().kind == Kind::integer || lexer_.peek().kind == Kind::number)
      option.value = lexer_.take().text;
    else
      unexpected("a value: a name, a number, a text or { … }");
    if (negative) option.value = drafts_.keep(fmt::format("-{}", option.value));
  }

  OptionDraft read_option_statement() {
    expect("option");
    const OptionDraft option = read_option();
    expect(";");
    return option;
  }

  static bool truth(const OptionDraft& option) {
    if (option.literal != Literal::word || (option.value != "true" && option.value != "false"))
      wrong(option.at, fmt::format("\"{}\" of something else, expected true or false", option.name));
    return option.value == "true";
  }

  // ---- Messages ------------------------------------------------------------------------------------------------

  void read_message(std::uint32_t parent, int depth) {
    const Place at = lexer_.take().at;
    if (depth > Drafts::kDeepest) wrong(at, fmt::format("messages nested deeper than {}", Drafts::kDeepest));
    drafts_.count_type(at);
    const auto index = static_cast<std::uint32_t>(drafts_.messages.size());
    const Token name = expect(Kind::name, "the name of a message");
    drafts_.messages.push_back({.name = name.text, .at = name.at, .parent = parent});
    const Place brace = lexer_.peek().at;
    expect("{");
    while (!lexer_.take_if("}")) {
      const Token token = lexer_.peek();
      if (token.kind == Kind::end) wrong(brace, "a { without its }");
      if (lexer_.take_if(";")) continue;
      if (token.is("message")) {
        read_message(index, depth + 1);
      } else if (token.is("enum")) {
        read_enum(index);
      } else if (token.is("oneof")) {
        read_oneof(index);
      } else if (token.is("extend")) {
        read_extend();
      } else if (token.is("option")) {
        const OptionDraft option = read_option_statement();
        if ((option.name == "message_set_wire_format" || option.name == "map_entry") && truth(option))
          wrong(option.at, fmt::format("\"{}\" is not known here", option.name));
      } else if (lexer_.take_if("reserved")) {
        read_reserved(drafts_.messages[index].reserved, drafts_.messages[index].reserved_names, false);
      } else if (lexer_.take_if("extensions")) {
        // Numbers for others: what they send is skipped, as all that is unknown.
        std::vector<std::string_view> none;
        read_reserved(drafts_.messages[index].reserved, none, false);
      } else {
        read_field(index, kNone);
      }
    }
  }

  void read_oneof(std::uint32_t message) {
    lexer_.take();
    const Token name = expect(Kind::name, "the name of a oneof");
    drafts_.count_member(name.at);
    const auto oneof = static_cast<std::uint32_t>(drafts_.messages[message].oneofs.size());
    drafts_.messages[message].oneofs.emplace_back(name.text, name.at);
    const std::size_t before = drafts_.messages[message].fields.size();
    expect("{");
    while (!lexer_.take_if("}")) {
      if (lexer_.take_if(";")) continue;
      if (lexer_.peek().is("option"))
        read_option_statement();
      else
        read_field(message, oneof);
    }
    if (drafts_.messages[message].fields.size() == before)
      wrong(name.at, "a oneof without a field, expected one at least");
  }

  Label read_label(std::uint32_t oneof) {
    const Token token = lexer_.peek();
    Label label = Label::none;
    if (token.is("optional")) label = Label::optional;
    if (token.is("required")) label = Label::required;
    if (token.is("repeated")) label = Label::repeated;
    if (label == Label::none) return label;
    if (oneof != kNone) unexpected("a type: the fields of a oneof have no label");
    if (label == Label::required && draft().is_proto3)
      unexpected("a type, \"optional\" or \"repeated\": this is proto3");
    lexer_.take();
    return label;
  }

  void read_field(std::uint32_t message, std::uint32_t oneof) {
    FieldDraft field{.oneof = oneof, .label = read_label(oneof)};
    field.proto3_optional = field.label == Label::optional && draft().is_proto3;
    field.type_at = lexer_.peek().at;
    if (lexer_.peek().is("group")) unexpected("a type: groups are not known here, use a nested message");
    if (lexer_.peek().is("map")) {
      const Token map = lexer_.take();
      if (lexer_.peek().is("<")) return read_map(message, field, map.at);
      field.type_name = read_dotted(map.text, "");
    } else {
      if (lexer_.peek().kind != Kind::name && !lexer_.peek().is("."))
        unexpected("a field, or another part of a message");
      field.type_name = read_type_name();
    }
    settle_type(field);
    if (field.label == Label::none && oneof == kNone && !draft().is_proto3) {
      wrong(field.type_at,
            fmt::format("found \"{}\", expected \"optional\", \"required\" or \"repeated\" in front of it: "
                        "this is proto2, as no syntax says otherwise",
                        field.type_name.empty() ? name_of(field.type) : field.type_name));
    }
    read_name_and_number(field);
    drafts_.messages[message].fields.push_back(field);
  }

  static void settle_type(FieldDraft& field) {
    field.type = scalar_type(field.type_name);
    if (field.type != FieldType::unknown) field.type_name = {};
  }

  void read_name_and_number(FieldDraft& field) {
    const Token name = expect(Kind::name, "the name of a field");
    drafts_.count_member(name.at);
    field.name = name.text;
    field.at = name.at;
    expect("=");
    field.number = static_cast<std::uint32_t>(read_number("the number of a field", kHighestNumber));
    if (lexer_.take_if("[")) {
      do {
        read_field_option(field);
      } while (lexer_.take_if(","));
      expect("]");
    }
    if (!lexer_.peek().is(";")) unexpected("\";\" behind the field");
    lexer_.take();
  }

  void read_field_option(FieldDraft& field) {
    const OptionDraft option = read_option();
    if (option.name == "packed") {
      field.packed = truth(option);
    } else if (option.name == "default") {
      if (field.has_default) wrong(option.at, "a second default");
      if (option.literal == Literal::any) wrong(option.at, "a default of { … }, expected a name, a number or a text");
      field.has_default = true;
      field.default_literal = option.literal;
      field.default_text = option.value;
    }
  }

  // A map is a list of entries, which are messages of their own.
  void read_map(std::uint32_t message, FieldDraft field, Place at) {
    if (field.label != Label::none) wrong(at, "a map with a label, expected none in front of it");
    if (field.oneof != kNone) wrong(at, "a map in a oneof, expected a type");
    FieldDraft key{.type_at = {}, .number = 1};
    FieldDraft value{.type_at = {}, .number = 2};
    expect("<");
    key.type_at = lexer_.peek().at;
    key.type_name = read_type_name();
    settle_type(key);
    expect(",");
    value.type_at = lexer_.peek().at;
    if (lexer_.peek().is("map")) unexpected("the type of a value, which is no map");
    value.type_name = read_type_name();
    settle_type(value);
    expect(">");
    if (key.type == FieldType::unknown || key.type == FieldType::float64 || key.type == FieldType::float32 ||
        key.type == FieldType::bytes)
      wrong(key.type_at, "the key of a map is an integer, a bool or a string");
    read_name_and_number(field);
    drafts_.count_type(field.at);
    key.name = "key";
    value.name = "value";
    key.at = value.at = field.at;
    field.type_name = drafts_.keep(entry_name(field.name));
    field.label = Label::repeated;
    drafts_.messages[message].fields.push_back(field);
    drafts_.messages.push_back({.name = field.type_name, .at = field.at, .parent = message, .is_map_entry = true});
    drafts_.messages.back().fields = {key, value};
  }

  // As protoc calls it: of user_names UserNamesEntry.
  static std::string entry_name(std::string_view field) {
    std::string name;
    bool capital = true;
    for (const char c : field) {
      if (c == '_') {
        capital = true;
        continue;
      }
      name += capital && c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
      capital = false;
    }
    return name + "Entry";
  }

  // Numbers, or names.
  void read_reserved(std::vector<NumberRange>& ranges, std::vector<std::string_view>& names, bool of_enum) {
    do {
      if (lexer_.peek().kind == Kind::text) {
        names.push_back(drafts_.keep(read_text("")));
        continue;
      }
      const auto number = [&] {
        return of_enum ? read_enum_number("a number")
                       : static_cast<std::int64_t>(read_number("a number", kHighestNumber));
      };
      const Place at = lexer_.peek().at;
      NumberRange range{.first = number(), .last = 0};
      range.last = range.first;
      if (lexer_.take_if("to"))
        range.last = lexer_.take_if("max") ? (of_enum ? 0x7FFFFFFF : std::int64_t{kHighestNumber}) : number();
      if (range.last < range.first) wrong(at, "a range that ends before it begins");
      ranges.push_back(range);
    } while (lexer_.take_if(","));
    if (lexer_.take_if("[")) {  // of extensions
      do {
        read_option();
      } while (lexer_.take_if(","));
      expect("]");
    }
    expect(";");
  }

  void read_enum(std::uint32_t parent) {
    const Place at = lexer_.take().at;
    drafts_.count_type(at);
    const Token name = expect(Kind::name, "the name of an enum");
    EnumDraft made{.name = name.text, .at = name.at, .parent = parent};
    expect("{");
    while (!lexer_.take_if("}")) {
      if (lexer_.take_if(";")) continue;
      if (lexer_.peek().is("option")) {
        const OptionDraft option = read_option_statement();
        if (option.name == "allow_alias") made.allow_alias = truth(option);
      } else if (lexer_.take_if("reserved")) {
        read_reserved(made.reserved, made.reserved_names, true);
      } else {
        const Token value = expect(Kind::name, "a value of the enum, or }");
        drafts_.count_member(value.at);
        expect("=");
        made.values.push_back(
            {.name = value.text, .at = value.at, .number = static_cast<std::int32_t>(read_enum_number("a number"))});
        if (lexer_.take_if("[")) {
          do {
            read_option();
          } while (lexer_.take_if(","));
          expect("]");
        }
        expect(";");
      }
    }
    drafts_.enums.push_back(std::move(made));
  }

  Drafts& drafts_;
  Lexer lexer_;
  std::uint32_t file_;
  std::vector<Import> imports_;
};

// Reads a file, then what it imports.
class Sources {
 public:
  explicit Sources(std::span<const SourceFile> files) : files_(files), states_(files.size(), State::given) {
    for (std::size_t index = 1; index < files.size(); ++index) by_name_.emplace(files[index].name, index);
  }

  void read(std::size_t index, Drafts& drafts) {
    const auto file = static_cast<std::uint32_t>(drafts.files.size());
    drafts.files.push_back({.name = files_[index].name});
    if (file >= kMostFiles) throw SchemaProblem{{file, 1, 1}, fmt::format("more than {} files", kMostFiles)};
    states_[index] = State::begun;
    for (const Import& import : Parser(drafts, files_[index].text, file).parse()) {
      const auto found = by_name_.find(import.name);
      if (found == by_name_.end())
        throw SchemaProblem{import.at, fmt::format("import \"{}\", expected its text among the imports", import.name)};
      if (states_[found->second] == State::begun)
        throw SchemaProblem{import.at, fmt::format("\"{}\" imports itself in the end", import.name)};
      if (states_[found->second] == State::given) read(found->second, drafts);
    }
    states_[index] = State::done;
  }

 private:
  enum class State : std::uint8_t { given, begun, done };

  std::span<const SourceFile> files_;
  std::vector<State> states_;
  std::unordered_map<std::string_view, std::size_t> by_name_;
};

}  // namespace

std::expected<Blueprint, std::string> read_sources(std::span<const SourceFile> files) {
  std::size_t size = 0;
  for (const SourceFile& file : files) size += file.text.size();
  if (size > kMostSource)
    return std::unexpected(fmt::format("{} bytes of files; expected {} at most", size, kMostSource));
  return blueprint_of([files](Drafts& drafts) { Sources(files).read(0, drafts); });
}

}  // namespace portolan::protobuf
