// Descriptors: whatever the bytes, there is a schema that holds together, or an error.
#include "fuzz_target.h"
#include "protobuf_schema_check.h"

using namespace portolan;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const testing::HeldSchema held = testing::schema_of_descriptors(fuzz::Input(data, size).rest());
  if (held.schema)
    fuzz::check_schema(*held.schema);
  else
    fuzz::check(!held.error.empty(), "an error is said");
  return 0;
}
