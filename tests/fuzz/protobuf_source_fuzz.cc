// The parser of .proto files: whatever the text, there is a schema that holds together, or an error with a place. Input: a
// file, then after a byte 0 one that it may import as "a".
#include "fuzz_target.h"
#include "protobuf_schema_check.h"

#include <cctype>
#include <string>

using namespace portolan;
using fuzz::check;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input = fuzz::Input(data, size).rest();
  const std::size_t cut = std::min(input.find('\0'), input.size());
  const std::string_view imported = input.substr(std::min(cut + 1, input.size()));
  const testing::HeldSchema held = testing::schema_of(input.substr(0, cut), {{.name = "a", .text = imported}});
  if (held.schema) {
    fuzz::check_schema(*held.schema);
  } else {
    const std::string_view place = held.error.starts_with("a:") ? std::string_view(held.error).substr(2) : held.error;
    check(!place.empty() && std::isdigit(static_cast<unsigned char>(place[0])) && place.find(": ") != place.npos,
          "an error has its place");
  }
  return 0;
}
