// A schema before it has a place: what was read, with names resolved and every rule of the language checked that
// concerns more than a line. Refused: names that are taken or unknown, field numbers that are out of range, taken, or
// reserved, what proto2 or proto3 do not have, defaults that do not fit.
//
// Used by one thread, while what it was read from is there.
#pragma once

#include "script/protobuf_draft.h"
#include "script/protobuf_schema.h"

#include <cstddef>
#include <deque>
#include <expected>
#include <functional>
#include <string>
#include <vector>

namespace portolan::protobuf {

class Blueprint {
 public:
  // Throws a SchemaProblem.
  explicit Blueprint(Drafts drafts);

  // Of the block that place needs.
  std::size_t bytes() const noexcept;
  // Into a block of so many bytes, aligned for pointers and 64-bit numbers. There is nothing to destroy in it.
  const Schema* place(void* block) const noexcept;

 private:
  friend class BlueprintMaker;

  Drafts drafts_;
  std::deque<std::string> full_names_;
  std::vector<Message> messages_;
  std::vector<Field> fields_;
  std::vector<Enum> enums_;
  std::vector<EnumValue> values_;
  std::vector<Oneof> oneofs_;
  std::vector<std::uint32_t> members_;
  std::vector<std::uint32_t> fields_by_name_;
  std::vector<std::uint32_t> values_by_name_;
};

// Has `read` fill in the drafts, and makes a blueprint of them. The error says which file and which place in it.
std::expected<Blueprint, std::string> blueprint_of(const std::function<void(Drafts&)>& read);

}  // namespace portolan::protobuf
