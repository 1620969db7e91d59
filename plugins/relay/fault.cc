#include "plugins/relay/fault.h"

#include "base/units.h"
#include "config/schema.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <variant>

namespace portolan::relay {
namespace {

// The table of kinds: parsing, checking, listing and help are made of it.
struct Kind {
  FaultKind kind;
  std::string_view name;
  Carrier carrier;
  bool each_time;               // how its probability is drawn
  std::string_view parameters;  // beside those that every kind has
  std::string_view needs;       // one of these is above zero
  std::string_view help;
  std::string_view unfit;  // why not over the other carrier
};

constexpr std::string_view kNoEnd = "datagrams have no end and no reset";
constexpr Kind kKinds[] = {
    {FaultKind::latency,
     "latency",
     Carrier::both,
     false,
     "latency|jitter|distribution",
     "latency",
     "bytes come later; their order stays",
     {}},
    {FaultKind::bandwidth,
     "bandwidth",
     Carrier::both,
     false,
     "rate|burst",
     "rate",
     "so many bytes per second, and the sender feels it",
     {}},
    {FaultKind::loss, "loss", Carrier::datagrams, true, "", "", "a datagram is lost",
     "a lost piece of a stream would be sent again: what shows is latency and bandwidth"},
    {FaultKind::duplicate, "duplicate", Carrier::datagrams, true, "copies", "", "a datagram comes more than once",
     "TCP drops what comes twice"},
    {FaultKind::reorder, "reorder", Carrier::datagrams, true, "gap|delay", "gap|delay",
     "a datagram is held back while later ones go past it", "TCP puts pieces in order again: what shows is latency"},
    {FaultKind::corrupt, "corrupt", Carrier::both, true, "block", "", "a byte is changed", {}},
    {FaultKind::slicer, "slicer", Carrier::streams, false, "size|variation|delay", "size",
     "bytes are written in small pieces", "a datagram that is cut is another datagram"},
    {FaultKind::slow_close, "slow_close", Carrier::streams, false, "delay", "delay",
     "the end of a stream is passed on later", kNoEnd},
    {FaultKind::reset, "reset", Carrier::streams, false, "after_bytes|after_time", "", "the connection is reset",
     kNoEnd},
    {FaultKind::close_after, "close_after", Carrier::streams, false, "after_bytes|after_time", "",
     "the stream ends early, as if the peer had ended it", kNoEnd},
    {FaultKind::black_hole,
     "black_hole",
     Carrier::both,
     false,
     "after_bytes|after_time",
     "",
     "bytes vanish and nothing is answered; a connection stays open",
     {}},
};
static_assert(std::ranges::all_of(kKinds,
                                  [](const Kind& kind) { return &kind == kKinds + static_cast<int>(kind.kind); }),
              "in the order of FaultKind");

const Kind& entry(FaultKind kind) noexcept { return kKinds[static_cast<std::size_t>(kind)]; }

// Names of the values of the enumerations, in the order in which the schema's choices have them.
template <typename Enum>
struct Named {
  std::string_view name;
  Enum value;
};
constexpr Named<FaultDirection> kDirections[] = {{"to_backend", FaultDirection::to_backend},
                                                 {"to_client", FaultDirection::to_client},
                                                 {"both", FaultDirection::both}};
constexpr Named<Distribution> kDistributions[] = {{"uniform", Distribution::uniform}, {"normal", Distribution::normal}};

// Where the value of a key is kept. `kind` is first in the schema, and read before.
struct Field {
  std::string_view key;
  std::variant<std::string Fault::*, Duration Fault::*, std::int64_t Fault::*, double Fault::*, FaultDirection Fault::*,
               Distribution Fault::*>
      member;
  bool every_kind = false;
};
constexpr Field kFields[] = {
    {"name", &Fault::name, true},
    {"direction", &Fault::direction, true},
    {"probability", &Fault::probability, true},
    {"seed", &Fault::seed, true},
    {"latency", &Fault::latency},
    {"jitter", &Fault::jitter},
    {"distribution", &Fault::distribution},
    {"rate", &Fault::rate},
    {"burst", &Fault::burst},
    {"copies", &Fault::copies},
    {"gap", &Fault::gap},
    {"block", &Fault::block},
    {"size", &Fault::size},
    {"variation", &Fault::variation},
    {"delay", &Fault::delay},
    {"after_bytes", &Fault::after_bytes},
    {"after_time", &Fault::after_time},
};
static_assert(std::ranges::equal(kFields, std::span(kFaultFields).subspan(1), {}, &Field::key, &Option::key),
              "the schema and where its values are kept");

const Option& option_of(const Field& field) noexcept { return kFaultFields[1 + (&field - kFields)]; }

bool is_among(std::string_view keys, std::string_view key) {
  const auto list = split_list(keys, '|');
  return std::ranges::find(list, key) != list.end();
}
bool has_parameter(const Kind& kind, std::string_view key) { return is_among(kind.parameters, key); }

struct Reader {
  const Options& options;
  const Option& option;
  Fault& fault;

  void operator()(std::string Fault::* member) const { fault.*member = options.text(option.key); }
  void operator()(Duration Fault::* member) const { fault.*member = options.duration(option.key); }
  void operator()(double Fault::* member) const { fault.*member = options.number(option.key); }
  void operator()(std::int64_t Fault::* member) const {
    // A part of a byte per second is nothing that a link has.
    fault.*member = option.type == OptionType::rate ? static_cast<std::int64_t>(std::ceil(options.number(option.key)))
                                                    : options.integer(option.key);
  }
  void operator()(FaultDirection Fault::* member) const { fault.*member = named(kDirections); }
  void operator()(Distribution Fault::* member) const { fault.*member = named(kDistributions); }

  template <typename Enum, std::size_t N>
  Enum named(const Named<Enum> (&names)[N]) const {
    const auto* found = std::ranges::find(names, options.text(option.key), &Named<Enum>::name);
    return found == std::end(names) ? Enum{} : found->value;
  }
};

// A value as a user would write it, exactly; empty when it says nothing (0, or not given).
struct Writer {
  const Fault& fault;
  const Option& option;

  std::string operator()(std::string Fault::* member) const { return fault.*member; }
  std::string operator()(Duration Fault::* member) const {
    return fault.*member == Duration::zero() ? "" : format_duration(fault.*member);
  }
  std::string operator()(double Fault::* member) const { return fmt::format("{}", fault.*member); }
  std::string operator()(std::int64_t Fault::* member) const {
    const std::int64_t value = fault.*member;
    if (value == 0) return {};
    const bool rate = option.type == OptionType::rate;
    if (!rate && option.type != OptionType::size) return fmt::format("{}", value);
    const std::string size = format_size(value);
    return (parse_size(size) == value ? size : fmt::format("{}", value)) + (rate ? "/s" : "");
  }
  std::string operator()(FaultDirection Fault::* member) const { return named(kDirections, fault.*member); }
  std::string operator()(Distribution Fault::* member) const { return named(kDistributions, fault.*member); }

  template <typename Enum, std::size_t N>
  static std::string named(const Named<Enum> (&names)[N], Enum value) {
    return std::string(std::ranges::find(names, value, &Named<Enum>::value)->name);
  }
};

// Calls `each(option, text)` for everything that is known of a fault beside its kind.
template <typename Each>
void for_each_value(const Fault& fault, Each each) {
  for (const Field& field : kFields) {
    if (!field.every_kind && !has_parameter(entry(fault.kind), field.key)) continue;
    const std::string text = std::visit(Writer{fault, option_of(field)}, field.member);
    if (!text.empty()) each(option_of(field), text);
  }
}

bool is_name(std::string_view text) {
  return std::ranges::all_of(text, [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '-' ||
           c == '.';
  });
}

// "gap or delay", "latency, jitter, distribution"
std::string joined(std::string_view keys, std::string_view by) {
  return fmt::format("{}", fmt::join(split_list(keys, '|'), by));
}

// What the values of one fault have to do with each other: the key to blame and why, or nothing.
struct Contradiction {
  std::string_view key;
  std::string message;
};
std::optional<Contradiction> contradiction_in(const Fault& fault) {
  const Kind& kind = entry(fault.kind);
  if (!is_name(fault.name)) return Contradiction{"name", "expected 1 to 64 of A-Z, a-z, 0-9, \"_\", \"-\" and \".\""};
  if (!kind.needs.empty()) {
    bool given = false;
    for_each_value(
        fault, [&](const Option& option, const std::string&) { given = given || is_among(kind.needs, option.key); });
    if (!given)
      return Contradiction{split_list(kind.needs, '|').front(),
                           fmt::format("is missing: {} needs {} above zero", kind.name, joined(kind.needs, " or "))};
  }
  if (fault.jitter > fault.latency) {
    return Contradiction{"jitter",
                         fmt::format("{} is more than the latency of {}: bytes would come before they were sent",
                                     format_duration(fault.jitter), format_duration(fault.latency))};
  }
  if (fault.size > 0 && fault.variation >= fault.size) {
    return Contradiction{"variation", fmt::format("{} leaves nothing of a slice of {}: expected less than the size",
                                                  format_size(fault.variation), format_size(fault.size))};
  }
  return std::nullopt;
}

// A word of a line as the Lua file would have it: numbers are no text there.
Value value_of(std::string_view key, std::string_view text) {
  Value value;
  value.kind = Value::Kind::text;
  value.text = text;
  const auto* option = std::ranges::find(kFaultFields, key, &Option::key);
  if (option == std::end(kFaultFields)) return value;
  const char* const end = text.data() + text.size();
  const auto whole = [end](std::from_chars_result result) { return result.ec == std::errc() && result.ptr == end; };
  if (option->type == OptionType::integer && whole(std::from_chars(text.data(), end, value.integer))) {
    value.kind = Value::Kind::integer;
    value.number = static_cast<double>(value.integer);
  }
  if (option->type == OptionType::number && whole(std::from_chars(text.data(), end, value.number))) {
    value.kind = Value::Kind::number;
  }
  return value;
}

class CollectedProblems final : public Problems {
 public:
  void add(std::string_view key, std::string_view message) noexcept override {
    list.push_back({std::string(key), std::string(message)});
  }
  std::vector<Problem> list;
};

}  // namespace

std::optional<Fault> read_fault(const Options& options, const std::string& path, Problems& problems) {
  const auto* kind = std::ranges::find(kKinds, options.text("kind"), &Kind::name);
  if (kind == std::end(kKinds)) return std::nullopt;  // the schema has said so
  Fault fault{.name = std::string(kind->name), .kind = kind->kind};
  bool right = true;
  for (const Field& field : kFields) {
    if (field.every_kind || has_parameter(*kind, field.key)) {
      if (field.key != "name" || options.has("name"))
        std::visit(Reader{options, option_of(field), fault}, field.member);
    } else if (options.has(field.key)) {
      const std::string own = kind->parameters.empty() ? "" : ": it takes " + joined(kind->parameters, ", ");
      problems.add(join_path(path, field.key), fmt::format("is nothing that {} has{}", kind->name, own));
      right = false;
    }
  }
  if (const auto wrong = contradiction_in(fault)) {
    problems.add(join_path(path, wrong->key), wrong->message);
    right = false;
  }
  return right ? std::optional(std::move(fault)) : std::nullopt;
}

std::expected<Fault, std::string> parse_fault(std::string_view text) {
  constexpr std::size_t kLongest = 1024;
  if (text.size() > kLongest) return std::unexpected("a fault is at most 1024 bytes of text");
  if (!std::ranges::all_of(text, [](char c) { return c >= ' ' && c <= '~'; })) {
    return std::unexpected("a fault is written in printable ASCII");
  }
  CollectedProblems problems;
  Value table;
  table.kind = Value::Kind::table;
  for (const std::string_view word : split_list(text, ' ')) {
    if (word.empty()) continue;
    const std::size_t equals = word.find('=');
    const bool is_kind = equals == std::string_view::npos && table.fields.empty();
    const std::string_view key = is_kind ? "kind" : word.substr(0, equals);
    if (!is_kind && equals == std::string_view::npos) {
      problems.add("", fmt::format("expected KEY=VALUE, found {}", quote(word)));
    } else if (table.find(key) != nullptr) {
      problems.add(key, "is given twice");
    } else {
      const std::string_view value = is_kind ? word : word.substr(equals + 1);
      const auto after = std::ranges::upper_bound(table.fields, key, {}, &Value::Field::key);  // they are sorted
      table.fields.insert(after, {std::string(key), value_of(key, value)});
    }
  }
  std::vector<std::string_view> known;
  for (const Option& option : kFaultFields) known.push_back(option.key);
  Checker checker{problems.list, {}};
  report_unknown_keys(table, known, {}, checker);
  const OptionTree options = OptionTree::read(table, kFaultFields, {}, checker);
  // What the schema has refused holds a default, of which there is nothing to say.
  std::optional<Fault> fault;
  if (problems.list.empty()) fault = read_fault(options, {}, problems);
  if (fault) return *std::move(fault);
  std::string error;
  for (const Problem& problem : problems.list) {
    error += fmt::format("{}{}{}{}", error.empty() ? "" : "\n", problem.path, problem.path.empty() ? "" : ": ",
                         problem.message);
  }
  return std::unexpected(std::move(error));
}

std::string to_text(const Fault& fault) {
  std::string text(kind_name(fault.kind));
  for_each_value(
      fault, [&](const Option& option, const std::string& value) { text += fmt::format(" {}={}", option.key, value); });
  return text;
}

std::string to_json(const Fault& fault) {
  // No value needs an escape: names are checked, the rest is made here.
  std::string text = fmt::format(R"({{"kind":"{}")", kind_name(fault.kind));
  for_each_value(fault, [&](const Option& option, const std::string& value) {
    const bool number = option.type == OptionType::number || option.type == OptionType::integer;
    const std::string_view mark = number ? "" : "\"";
    text += fmt::format(R"(,"{}":{}{}{})", option.key, mark, value, mark);
  });
  return text + "}";
}

std::string_view kind_name(FaultKind kind) noexcept { return entry(kind).name; }
bool drawn_each_time(FaultKind kind) noexcept { return entry(kind).each_time; }
bool fits(FaultKind kind, Carrier carrier) noexcept { return overlap(entry(kind).carrier, carrier); }

std::string unfit(const Fault& fault, Carrier carrier) {
  const Kind& kind = entry(fault.kind);
  if (fits(fault.kind, carrier)) return {};
  return fmt::format("{} makes no sense for {}: {}", kind.name, carrier == Carrier::streams ? "streams" : "datagrams",
                     kind.unfit);
}

std::string fault_help() {
  std::string text;
  for (const Kind& kind : kKinds) {
    const std::string_view over = kind.carrier == Carrier::both      ? ""
                                  : kind.carrier == Carrier::streams ? " (streams only)"
                                                                     : " (datagrams only)";
    text += fmt::format("{}: {}{}\n", kind.name, kind.help, over);
    for (const Field& field : kFields) {
      if (!has_parameter(kind, field.key)) continue;
      text += fmt::format("    {:<13}{:<9} {}\n", field.key, type_text(option_of(field)), option_of(field).help);
    }
  }
  return text;
}

}  // namespace portolan::relay
