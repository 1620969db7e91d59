// What the relay puts in front of a session, and of a health check.
#include "plugins/relay/send_proxy.h"

#include "support/cmocka.h"
#include "support/contract_stubs.h"

#include <string>
#include <string_view>
#include <utility>

using namespace portolan;
using namespace portolan::relay;
using namespace std::string_literals;
using namespace std::string_view_literals;

namespace {

struct UnixStream final : testing::StubStream {
  NetAddress peer_address() const noexcept override { return {}; }
};
struct TcpStream final : testing::StubStream {
  explicit TcpStream(std::string_view asked_for = {}) : host(asked_for) {}
  std::string_view server_name() const noexcept override { return host; }
  std::string host;
};

std::string_view text(const ProxyHeaderBytes& header) {
  return {reinterpret_cast<const char*>(header.bytes.data()), header.size};
}

constexpr std::string_view kLocal = "\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"sv;
constexpr std::string_view kUnknown = "PROXY UNKNOWN\r\n";

void a_session_tells_its_client(void**) {
  const TcpStream client;
  assert_int_equal(session_header({}, client).size, 0);
  assert_true(text(session_header({SendProxy::v1}, client)) == "PROXY TCP4 192.0.2.7 192.0.2.1 4711 7\r\n");
  constexpr std::string_view content = "\xc0\0\x02\x07\xc0\0\x02\x01\x12\x67\0\x07"sv;
  const ProxyHeaderBytes plain = session_header({SendProxy::v2}, client);
  assert_true(text(plain).substr(12, 4) == "\x21\x11\0\x0c"sv && text(plain).substr(16) == content);
  const ProxyHeaderBytes checked = session_header({SendProxy::v2, true}, client);
  const auto parsed = parse_proxy_header(checked.view());
  assert_true(parsed && parsed->tlvs.find(proxy_tlv::kCrc32c) && parsed->source.port() == 4711);
  for (const auto& [asked_for, told] : {std::pair("nas.lan"s, "nas.lan"s),
                                        {"nas lan\n", ""},
                                        {std::string(4000, 'x'), ""},
                                        {std::string(126, 'a') + "." + std::string(126, 'b'), ""}}) {
    const ProxyHeaderBytes header = session_header({SendProxy::v2, true}, TcpStream(asked_for));
    const auto found = parse_proxy_header(header.view());
    assert_true(found && found->tlvs.find(proxy_tlv::kAuthority).value_or("") == told);
  }
  const std::string longest =
      std::string(63, 'a') + "." + std::string(63, 'b') + "." + std::string(63, 'c') + "." + std::string(61, 'd');
  const ProxyHeaderBytes header = session_header({SendProxy::v2, true}, TcpStream(longest));
  assert_true(parse_proxy_header(header.view())->tlvs.find(proxy_tlv::kAuthority) == longest);
}

void what_has_no_client_says_so(void**) {
  const UnixStream client;
  for (const bool crc : {false, true}) {
    assert_int_equal(check_header({SendProxy::none, crc}).size, 0);
    assert_true(text(check_header({SendProxy::v1, crc})) == kUnknown);
    assert_true(text(session_header({SendProxy::v1, crc}, client)) == kUnknown);
    assert_true(text(check_header({SendProxy::v2, crc})) == kLocal);
    assert_true(text(session_header({SendProxy::v2, crc}, client)) == kLocal);
  }
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test(a_session_tells_its_client),
      cmocka_unit_test(what_has_no_client_says_so),
  };
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
