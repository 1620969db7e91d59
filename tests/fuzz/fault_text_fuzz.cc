// Faults as the command line writes them. Input: the line.
#include "fuzz_target.h"
#include "plugins/relay/fault.h"

using namespace portolan;
using namespace portolan::relay;
using fuzz::check;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto fault = parse_fault(text);
  if (!fault) {
    check(!fault.error().empty(), "what is refused has a reason");
    return 0;
  }
  check(fault->probability >= 0 && fault->probability <= 1, "a probability is one");
  check(fault->jitter <= fault->latency, "nothing comes before it was sent");
  check(fault->variation == 0 || fault->variation < fault->size, "a slice has a byte");
  check(fits(fault->kind, Carrier::streams) || fits(fault->kind, Carrier::datagrams), "a fault is of use somewhere");
  const auto again = parse_fault(to_text(*fault));
  check(again.has_value() && *again == *fault, "a fault is read as it was written");
  check(!to_json(*fault).empty(), "a fault is listed");
  return 0;
}
