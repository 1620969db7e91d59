// Reads .proto files: proto2 and proto3, with messages, enums, oneofs, maps and imports. Options other than `packed`,
// `default` and `allow_alias`, and services, are read over. Refused: groups, extensions (but those of the options of
// .proto files, which say nothing about messages), editions, files of more than a megabyte together.
//
// Does no I/O: files are given. Used by one thread.
#pragma once

#include "script/protobuf_blueprint.h"

#include <cstddef>
#include <expected>
#include <span>
#include <string>
#include <string_view>

namespace portolan::protobuf {

inline constexpr std::size_t kMostSource = std::size_t{1} << 20U;

struct SourceFile {
  std::string_view name;  // as imports name it; that of the first is shown in messages, if it has one
  std::string_view text;
};

// The first of the files, and what it imports of the others. They outlive the blueprint. The error is
// "line:column: what, and what was expected", with the name of the file in front if it has one.
std::expected<Blueprint, std::string> read_sources(std::span<const SourceFile> files);

}  // namespace portolan::protobuf
