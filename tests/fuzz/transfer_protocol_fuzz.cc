// The transfer protocol's messages: what is taken is the same after it has been written and read again, and reads nothing
// behind its end. Input: the bytes of a peer.
#include "fuzz_target.h"
#include "transfer/protocol.h"

#include <memory>
#include <vector>

using namespace portolan::transfer;
using portolan::fuzz::check;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::span<const std::byte> rest = std::as_bytes(std::span(data, size));
  while (!rest.empty()) {
    const auto parsed = parse(rest);
    if (!parsed || !*parsed) break;
    const std::size_t used = (*parsed)->size;
    check(used >= kHeader && used <= rest.size() && used <= kHeader + kMaxPayload, "a message lies within its bytes");
    std::vector<std::byte> again;
    append(again, (*parsed)->message);
    const auto reparsed = parse(again);
    check(reparsed.has_value() && reparsed->has_value(), "what was written is read");
    check((*reparsed)->message.index() == (*parsed)->message.index(), "it is the same message");
    std::vector<std::byte> third;
    append(third, (*reparsed)->message);
    check(again == third, "it is written the same");
    rest = rest.subspan(used);
  }
  return 0;
}
