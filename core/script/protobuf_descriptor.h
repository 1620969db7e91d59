// Reads a google.protobuf.FileDescriptorSet, as `protoc --include_imports --descriptor_set_out=FILE` writes it: the same
// schema as of the .proto files themselves. Refused besides what read_sources refuses: a set that is not whole.
//
// Does no I/O. Used by one thread.
#pragma once

#include "script/protobuf_blueprint.h"

#include <expected>
#include <string>
#include <string_view>

namespace portolan::protobuf {

// The bytes outlive the blueprint.
std::expected<Blueprint, std::string> read_descriptors(std::string_view bytes);

}  // namespace portolan::protobuf
