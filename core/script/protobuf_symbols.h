// The names that .proto files declare, as a tree of scopes, and how one names another: as C++ does, from the innermost
// scope outwards. Used while a schema is read, by one thread; names are views of texts that outlive it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace portolan::protobuf {

class Symbols {
 public:
  enum class Kind : std::uint8_t { package, message, enumeration, value, field, oneof };
  struct Node {
    std::uint32_t parent = 0;
    std::uint32_t index = 0;  // of the drafts of its kind
    Kind kind = Kind::package;
    std::string_view name;
  };
  static constexpr std::uint32_t kRoot = 0;

  Symbols();
  // The node; kNone: the scope has one of that name.
  std::uint32_t add(std::uint32_t scope, std::string_view name, Kind kind, std::uint32_t index);
  // The innermost of a dotted name, "" for none; kNone: one of its parts is something else.
  std::uint32_t add_package(std::string_view dotted);

  // The message or enum that `name` means in this scope; kNone: none, and `why` says so.
  std::uint32_t resolve(std::uint32_t scope, std::string_view name, std::string& why) const;

  const Node& node(std::uint32_t id) const noexcept { return nodes_[id]; }
  std::string full_name(std::uint32_t id) const;

 private:
  struct Key {
    std::uint32_t scope;
    std::string_view name;
    bool operator==(const Key&) const = default;
  };
  struct Hash {
    std::size_t operator()(const Key& key) const noexcept;
  };

  std::uint32_t find(std::uint32_t scope, std::string_view name) const;
  // What lies below a scope by a dotted name.
  std::uint32_t descend(std::uint32_t scope, std::string_view dotted) const;
  bool is_type(std::uint32_t id) const noexcept;

  std::vector<Node> nodes_;
  std::unordered_map<Key, std::uint32_t, Hash> by_name_;
};

// Takes the part in front of the first dot; the rest stays.
std::string_view take_part(std::string_view& dotted) noexcept;

}  // namespace portolan::protobuf
