// Types of protobuf as they are read from .proto files or from descriptors, before their names mean anything. Their names
// are views of what was read, which outlives them. Used by one thread, for as long as reading takes.
#pragma once

#include "script/protobuf_schema.h"

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace portolan::protobuf {

// Of a name, with all that it lies in.
inline constexpr std::size_t kLongestName = 512;

// Line 0: read from a descriptor, which knows no lines.
struct Place {
  std::uint32_t file = 0;
  std::uint32_t line = 0;
  std::uint32_t column = 0;
};

// Thrown while a schema is read, and caught where reading began.
struct SchemaProblem {
  Place at;
  std::string text;
};

enum class Label : std::uint8_t { none, optional, required, repeated };

// What the default of a field was written as; of a descriptor it is not known.
enum class Literal : std::uint8_t { any, word, number, text };

struct NumberRange {
  std::int64_t first = 0;
  std::int64_t last = 0;
};

struct FieldDraft {
  std::string_view name;
  std::string_view type_name;  // as written, of a message or an enum
  std::string_view default_text;
  Place at;
  Place type_at;
  std::uint32_t number = 0;
  std::uint32_t oneof = kNone;  // of the oneofs of its message
  FieldType type = FieldType::unknown;
  Label label = Label::none;
  Literal default_literal = Literal::any;
  bool has_default = false;
  bool proto3_optional = false;
  std::optional<bool> packed;
};

struct MessageDraft {
  std::string_view name;
  Place at;
  std::uint32_t parent = kNone;
  bool is_map_entry = false;
  std::vector<FieldDraft> fields;
  std::vector<std::pair<std::string_view, Place>> oneofs;
  std::vector<NumberRange> reserved;
  std::vector<std::string_view> reserved_names;
};

struct ValueDraft {
  std::string_view name;
  Place at;
  std::int32_t number = 0;
};

struct EnumDraft {
  std::string_view name;
  Place at;
  std::uint32_t parent = kNone;
  bool allow_alias = false;
  std::vector<ValueDraft> values;
  std::vector<NumberRange> reserved;
  std::vector<std::string_view> reserved_names;
};

struct FileDraft {
  std::string_view name;  // "": the one that needs none
  std::string_view package;
  Place package_at;
  bool is_proto3 = false;
};

// Whoever reads adds a message behind the one that it lies in.
struct Drafts {
  static constexpr std::size_t kMostTypes = 16'384;
  static constexpr std::size_t kMostMembers = 65'536;  // fields and values
  static constexpr int kDeepest = 32;                  // messages in messages

  std::vector<FileDraft> files;
  std::vector<MessageDraft> messages;
  std::vector<EnumDraft> enums;
  std::deque<std::string> texts;  // what had to be put together
  std::size_t members = 0;

  std::string_view keep(std::string text) { return texts.emplace_back(std::move(text)); }
  // Before each that is added.
  void count_type(Place at) const {
    if (messages.size() + enums.size() >= kMostTypes) throw SchemaProblem{at, "more than 16384 messages and enums"};
  }
  void count_member(Place at) {
    if (++members > kMostMembers) throw SchemaProblem{at, "more than 65536 fields and values"};
  }
  std::string describe(const SchemaProblem& problem) const;
};

}  // namespace portolan::protobuf
