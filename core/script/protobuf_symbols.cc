#include "script/protobuf_symbols.h"

#include "script/protobuf_schema.h"

#include <fmt/format.h>

namespace portolan::protobuf {

std::string_view take_part(std::string_view& dotted) noexcept {
  const std::size_t dot = dotted.find('.');
  const std::string_view part = dotted.substr(0, dot);
  dotted = dot == std::string_view::npos ? std::string_view() : dotted.substr(dot + 1);
  return part;
}

std::size_t Symbols::Hash::operator()(const Key& key) const noexcept {
  return std::hash<std::string_view>()(key.name) ^ (std::size_t{key.scope} * 0x9E3779B1U);
}

Symbols::Symbols() { nodes_.push_back({}); }

std::uint32_t Symbols::add(std::uint32_t scope, std::string_view name, Kind kind, std::uint32_t index) {
  const auto id = static_cast<std::uint32_t>(nodes_.size());
  if (!by_name_.try_emplace({scope, name}, id).second) return kNone;
  nodes_.push_back({scope, index, kind, name});
  return id;
}

std::uint32_t Symbols::add_package(std::string_view dotted) {
  std::uint32_t scope = kRoot;
  while (!dotted.empty()) {
    const std::string_view part = take_part(dotted);
    std::uint32_t next = find(scope, part);
    if (next == kNone) next = add(scope, part, Kind::package, 0);
    if (nodes_[next].kind != Kind::package) return kNone;
    scope = next;
  }
  return scope;
}

std::uint32_t Symbols::find(std::uint32_t scope, std::string_view name) const {
  const auto found = by_name_.find({scope, name});
  return found == by_name_.end() ? kNone : found->second;
}

std::uint32_t Symbols::descend(std::uint32_t scope, std::string_view dotted) const {
  while (!dotted.empty() && scope != kNone) scope = find(scope, take_part(dotted));
  return scope;
}

bool Symbols::is_type(std::uint32_t id) const noexcept {
  return id != kNone && (nodes_[id].kind == Kind::message || nodes_[id].kind == Kind::enumeration);
}

std::uint32_t Symbols::resolve(std::uint32_t scope, std::string_view name, std::string& why) const {
  if (name.starts_with('.')) {
    const std::uint32_t found = descend(kRoot, name.substr(1));
    if (is_type(found)) return found;
    why = fmt::format("\"{}\" is not defined", name);
    return kNone;
  }
  std::string_view rest = name;
  const std::string_view first = take_part(rest);
  for (;; scope = nodes_[scope].parent) {
    const std::uint32_t found = find(scope, first);
    // A field or a value of that name hides nothing.
    if (rest.empty() ? is_type(found) : is_type(found) || (found != kNone && nodes_[found].kind == Kind::package)) {
      const std::uint32_t type = descend(found, rest);
      if (is_type(type)) return type;
      why = fmt::format("\"{}\" is not defined: \"{}\" is {} here, which has no {} (a dot in front begins outermost)",
                        name, first, full_name(found), rest);
      return kNone;
    }
    if (scope == kRoot) break;
  }
  why = fmt::format("\"{}\" is not defined", name);
  return kNone;
}

std::string Symbols::full_name(std::uint32_t id) const {
  std::string name;
  for (; id != kRoot; id = nodes_[id].parent)
    name.insert(0, fmt::format("{}{}", nodes_[id].name, name.empty() ? "" : "."));
  return name;
}

}  // namespace portolan::protobuf
