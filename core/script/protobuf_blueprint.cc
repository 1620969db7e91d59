#include "script/protobuf_blueprint.h"

#include "script/protobuf_default.h"
#include "script/protobuf_symbols.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <numeric>

namespace portolan::protobuf {
namespace {

using Kind = Symbols::Kind;

// One for all that is sorted here: each would be a kilobyte or two of its own.
void sort(std::span<std::uint32_t> indices, const std::function<bool(std::uint32_t, std::uint32_t)>& less) {
  std::sort(indices.begin(), indices.end(), less);
}

std::vector<std::uint32_t> count_up(std::size_t count) {
  std::vector<std::uint32_t> indices(count);
  std::iota(indices.begin(), indices.end(), 0U);
  return indices;
}

constexpr std::uint32_t kFirstOfProtobuf = 19'000;
constexpr std::uint32_t kLastOfProtobuf = 19'999;

}  // namespace

std::string Drafts::describe(const SchemaProblem& problem) const {
  const std::string_view file = problem.at.file < files.size() ? files[problem.at.file].name : std::string_view();
  std::string text;
  if (!file.empty()) text = fmt::format("{}:{}", file, problem.at.line == 0 ? " " : "");
  if (problem.at.line != 0) text += fmt::format("{}:{}: ", problem.at.line, problem.at.column);
  return text + problem.text;
}

// Fills in a Blueprint from its drafts.
class BlueprintMaker {
 public:
  explicit BlueprintMaker(Blueprint& blueprint) : out_(blueprint), drafts_(blueprint.drafts_) {}

  void make() {
    declare();
    order_messages();
    for (const EnumDraft& draft : drafts_.enums) add_enum(draft);
    for (const std::uint32_t draft : order_) add_message(draft);
    for (const std::uint32_t draft : order_)
      if (drafts_.messages[draft].is_map_entry) check_map_entry(draft);
    find_maps();
    find_requiring();
  }

 private:
  struct Subject {
    std::string_view of;
    std::string_view member = {};
  };
  // The subject is said where there is no line to point at.
  [[noreturn]] static void wrong(Place at, Subject subject, const std::string& text) {
    if (at.line != 0) throw SchemaProblem{at, text};
    throw SchemaProblem{at,
                        fmt::format("{}{}{}: {}", subject.of, subject.member.empty() ? "" : ".", subject.member, text)};
  }

  std::uint32_t declare(std::uint32_t scope, std::string_view name, Kind kind, std::size_t index, Place at) {
    const std::uint32_t id = symbols_.add(scope, name, kind, static_cast<std::uint32_t>(index));
    if (id != kNone) return id;
    const std::string outer = symbols_.full_name(scope);
    wrong(at, outer.empty() ? Subject{name} : Subject{outer, name},
          fmt::format("\"{}\" is already defined{}{}", name, outer.empty() ? "" : fmt::format(" in \"{}\"", outer),
                      kind == Kind::value ? " (the values of an enum stand beside it, not in it)" : ""));
  }

  std::string_view keep_name(std::uint32_t id, Place at) {
    std::string& name = out_.full_names_.emplace_back(symbols_.full_name(id));
    if (name.size() > kLongestName)
      wrong(at, {std::string_view(name).substr(0, 64)}, "a full name longer than 512 bytes");
    return name;
  }

  void declare() {
    for (std::size_t file = 0; file < drafts_.files.size(); ++file) {
      const FileDraft& draft = drafts_.files[file];
      if (draft.package.size() > kLongestName)
        wrong(draft.package_at, {"package"}, "a full name longer than 512 bytes");
      packages_.push_back(symbols_.add_package(draft.package));
    }
    // A package may be declared by many files, but nothing else may have its name.
    for (std::size_t file = 0; file < drafts_.files.size(); ++file) {
      if (packages_[file] == kNone) {
        wrong(drafts_.files[file].package_at, {"package"},
              fmt::format("\"{}\" is no package", drafts_.files[file].package));
      }
    }
    for (std::size_t index = 0; index < drafts_.messages.size(); ++index) {
      const MessageDraft& draft = drafts_.messages[index];
      const std::uint32_t id = declare(scope_of(draft.parent, draft.at), draft.name, Kind::message, index, draft.at);
      message_nodes_.push_back(id);
      message_names_.push_back(keep_name(id, draft.at));
    }
    for (std::size_t index = 0; index < drafts_.enums.size(); ++index) {
      const EnumDraft& draft = drafts_.enums[index];
      const std::uint32_t scope = scope_of(draft.parent, draft.at);
      const std::uint32_t id = declare(scope, draft.name, Kind::enumeration, index, draft.at);
      enum_names_.push_back(keep_name(id, draft.at));
      for (const ValueDraft& value : draft.values) declare(scope, value.name, Kind::value, index, value.at);
    }
    for (std::size_t index = 0; index < drafts_.messages.size(); ++index) {
      const MessageDraft& draft = drafts_.messages[index];
      for (const FieldDraft& field : draft.fields)
        declare(message_nodes_[index], field.name, Kind::field, index, field.at);
      for (const auto& [name, at] : draft.oneofs) declare(message_nodes_[index], name, Kind::oneof, index, at);
    }
  }

  std::uint32_t scope_of(std::uint32_t parent, Place at) const {
    return parent == kNone ? packages_[at.file] : message_nodes_[parent];
  }

  void order_messages() {
    order_ = count_up(drafts_.messages.size());
    sort(order_, [this](std::uint32_t a, std::uint32_t b) { return message_names_[a] < message_names_[b]; });
    place_of_.resize(order_.size());
    for (std::uint32_t at = 0; at < order_.size(); ++at) place_of_[order_[at]] = at;
  }

  // Sorted, so that each number is looked for in a moment.
  std::vector<NumberRange> check_ranges(std::vector<NumberRange> ranges, Place at, std::string_view name) const {
    std::ranges::sort(ranges, {}, &NumberRange::first);
    for (std::size_t index = 1; index < ranges.size(); ++index) {
      if (ranges[index].first <= ranges[index - 1].last)
        wrong(at, {name}, fmt::format("{} is reserved twice", ranges[index].first));
    }
    return ranges;
  }

  static bool contains(const std::vector<NumberRange>& ranges, std::int64_t number) {
    const auto after = std::ranges::upper_bound(ranges, number, {}, &NumberRange::first);
    return after != ranges.begin() && number <= std::prev(after)->last;
  }

  void add_enum(const EnumDraft& draft) {
    const std::string_view name = enum_names_[out_.enums_.size()];
    if (draft.values.empty()) wrong(draft.at, {name}, "an enum without a value; expected one at least");
    if (drafts_.files[draft.at.file].is_proto3 && draft.values[0].number != 0)
      wrong(draft.values[0].at, {name}, "the first value of an enum of proto3 is 0");
    const auto ranges = check_ranges(draft.reserved, draft.at, name);
    const auto& values = draft.values;
    std::vector<std::uint32_t> order = count_up(values.size());
    sort(order, [&](std::uint32_t a, std::uint32_t b) {
      return values[a].number != values[b].number ? values[a].number < values[b].number : a < b;
    });
    const auto first = static_cast<std::uint32_t>(out_.values_.size());
    out_.enums_.push_back({name, first, static_cast<std::uint32_t>(values.size())});
    for (std::size_t index = 0; index < order.size(); ++index) {
      const ValueDraft& value = values[order[index]];
      if (contains(ranges, value.number)) wrong(value.at, {name}, fmt::format("{} is reserved", value.number));
      if (index > 0 && value.number == values[order[index - 1]].number && !draft.allow_alias) {
        wrong(
            value.at, {name},
            fmt::format("{} is \"{}\" already: expected another number, or \"option allow_alias = true;\" in the enum",
                        value.number, values[order[index - 1]].name));
      }
      out_.values_.push_back({value.name, value.number});
      out_.values_by_name_.push_back(first + static_cast<std::uint32_t>(index));
    }
    const auto by_name = std::span(out_.values_by_name_).subspan(first);
    const auto name_of_value = [this](std::uint32_t index) { return out_.values_[index].name; };
    sort(by_name, [&](std::uint32_t a, std::uint32_t b) { return name_of_value(a) < name_of_value(b); });
    for (const std::string_view reserved : draft.reserved_names) {
      const auto found = std::ranges::lower_bound(by_name, reserved, {}, name_of_value);
      if (found == by_name.end() || name_of_value(*found) != reserved) continue;
      wrong(values[order[*found - first]].at, {name}, fmt::format("the name \"{}\" is reserved", reserved));
    }
  }

  void add_message(std::uint32_t draft_index) {
    const MessageDraft& draft = drafts_.messages[draft_index];
    const std::string_view name = message_names_[draft_index];
    const auto ranges = check_ranges(draft.reserved, draft.at, name);
    const auto first = static_cast<std::uint32_t>(out_.fields_.size());
    const auto first_oneof = static_cast<std::uint32_t>(out_.oneofs_.size());
    std::vector<std::uint32_t> order = count_up(draft.fields.size());
    sort(order, [&](std::uint32_t a, std::uint32_t b) {
      const std::uint32_t one = draft.fields[a].number;
      const std::uint32_t other = draft.fields[b].number;
      return one != other ? one < other : a < b;
    });
    std::vector<std::vector<std::uint32_t>> members(draft.oneofs.size());
    for (std::size_t index = 0; index < order.size(); ++index) {
      const FieldDraft& field = draft.fields[order[index]];
      const Subject subject{name, field.name};
      const FieldDraft* before = index > 0 ? &draft.fields[order[index - 1]] : nullptr;
      if (before && before->number == field.number)
        wrong(field.at, subject, fmt::format("the number {} is that of \"{}\" already", field.number, before->name));
      check_number(field, subject);
      if (contains(ranges, field.number))
        wrong(field.at, subject, fmt::format("the number {} is reserved", field.number));

      const auto place = static_cast<std::uint32_t>(out_.fields_.size());
      Field made = make_field(draft_index, field, subject);
      if (field.oneof != kNone) {
        if (field.oneof >= members.size()) wrong(field.at, subject, "of a oneof that is not there");
        made.oneof = first_oneof + field.oneof;
        members[field.oneof].push_back(place);
      }
      out_.fields_.push_back(made);
      out_.fields_by_name_.push_back(place);
    }
    const auto by_name = std::span(out_.fields_by_name_).subspan(first);
    const auto name_of_field = [this](std::uint32_t index) { return out_.fields_[index].name; };
    sort(by_name, [&](std::uint32_t a, std::uint32_t b) { return name_of_field(a) < name_of_field(b); });
    for (const std::string_view reserved : draft.reserved_names) {
      const auto found = std::ranges::lower_bound(by_name, reserved, {}, name_of_field);
      if (found == by_name.end() || name_of_field(*found) != reserved) continue;
      wrong(draft.fields[order[*found - first]].at, {name, reserved},
            fmt::format("the name \"{}\" is reserved", reserved));
    }
    for (std::size_t index = 0; index < members.size(); ++index) {
      out_.oneofs_.push_back({draft.oneofs[index].first, static_cast<std::uint32_t>(out_.members_.size()),
                              static_cast<std::uint32_t>(members[index].size())});
      out_.members_.insert(out_.members_.end(), members[index].begin(), members[index].end());
    }
    out_.messages_.push_back({name, first, static_cast<std::uint32_t>(order.size()), draft.is_map_entry, false});
  }

  static void check_number(const FieldDraft& field, Subject subject) {
    if (field.number == 0 || field.number > kHighestNumber)
      wrong(field.at, subject, fmt::format("the number {}; expected 1 to {}", field.number, kHighestNumber));
    if (field.number >= kFirstOfProtobuf && field.number <= kLastOfProtobuf)
      wrong(field.at, subject, fmt::format("the number {}: 19000 to 19999 are protobuf's own", field.number));
  }

  Field make_field(std::uint32_t message, const FieldDraft& draft, Subject subject) {
    const bool is_proto3 = drafts_.files[draft.at.file].is_proto3;
    Field field{.name = draft.name, .number = draft.number, .type = draft.type};
    if (draft.type == FieldType::group) wrong(draft.at, subject, "a group: expected a nested message");
    if (!draft.type_name.empty()) resolve(message, draft, subject, field);
    if (field.type == FieldType::unknown || (draft.type != FieldType::unknown && draft.type != field.type) ||
        ((field.type == FieldType::message || field.type == FieldType::enumeration) && field.target == kNone))
      wrong(draft.type_at, subject, "without a type that fits");

    if (draft.label == Label::required && is_proto3)
      wrong(draft.at, subject, "\"required\" is proto2's: expected none, \"optional\" or \"repeated\"");
    if (draft.oneof != kNone && (draft.label == Label::required || draft.label == Label::repeated))
      wrong(draft.at, subject, "a field of a oneof is neither required nor repeated");
    if (draft.label == Label::repeated)
      field.presence = Presence::repeated;  // find_maps tells maps from them
    else if (draft.label == Label::required)
      field.presence = Presence::required;
    else if (!is_proto3 || draft.proto3_optional || draft.oneof != kNone || field.type == FieldType::message)
      field.presence = Presence::optional;

    const bool packable = field.presence == Presence::repeated && is_packable(field.type);
    if (draft.packed.has_value() && !packable)
      wrong(draft.at, subject, "\"packed\" is of repeated numbers, bools and enums");
    field.packed = packable && draft.packed.value_or(is_proto3);
    field.utf8 = is_proto3 && field.type == FieldType::string;
    if (field.type == FieldType::enumeration) {
      const EnumDraft& of = drafts_.enums[field.target];
      if (is_proto3 && !drafts_.files[of.at.file].is_proto3)
        wrong(draft.type_at, subject, fmt::format("\"{}\" is an enum of proto2, and this is proto3", draft.type_name));
      if (!of.values.empty())
        field.default_number = static_cast<std::uint64_t>(static_cast<std::int64_t>(of.values[0].number));
    }
    if (draft.has_default) read_default(draft, subject, is_proto3, field);
    return field;
  }

  void resolve(std::uint32_t message, const FieldDraft& draft, Subject subject, Field& field) const {
    std::string why;
    const std::uint32_t id = symbols_.resolve(message_nodes_[message], draft.type_name, why);
    if (id == kNone) wrong(draft.type_at, subject, why);
    const Symbols::Node& node = symbols_.node(id);
    field.type = node.kind == Kind::message ? FieldType::message : FieldType::enumeration;
    field.target = node.kind == Kind::message ? place_of_[node.index] : node.index;
  }

  void read_default(const FieldDraft& draft, Subject subject, bool is_proto3, Field& field) const {
    if (is_proto3) wrong(draft.at, subject, "a default is proto2's: in proto3 it is zero or empty");
    if (field.presence == Presence::repeated || field.type == FieldType::message)
      wrong(draft.at, subject, "a list or a message has no default");
    field.declares_default = true;
    if (field.type == FieldType::enumeration) {
      for (const ValueDraft& value : drafts_.enums[field.target].values) {
        if (value.name != draft.default_text || draft.default_literal == Literal::text) continue;
        field.default_number = static_cast<std::uint64_t>(static_cast<std::int64_t>(value.number));
        return;
      }
      wrong(draft.at, subject,
            fmt::format("the default \"{}\" is no value of {}", draft.default_text, enum_names_[field.target]));
    }
    if (const std::string expected = read_scalar_default(draft, field); !expected.empty())
      wrong(draft.at, subject, fmt::format("the default \"{}\"; expected {}", draft.default_text, expected));
  }

  void check_map_entry(std::uint32_t draft_index) const {
    const MessageDraft& draft = drafts_.messages[draft_index];
    const Message& message = out_.messages_[place_of_[draft_index]];
    const Field* fields = out_.fields_.data() + message.first_field;
    const bool shaped = message.field_count == 2 && fields[0].number == 1 && fields[1].number == 2 &&
                        fields[0].oneof == kNone && fields[1].oneof == kNone &&
                        fields[0].presence <= Presence::optional && fields[1].presence <= Presence::optional;
    if (!shaped) wrong(draft.at, {message.name}, "an entry of a map that is not a key and a value");
    switch (fields[0].type) {
      case FieldType::float64:
      case FieldType::float32:
      case FieldType::bytes:
      case FieldType::message:
      case FieldType::enumeration:
        wrong(draft.at, {message.name}, "the key of a map is an integer, a bool or a string");
      default: break;
    }
    if (fields[1].type == FieldType::message && out_.messages_[fields[1].target].is_map_entry)
      wrong(draft.at, {message.name}, "the value of a map is no map");
  }

  void find_maps() {
    for (Field& field : out_.fields_) {
      if (field.presence == Presence::repeated && field.type == FieldType::message &&
          out_.messages_[field.target].is_map_entry)
        field.presence = Presence::map;
    }
  }

  // A message that may hold one that requires fields has to be looked through as well.
  void find_requiring() {
    std::vector<std::uint32_t> owners(out_.fields_.size());  // the message of each field
    std::vector<std::uint32_t> holding;                      // fields that hold messages, by which
    std::vector<std::uint32_t> todo;
    for (std::uint32_t index = 0; index < out_.messages_.size(); ++index) {
      Message& message = out_.messages_[index];
      for (std::uint32_t at = message.first_field; at < message.first_field + message.field_count; ++at) {
        owners[at] = index;
        if (out_.fields_[at].presence == Presence::required) message.requires_fields = true;
        if (out_.fields_[at].type == FieldType::message) holding.push_back(at);
      }
      if (message.requires_fields) todo.push_back(index);
    }
    const auto held_by = [this](std::uint32_t field) { return out_.fields_[field].target; };
    sort(holding, [&](std::uint32_t a, std::uint32_t b) { return held_by(a) < held_by(b); });
    while (!todo.empty()) {
      const std::uint32_t held = todo.back();
      todo.pop_back();
      for (auto at = std::ranges::lower_bound(holding, held, {}, held_by); at != holding.end() && held_by(*at) == held;
           ++at) {
        if (std::exchange(out_.messages_[owners[*at]].requires_fields, true)) continue;
        todo.push_back(owners[*at]);
      }
    }
  }

  Blueprint& out_;
  const Drafts& drafts_;
  Symbols symbols_;
  std::vector<std::uint32_t> packages_;       // of each file, its node
  std::vector<std::uint32_t> message_nodes_;  // of each draft
  std::vector<std::string_view> message_names_;
  std::vector<std::string_view> enum_names_;
  std::vector<std::uint32_t> order_;     // drafts of messages by full name
  std::vector<std::uint32_t> place_of_;  // the reverse
};

Blueprint::Blueprint(Drafts drafts) : drafts_(std::move(drafts)) { BlueprintMaker(*this).make(); }

std::expected<Blueprint, std::string> blueprint_of(const std::function<void(Drafts&)>& read) {
  Drafts drafts;
  std::vector<FileDraft> files;  // their names are asked for after the drafts have gone
  try {
    read(drafts);
    files = drafts.files;
    return Blueprint(std::move(drafts));
  } catch (const SchemaProblem& problem) {
    if (drafts.files.empty()) drafts.files = std::move(files);
    return std::unexpected(drafts.describe(problem));
  }
}

// ---- The block -------------------------------------------------------------------------------------------------

namespace {

// Lays arrays one behind the other.
class Layout {
 public:
  template <typename T>
  std::size_t add(std::size_t count) noexcept {
    used_ = (used_ + alignof(T) - 1) / alignof(T) * alignof(T);
    const std::size_t at = used_;
    used_ += count * sizeof(T);
    return at;
  }
  template <typename T>
  std::size_t add(const std::vector<T>& items) noexcept {
    return add<T>(items.size());
  }
  std::size_t used() const noexcept { return used_; }

 private:
  std::size_t used_ = 0;
};

template <typename T>
std::span<T> copy(const std::vector<T>& items, Layout& layout, char* block) noexcept {
  static_assert(std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T>);
  void* place = block + layout.add(items);  // aligned for T
  T* to = static_cast<T*>(place);
  std::uninitialized_copy(items.begin(), items.end(), to);
  return {to, items.size()};
}

void move_text(std::string_view& text, char*& to) noexcept {
  if (!text.empty()) std::memcpy(to, text.data(), text.size());
  text = {to, text.size()};
  to += text.size();
}

}  // namespace

std::size_t Blueprint::bytes() const noexcept {
  Layout layout;
  layout.add<Schema>(1);
  layout.add(messages_);
  layout.add(fields_);
  layout.add(enums_);
  layout.add(values_);
  layout.add(oneofs_);
  layout.add(members_);
  layout.add(fields_by_name_);
  layout.add(values_by_name_);
  std::size_t text = 0;
  for (const Message& one : messages_) text += one.name.size();
  for (const Field& one : fields_) text += one.name.size() + one.default_text.size();
  for (const Enum& one : enums_) text += one.name.size();
  for (const EnumValue& one : values_) text += one.name.size();
  for (const Oneof& one : oneofs_) text += one.name.size();
  layout.add<char>(text);
  return layout.used();
}

const Schema* Blueprint::place(void* block) const noexcept {
  static_assert(std::is_trivially_destructible_v<Schema>);
  char* bytes = static_cast<char*>(block);
  Layout layout;
  Schema* schema = new (bytes + layout.add<Schema>(1)) Schema;
  const auto messages = copy(messages_, layout, bytes);
  const auto fields = copy(fields_, layout, bytes);
  const auto enums = copy(enums_, layout, bytes);
  const auto values = copy(values_, layout, bytes);
  const auto oneofs = copy(oneofs_, layout, bytes);
  schema->members_ = copy(members_, layout, bytes);
  schema->fields_by_name_ = copy(fields_by_name_, layout, bytes);
  schema->values_by_name_ = copy(values_by_name_, layout, bytes);
  char* text = bytes + layout.used();
  for (Message& one : messages) move_text(one.name, text);
  for (Field& one : fields) {
    move_text(one.name, text);
    move_text(one.default_text, text);
  }
  for (Enum& one : enums) move_text(one.name, text);
  for (EnumValue& one : values) move_text(one.name, text);
  for (Oneof& one : oneofs) move_text(one.name, text);
  schema->messages_ = messages;
  schema->fields_ = fields;
  schema->enums_ = enums;
  schema->values_ = values;
  schema->oneofs_ = oneofs;
  return schema;
}

}  // namespace portolan::protobuf
