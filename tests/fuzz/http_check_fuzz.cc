// The head of an HTTP answer: it is found with its last byte and not before, whatever follows, and what is refused stays
// so. Input: the head, and what follows it.
#include "fuzz_target.h"
#include "plugins/relay/http_check.h"

#include <algorithm>
#include <vector>

using namespace portolan::relay;
using portolan::fuzz::check;

namespace {

using Result = std::expected<HttpHead, NoHttpHead>;

// From an allocation of exactly that size: AddressSanitizer sees what reads past it.
Result parse_copy(std::string_view text) {
  const std::vector<char> exact(text.begin(), text.end());
  return parse_http_head({exact.data(), exact.size()});
}

bool same(const HttpHead& a, const HttpHead& b) {
  return a.status == b.status && a.size == b.size && a.body == b.body && a.keeps_alive == b.keeps_alive;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = portolan::fuzz::Input(data, size).rest();
  const Result whole = parse_copy(text);
  if (whole) {
    check(whole->size <= std::min(text.size(), kMaxHttpHead), "a head is of what was given, and within the limit");
    check(whole->status >= 100 && whole->status <= 999, "a status has three digits");
    check(text.substr(0, whole->size).ends_with("\r\n\r\n"), "a head ends in an empty line");
    check(!whole->keeps_alive || whole->body, "who goes on knows where the body ends");
    const Result alone = parse_copy(text.substr(0, whole->size));
    check(alone && same(*alone, *whole), "what follows changes nothing");
    const Result less = parse_copy(text.substr(0, whole->size - 1));
    check(!less && less.error().refused.empty(), "without its last byte it has not come whole");
    return 0;
  }
  if (whole.error().refused.empty()) {
    check(text.size() < kMaxHttpHead, "nothing is waited for over the limit");
    return 0;
  }
  const std::vector<char> more(64, 'x');
  std::string longer(text);
  longer.append(more.data(), more.size());
  const Result still = parse_copy(longer);
  check(!still && !still.error().refused.empty(), "what is refused stays so");
  return 0;
}
