#include "net/address.h"

#include <arpa/inet.h>

#include <cstring>
#include <string>

#include "support/cmocka.h"

using namespace portolan;

namespace {

Address parsed(const char* text) {
  const auto address = Address::parse(text);
  if (!address) fail_msg("%s: %s", text, address.error().c_str());
  return *address;
}

void addresses_are_read_and_written_in_their_canonical_form(void**) {
  struct {
    const char* text;
    const char* host;
    const char* whole;
  } const cases[] = {
      {"192.0.2.1", "192.0.2.1", "192.0.2.1:0"},
      {"192.0.2.1:80", "192.0.2.1", "192.0.2.1:80"},
      {"0.0.0.0:65535", "0.0.0.0", "0.0.0.0:65535"},
      {"::", "::", "[::]:0"},
      {"[::1]", "::1", "[::1]:0"},
      {"[::1]:443", "::1", "[::1]:443"},
      // RFC 5952: lower case, no leading zeros, the longest run of zeros shortened, the first of two, never one alone.
      {"2001:0DB8:0000:0000:0000:0000:0000:0001", "2001:db8::1", "[2001:db8::1]:0"},
      {"2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1", "[2001:db8::1:0:0:1]:0"},
      {"2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1", "[2001:db8:0:1:1:1:1:1]:0"},
      {"2001:0:0:1:0:0:0:1", "2001:0:0:1::1", "[2001:0:0:1::1]:0"},
      // Mapped addresses are the IPv4 peers that they stand for.
      {"::ffff:192.0.2.7", "192.0.2.7", "192.0.2.7:0"},
      {"[::ffff:c000:207]:9", "192.0.2.7", "192.0.2.7:9"},
  };
  for (const auto& test : cases) {
    const Address address = parsed(test.text);
    assert_string_equal(address.host().c_str(), test.host);
    assert_string_equal(address.to_string().c_str(), test.whole);
    assert_true(parsed(test.whole) == address);
  }
}

void zones_name_an_interface(void**) {
  const Address address = parsed("fe80::1%lo");
  assert_string_equal(address.host().c_str(), "fe80::1%lo");
  assert_string_equal(address.to_string().c_str(), "[fe80::1%lo]:0");
  assert_true(parsed("[fe80::1%lo]:7").port() == 7);
  assert_true(parsed("fe80::1%4000000").host() == "fe80::1%4000000");
  assert_false(address == parsed("fe80::1"));
  assert_false(Address::parse("fe80::1%no-such-thing").has_value());
  assert_false(Address::parse("fe80::1%").has_value());
  assert_false(Address::parse("192.0.2.1%lo").has_value());
}

void what_is_no_address_is_refused_with_the_reason(void**) {
  struct {
    std::string text;
    const char* reason;
  } const cases[] = {
      {"", "missing"},
      {":80", "missing"},
      {"*:80", "0.0.0.0"},
      {"localhost:80", "127.0.0.1"},
      {"example.org", "name"},
      {"300.1.2.3", "not an IPv4"},
      {"1.2.3", "not an IPv4"},
      {"1.2.3.4.5", "not an IPv4"},
      {"01.2.3.4", "not an IPv4"},  // octal for some, decimal for others
      {"1.2.3.4:", "missing"},
      {"1.2.3.4:70000", "port 70000 is out of range 0-65535"},
      {"1.2.3.4:99999999999999", "out of range"},
      {"1.2.3.4:-1", "not a number"},
      {"1.2.3.4: 1", "not a number"},
      {"[::1", "not closed"},
      {"[::1]80", "colon"},
      {"[1.2.3.4]:80", "brackets"},
      {"::1::2", "not an IPv6"},
      {"12345::", "not an IPv6"},
      {std::string("1.2.3.4\0x", 9), "NUL"},
  };
  for (const auto& test : cases) {
    const auto address = Address::parse(test.text);
    if (address) fail_msg("\"%s\" was taken as an address", test.text.c_str());
    if (!strstr(address.error().c_str(), test.reason)) fail_msg("%s: %s", test.text.c_str(), address.error().c_str());
  }
}

void scopes_follow_the_registries(void**) {
  struct {
    const char* text;
    AddressScope scope;
  } const cases[] = {
      {"0.0.0.0", AddressScope::unspecified},
      {"0.0.0.1", AddressScope::reserved},
      {"127.0.0.1", AddressScope::loopback},
      {"127.255.255.254", AddressScope::loopback},
      {"128.0.0.1", AddressScope::global},
      {"10.0.0.0", AddressScope::private_use},
      {"10.255.255.255", AddressScope::private_use},
      {"11.0.0.0", AddressScope::global},
      {"172.15.255.255", AddressScope::global},
      {"172.16.0.0", AddressScope::private_use},
      {"172.31.255.255", AddressScope::private_use},
      {"172.32.0.0", AddressScope::global},
      {"192.168.1.1", AddressScope::private_use},
      {"192.169.1.1", AddressScope::global},
      {"100.63.255.255", AddressScope::global},
      {"100.64.0.0", AddressScope::shared},
      {"100.127.255.255", AddressScope::shared},
      {"100.128.0.0", AddressScope::global},
      {"169.254.1.1", AddressScope::link_local},
      {"192.0.2.1", AddressScope::documentation},
      {"203.0.113.9", AddressScope::documentation},
      {"198.51.100.9", AddressScope::documentation},
      {"192.0.0.1", AddressScope::reserved},
      {"192.0.0.9", AddressScope::global},
      {"198.18.0.1", AddressScope::reserved},
      {"198.20.0.1", AddressScope::global},
      {"223.255.255.255", AddressScope::global},
      {"224.0.0.251", AddressScope::multicast},
      {"239.255.255.255", AddressScope::multicast},
      {"240.0.0.1", AddressScope::reserved},
      {"255.255.255.255", AddressScope::broadcast},
      {"::", AddressScope::unspecified},
      {"::1", AddressScope::loopback},
      {"::2", AddressScope::reserved},
      {"::ffff:10.0.0.1", AddressScope::private_use},
      {"::ffff:127.0.0.1", AddressScope::loopback},
      {"fe80::1", AddressScope::link_local},
      {"febf::1", AddressScope::link_local},
      {"fec0::1", AddressScope::reserved},
      {"fc00::1", AddressScope::private_use},
      {"fdff::1", AddressScope::private_use},
      {"fe00::1", AddressScope::reserved},
      {"ff02::fb", AddressScope::multicast},
      {"2001:db8::1", AddressScope::documentation},
      {"3fff:fff::1", AddressScope::documentation},
      {"3fff:1000::1", AddressScope::global},
      {"2001:4860:4860::8888", AddressScope::global},
      {"64:ff9b::192.0.2.1", AddressScope::global},
      {"64:ff9b:1::1", AddressScope::private_use},
      {"100::1", AddressScope::reserved},
      {"4000::1", AddressScope::reserved},
  };
  for (const auto& test : cases) {
    const AddressScope scope = parsed(test.text).scope();
    if (scope != test.scope) fail_msg("%s is %s", test.text, std::string(to_string(scope)).c_str());
  }
  assert_true(Address().scope() == AddressScope::unspecified);
}

void socket_addresses_survive_the_round_trip(void**) {
  for (const char* text : {"192.0.2.1:80", "[2001:db8::1]:443", "[fe80::1%lo]:1"}) {
    const Address address = parsed(text);
    sockaddr_storage storage;
    assert_true(address.to_sockaddr(storage) > 0);
    assert_true(Address::from(reinterpret_cast<const sockaddr*>(&storage)) == address);
  }
  sockaddr_storage storage;
  assert_int_equal(Address().to_sockaddr(storage), 0);
  storage.ss_family = AF_UNIX;
  assert_true(Address::from(reinterpret_cast<const sockaddr*>(&storage)).empty());
  assert_true(Address::from(nullptr).empty());
  assert_true(Address().to_string().empty());
}

void limits_count_by_client(void**) {
  assert_true(parsed("192.0.2.1:1").client() == parsed("192.0.2.1:2").client());
  assert_false(parsed("192.0.2.1").client() == parsed("192.0.2.2").client());
  assert_true(parsed("[2001:db8:1:2:3:4:5:6]:1").client() == parsed("[2001:db8:1:2::9]:2").client());
  assert_false(parsed("2001:db8:1:2::1").client() == parsed("2001:db8:1:3::1").client());
  assert_true(parsed("192.0.2.1:1").client().hash() == parsed("192.0.2.1:2").client().hash());
  // Not a proof of a good hash, but a bad one shows: neighbours spread over the low bits that a table uses.
  unsigned buckets[64] = {};
  for (int i = 0; i < 6400; ++i) {
    const std::string text = "10.0." + std::to_string(i / 250) + "." + std::to_string(i % 250);
    ++buckets[parsed(text.c_str()).hash() % 64];
  }
  for (const unsigned count : buckets) assert_in_range(count, 40, 180);
}

void endpoints_are_read_and_written(void**) {
  struct {
    const char* text;
    Transport transport;
  } const cases[] = {
      {"tcp://127.0.0.1:80", Transport::tcp},      {"udp://[::1]:53", Transport::udp},
      {"tls://0.0.0.0:0", Transport::tls},         {"unix:///run/x.sock", Transport::unix_stream},
      {"rudp://[::]:7009", Transport::rudp},       {"rudp://192.0.2.1:0", Transport::rudp},
      {"unix://x.sock", Transport::unix_stream},   {"unix://@name", Transport::unix_stream},
      {"tcp://[fe80::1%lo]:8080", Transport::tcp},
  };
  for (const auto& test : cases) {
    const auto endpoint = Endpoint::parse(test.text);
    if (!endpoint) fail_msg("%s: %s", test.text, endpoint.error().c_str());
    assert_true(endpoint->transport == test.transport);
    assert_string_equal(endpoint->to_string().c_str(), test.text);
  }
  assert_string_equal(Endpoint::parse("unix://@name")->path.c_str(), "@name");
}

void endpoints_that_are_wrong_say_how_to_write_them(void**) {
  struct {
    std::string text;
    const char* reason;
  } const cases[] = {
      {"127.0.0.1:80", "tcp://127.0.0.1:80"},
      {"", "transport"},
      {"http://127.0.0.1:80", "unknown transport \"http\"; expected tcp://, udp://, tls://, rudp:// or unix://"},
      {"TCP://127.0.0.1:80", "unknown transport"},
      {"tcp://localhost:80", "\"tcp://localhost:80\": \"localhost\" is a name; write 127.0.0.1"},
      {"tcp://127.0.0.1", "port is missing"},
      {"tcp://[::1]", "port is missing"},
      {"tcp://:80", "0.0.0.0"},
      {"tcp://*:80", "0.0.0.0"},
      {"tcp://::1:80", "brackets"},
      {"tcp://127.0.0.1:80/", "leave \"/\" away"},
      {"tcp://127.0.0.1:70000", "port 70000 is out of range 0-65535"},
      {"unix://", "path is missing"},
      {"unix://@", "path is missing"},
      {"unix:///" + std::string(107, 'x'), "at most 107"},
      {std::string("unix://a\0b", 10), "NUL"},
  };
  for (const auto& test : cases) {
    const auto endpoint = Endpoint::parse(test.text);
    if (endpoint) fail_msg("\"%s\" was taken as an endpoint", test.text.c_str());
    if (!strstr(endpoint.error().c_str(), test.reason)) fail_msg("%s: %s", test.text.c_str(), endpoint.error().c_str());
  }
  assert_true(Endpoint::parse("unix://" + std::string(107, 'x')).has_value());
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test(addresses_are_read_and_written_in_their_canonical_form),
      cmocka_unit_test(zones_name_an_interface),
      cmocka_unit_test(what_is_no_address_is_refused_with_the_reason),
      cmocka_unit_test(scopes_follow_the_registries),
      cmocka_unit_test(socket_addresses_survive_the_round_trip),
      cmocka_unit_test(limits_count_by_client),
      cmocka_unit_test(endpoints_are_read_and_written),
      cmocka_unit_test(endpoints_that_are_wrong_say_how_to_write_them),
  };
  return cmocka_run_group_tests_name("core.net.address", tests, nullptr, nullptr);
}
