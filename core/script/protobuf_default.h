// The defaults that fields of proto2 declare, and the integers of .proto files. Pure.
#pragma once

#include "script/protobuf_draft.h"
#include "script/protobuf_schema.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace portolan::protobuf {

// 12, 0x1F, 017; no sign. Nothing: it is none, or has more than 64 bits.
std::optional<std::uint64_t> read_integer(std::string_view text) noexcept;

// Fills in the default of a field that is neither a message nor an enum. What was expected, where it does not fit.
std::string read_scalar_default(const FieldDraft& draft, Field& field);

}  // namespace portolan::protobuf
