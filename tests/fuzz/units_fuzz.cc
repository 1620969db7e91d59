// Durations, sizes and rates as people write them. Input: the text.
#include "fuzz_target.h"
#include "base/units.h"

using namespace portolan;
using fuzz::check;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto duration = parse_duration(text)) {
    check(*duration >= Duration::zero(), "a duration has no sign");
    const auto again = parse_duration(format_duration(*duration));
    check(again.has_value() && *again == *duration, "a duration is read as it was written");
  }
  if (const auto bytes = parse_size(text)) {
    check(*bytes >= 0 && *bytes <= std::int64_t{1} << 53U, "a size is within 0..2^53");
    check(parse_size(format_size(*bytes)).has_value(), "a size that was written is read");
  }
  if (const auto rate = parse_rate(text)) check(*rate >= 0 && *rate < 1e300, "a rate is a number from zero on");
  return 0;
}
