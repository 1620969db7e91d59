#include "script/protobuf_descriptor.h"

#include "script/protobuf_lexer.h"
#include "script/protobuf_parser.h"
#include "script/protobuf_wire.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

namespace portolan::protobuf {
namespace {

// One field of a message of descriptor.proto.
struct Item {
  std::uint32_t number = 0;
  WireType type = WireType::varint;
  std::uint64_t value = 0;
  std::string_view bytes;
};

class DescriptorReader {
 public:
  explicit DescriptorReader(Drafts& drafts) : drafts_(drafts) {}

  void read_set(std::string_view bytes) {
    each(bytes, "the set", [&](const Item& item) {
      if (is_bytes(item, 1)) read_file(item.bytes);
    });
    if (drafts_.files.empty()) wrong("the set", "no file in it, expected a FileDescriptorSet");
  }

 private:
  [[noreturn]] void wrong(std::string_view subject, std::string_view text) const {
    const auto file = drafts_.files.empty() ? 0 : static_cast<std::uint32_t>(drafts_.files.size() - 1);
    throw SchemaProblem{{file, 0, 0}, fmt::format("{}: {}", subject, text)};
  }

  // Calls take(item) for each field. A field of another type than it should have is none that is known.
  void each(std::string_view bytes, std::string_view subject, const std::function<void(const Item&)>& take) const {
    WireReader reader(bytes);
    while (!reader.at_end()) {
      Item item;
      bool read = reader.tag(item.number, item.type);
      if (read && item.type == WireType::bytes)
        read = reader.bytes(item.bytes);
      else if (read && item.type == WireType::varint)
        read = reader.varint(item.value);
      else if (read)
        read = reader.skip(item.number, item.type);
      if (!read) wrong(subject, fmt::format("malformed: {}", reader.why()));
      take(item);
    }
  }
  static bool is_bytes(const Item& item, std::uint32_t number) noexcept {
    return item.number == number && item.type == WireType::bytes;
  }
  static bool is_number(const Item& item, std::uint32_t number) noexcept {
    return item.number == number && item.type == WireType::varint;
  }
  static std::int32_t to_int32(const Item& item) noexcept { return static_cast<std::int32_t>(item.value); }

  std::string_view check_name(std::string_view name) const {
    const auto is_good = [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
    };
    bool good = !name.empty() && name.size() <= kLongestName && !(name[0] >= '0' && name[0] <= '9');
    for (const char c : name) good = good && is_good(c);
    if (!good) wrong("a name", "expected letters, digits and _");
    return name;
  }
  std::string_view check_dotted(std::string_view name) const {
    for (std::string_view rest = name.starts_with('.') ? name.substr(1) : name;;) {
      const std::size_t dot = rest.find('.');
      check_name(rest.substr(0, dot));
      if (dot == std::string_view::npos) return name;
      rest.remove_prefix(dot + 1);
    }
  }

  void read_file(std::string_view bytes) {
    const auto file = static_cast<std::uint32_t>(drafts_.files.size());
    drafts_.files.emplace_back();
    std::string_view syntax = "proto2";
    // What is written behind the types matters for them.
    each(bytes, "a file", [&](const Item& item) {
      FileDraft& draft = drafts_.files[file];
      if (is_bytes(item, 1)) draft.name = item.bytes;
      if (is_bytes(item, 2)) draft.package = item.bytes.empty() ? item.bytes : check_dotted(item.bytes);
      if (is_bytes(item, 12)) syntax = item.bytes;
    });
    if (syntax != "proto2" && syntax != "proto3")
      wrong("syntax", fmt::format("found \"{}\", expected proto2 or proto3", syntax.substr(0, 40)));
    drafts_.files[file].is_proto3 = syntax == "proto3";
    drafts_.files[file].package_at.file = file;
    each(bytes, "a file", [&](const Item& item) {
      if (is_bytes(item, 4)) read_message(item.bytes, {file, 0, 0}, kNone, 1);
      if (is_bytes(item, 5)) read_enum(item.bytes, {file, 0, 0}, kNone);
      if (is_bytes(item, 7)) read_extension(item.bytes);
    });
  }

  void read_extension(std::string_view bytes) const {
    std::string_view extended;
    each(bytes, "an extension", [&](const Item& item) {
      if (is_bytes(item, 2)) extended = item.bytes;
    });
    if (!extended.starts_with(".google.protobuf.") || !extended.ends_with("Options"))
      wrong("an extension", fmt::format("of \"{}\": extensions are not known here", extended.substr(0, 80)));
  }

  void read_message(std::string_view bytes, Place at, std::uint32_t parent, int depth) {
    if (depth > Drafts::kDeepest) wrong("a message", fmt::format("nested deeper than {}", Drafts::kDeepest));
    drafts_.count_type(at);
    const auto index = static_cast<std::uint32_t>(drafts_.messages.size());
    drafts_.messages.push_back({.name = {}, .at = at, .parent = parent});
    each(bytes, "a message", [&](const Item& item) {
      MessageDraft& draft = drafts_.messages[index];
      if (is_bytes(item, 1)) draft.name = check_name(item.bytes);
      if (is_bytes(item, 2)) draft.fields.push_back(read_field(item.bytes, at));
      if (is_bytes(item, 6)) read_extension(item.bytes);
      if (is_bytes(item, 7)) read_message_options(item.bytes, draft);
      if (is_bytes(item, 8)) draft.oneofs.emplace_back(read_oneof(item.bytes, at), at);
      if (is_bytes(item, 9)) draft.reserved.push_back(read_range(item.bytes, false));
      if (is_bytes(item, 10)) draft.reserved_names.push_back(item.bytes);
      // These may move what `draft` refers to.
      if (is_bytes(item, 3)) read_message(item.bytes, at, index, depth + 1);
      if (is_bytes(item, 4)) read_enum(item.bytes, at, index);
    });
    check_name(drafts_.messages[index].name);
    forget_oneofs_of_optionals(drafts_.messages[index]);
  }

  void read_message_options(std::string_view bytes, MessageDraft& draft) const {
    each(bytes, "options", [&](const Item& item) {
      if (is_number(item, 1) && item.value != 0) wrong("message_set_wire_format", "is not known here");
      if (is_number(item, 7)) draft.is_map_entry = item.value != 0;
    });
  }

  // protoc puts each "optional" of proto3 into a oneof of its own, behind all others.
  static void forget_oneofs_of_optionals(MessageDraft& draft) {
    std::uint32_t real = 0;
    for (const FieldDraft& field : draft.fields)
      if (field.oneof != kNone && !field.proto3_optional) real = std::max(real, field.oneof + 1);
    for (FieldDraft& field : draft.fields)
      if (field.proto3_optional) field.oneof = kNone;
    if (real < draft.oneofs.size()) draft.oneofs.resize(real);
  }

  std::string_view read_oneof(std::string_view bytes, Place at) {
    drafts_.count_member(at);
    std::string_view name;
    each(bytes, "a oneof", [&](const Item& item) {
      if (is_bytes(item, 1)) name = item.bytes;
    });
    return check_name(name);
  }

  // Of messages the end is behind the last, of enums it is the last.
  NumberRange read_range(std::string_view bytes, bool of_enum) const {
    NumberRange range;
    each(bytes, "a range", [&](const Item& item) {
      if (is_number(item, 1)) range.first = to_int32(item);
      if (is_number(item, 2)) range.last = to_int32(item);
    });
    if (!of_enum) --range.last;
    if (range.last < range.first) wrong("a reserved range", "ends before it begins");
    return range;
  }

  FieldDraft read_field(std::string_view bytes, Place at) {
    drafts_.count_member(at);
    FieldDraft field{.at = at, .type_at = at};
    each(bytes, "a field", [&](const Item& item) {
      if (is_bytes(item, 1)) field.name = check_name(item.bytes);
      if (is_bytes(item, 2)) wrong("a field", "with \"extendee\": extensions are not known here");
      if (is_number(item, 3)) field.number = static_cast<std::uint32_t>(to_int32(item));
      if (is_number(item, 4)) field.label = read_label(item.value);
      if (is_number(item, 5)) field.type = read_type(item.value);
      if (is_bytes(item, 6)) field.type_name = check_dotted(item.bytes);
      if (is_bytes(item, 7)) {
        field.has_default = true;
        field.default_text = item.bytes;
      }
      if (is_bytes(item, 8)) read_field_options(item.bytes, field);
      if (is_number(item, 9)) field.oneof = static_cast<std::uint32_t>(to_int32(item));
      if (is_number(item, 17)) field.proto3_optional = item.value != 0;
    });
    check_name(field.name);
    if (field.type == FieldType::unknown && field.type_name.empty()) wrong(field.name, "a field without a type");
    if (!field.type_name.empty() && field.type != FieldType::unknown && field.type != FieldType::message &&
        field.type != FieldType::enumeration && field.type != FieldType::group)
      wrong(field.name, fmt::format("a {} with the name of a type", name_of(field.type)));
    if (field.has_default && field.type == FieldType::bytes) {
      std::string plain;
      unescape(field.default_text, at, plain);
      field.default_text = drafts_.keep(std::move(plain));
    }
    return field;
  }

  void read_field_options(std::string_view bytes, FieldDraft& field) const {
    each(bytes, "options", [&](const Item& item) {
      if (is_number(item, 2)) field.packed = item.value != 0;
    });
  }

  Label read_label(std::uint64_t value) const {
    if (value == 1) return Label::optional;
    if (value == 2) return Label::required;
    if (value == 3) return Label::repeated;
    wrong("a label", "is none");
  }
  FieldType read_type(std::uint64_t value) const {
    if (value == 0 || value > 18) wrong("a type", fmt::format("the number {} is none", value));
    return static_cast<FieldType>(value);
  }

  void read_enum(std::string_view bytes, Place at, std::uint32_t parent) {
    drafts_.count_type(at);
    EnumDraft draft{.name = {}, .at = at, .parent = parent};
    each(bytes, "an enum", [&](const Item& item) {
      if (is_bytes(item, 1)) draft.name = item.bytes;
      if (is_bytes(item, 2)) draft.values.push_back(read_value(item.bytes, at));
      if (is_bytes(item, 3)) {
        each(item.bytes, "options", [&](const Item& option) {
          if (is_number(option, 2)) draft.allow_alias = option.value != 0;
        });
      }
      if (is_bytes(item, 4)) draft.reserved.push_back(read_range(item.bytes, true));
      if (is_bytes(item, 5)) draft.reserved_names.push_back(item.bytes);
    });
    check_name(draft.name);
    drafts_.enums.push_back(std::move(draft));
  }

  ValueDraft read_value(std::string_view bytes, Place at) {
    drafts_.count_member(at);
    ValueDraft value{.name = {}, .at = at};
    each(bytes, "a value", [&](const Item& item) {
      if (is_bytes(item, 1)) value.name = item.bytes;
      if (is_number(item, 2)) value.number = to_int32(item);
    });
    check_name(value.name);
    return value;
  }

  Drafts& drafts_;
};

}  // namespace

std::expected<Blueprint, std::string> read_descriptors(std::string_view bytes) {
  if (bytes.size() > kMostSource)
    return std::unexpected(fmt::format("{} bytes of descriptors; expected {} at most", bytes.size(), kMostSource));
  return blueprint_of([bytes](Drafts& drafts) { DescriptorReader(drafts).read_set(bytes); });
}

}  // namespace portolan::protobuf
