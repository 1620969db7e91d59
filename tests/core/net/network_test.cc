#include "net/network.h"

#include <cstring>
#include <string>

#include "support/cmocka.h"

using namespace portolan;

namespace {

Network parsed(std::string_view text) {
  const auto network = Network::parse(text);
  if (!network) fail_msg("%s", network.error().c_str());
  return *network;
}

Address address(std::string_view text) {
  const auto result = Address::parse(text);
  if (!result) fail_msg("%s", result.error().c_str());
  return *result;
}

void networks_are_read_and_written_in_their_canonical_form(void**) {
  struct {
    const char* text;
    const char* canonical;
  } const cases[] = {
      {"10.0.0.0/8", "10.0.0.0/8"},
      {"0.0.0.0/0", "0.0.0.0/0"},
      {"::/0", "::/0"},
      {"192.0.2.7", "192.0.2.7"},
      {"192.0.2.7/32", "192.0.2.7"},
      {"192.0.2.6/31", "192.0.2.6/31"},
      {"2001:DB8:0::/32", "2001:db8::/32"},
      {"2001:db8::1/128", "2001:db8::1"},
      {"fe80::/10", "fe80::/10"},
      // The IPv4 networks that mapped ones stand for.
      {"::ffff:10.0.0.0/104", "10.0.0.0/8"},
      {"::ffff:0:0/96", "0.0.0.0/0"},
      {"::ffff:192.0.2.7", "192.0.2.7"},
  };
  for (const auto& test : cases) {
    assert_string_equal(parsed(test.text).to_string().c_str(), test.canonical);
    assert_true(parsed(test.text) == parsed(test.canonical));
  }
  assert_false(parsed("10.0.0.0/8") == parsed("10.0.0.0/9"));
  assert_false(parsed("0.0.0.0/0") == parsed("::/0"));
}

void what_is_no_network_is_refused_with_the_reason(void**) {
  struct {
    std::string text;
    const char* reason;
  } const cases[] = {
      {"10.1.2.3/8",
       "\"10.1.2.3/8\": bits are set behind the prefix; write 10.0.0.0/8, or 10.1.2.3 for the one address"},
      {"192.0.2.1/0", "write 0.0.0.0/0,"},
      {"192.0.2.7/31", "write 192.0.2.6/31,"},
      {"2001:db8::1/64", "write 2001:db8::/64, or 2001:db8::1 for"},
      {"2001:db8:8000::/32", "write 2001:db8::/32,"},
      {"::ffff:10.1.0.0/104", "write 10.0.0.0/8,"},
      {"10.0.0.0/33", "\"10.0.0.0/33\": the prefix length \"33\" is not a number from 0 to 32"},
      {"2001:db8::/129", "from 0 to 128"},
      {"::ffff:0:0/95", "from 96 to 128"},
      {"10.0.0.0/", "the prefix length \"\" is not"},
      {"10.0.0.0/08", "\"08\""},
      {"10.0.0.0/+8", "\"+8\""},
      {"10.0.0.0/-1", "\"-1\""},
      {"10.0.0.0/ 8", "\" 8\""},
      {"10.0.0.0/8/8", "\"8/8\""},
      {"10.0.0.0/255.0.0.0", "\"255.0.0.0\""},
      {"10.0.0.0/4294967304", "\"4294967304\""},
      {"10.0.0.0:80/8", "\"10.0.0.0:80/8\": a network has no port; leave \":80\" away"},
      {"10.0.0.1:80", "no port"},
      {":80", "no port"},
      {"[::1]:80", "neither brackets nor a port"},
      {"[2001:db8::]/32", "neither brackets"},
      {"fe80::%lo/10", "a network has no zone; leave \"%lo\" away"},
      {"", "missing"},
      {"/8", "missing"},
      {"unix", "\"unix\": \"unix\" is a name"},
      {"example.org/8", "\"example.org/8\": \"example.org\" is a name"},
      {"10.0.0/8", "\"10.0.0/8\": \"10.0.0\" is not an IPv4 address"},
      {"2001:db8::x/32", "not an IPv6 address"},
      {std::string("10.0.0.0\0/8", 11), "NUL"},
      {std::string("10.0.0.0/8\0", 11), "NUL"},
  };
  for (const auto& test : cases) {
    const auto network = Network::parse(test.text);
    if (network) fail_msg("\"%s\" was taken as a network", test.text.c_str());
    if (!strstr(network.error().c_str(), test.reason)) fail_msg("%s: %s", test.text.c_str(), network.error().c_str());
  }
}

void a_network_contains_what_has_its_prefix(void**) {
  struct {
    const char* network;
    const char* inside;
    const char* outside;
  } const cases[] = {
      {"10.0.0.0/8", "10.255.255.255", "11.0.0.0"},
      {"10.0.0.0/8", "[::ffff:10.1.2.3]:80", "9.255.255.255"},
      {"172.16.0.0/12", "172.31.255.255", "172.32.0.0"},
      {"192.0.2.6/31", "192.0.2.7:1", "192.0.2.8"},
      {"192.0.2.7", "192.0.2.7:65535", "192.0.2.6"},
      {"0.0.0.0/0", "255.255.255.255", "::"},
      {"128.0.0.0/1", "128.0.0.0", "127.255.255.255"},
      {"::/0", "ffff::", "0.0.0.0"},
      {"2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"},
      {"2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::"},
      {"fe80::/10", "fe80::1%lo", "fec0::"},
      {"::1", "[::1]:7", "::"},
  };
  for (const auto& test : cases) {
    if (!parsed(test.network).contains(address(test.inside))) fail_msg("%s: %s", test.network, test.inside);
    if (parsed(test.network).contains(address(test.outside))) fail_msg("%s: not %s", test.network, test.outside);
  }
  // Every length against the definition: as many leading bits are equal.
  const Address base = address("255.255.255.255");
  for (unsigned length = 0; length <= 32; ++length) {
    const std::uint32_t mask = length == 0 ? 0 : ~0U << (32 - length);
    const std::uint8_t bytes[] = {static_cast<std::uint8_t>(mask >> 24), static_cast<std::uint8_t>(mask >> 16),
                                  static_cast<std::uint8_t>(mask >> 8), static_cast<std::uint8_t>(mask)};
    const Network network = parsed(Address::from(bytes, 0).host() + "/" + std::to_string(length));
    assert_true(network.contains(base));
    for (unsigned bit = 0; bit < 32; ++bit) {
      const std::uint32_t flipped = ~(0x8000'0000U >> bit);
      const std::uint8_t other[] = {static_cast<std::uint8_t>(flipped >> 24), static_cast<std::uint8_t>(flipped >> 16),
                                    static_cast<std::uint8_t>(flipped >> 8), static_cast<std::uint8_t>(flipped)};
      assert_int_equal(network.contains(Address::from(other, 0)), bit >= length);
    }
  }
  assert_false(parsed("0.0.0.0/0").contains(Address()));
  assert_false(parsed("::/0").contains(Address()));
}

void a_list_contains_what_one_of_its_networks_does(void**) {
  assert_true(NetworkList().empty());
  assert_false(NetworkList().contains(Address()));
  assert_false(NetworkList().contains(address("127.0.0.1")));

  constexpr std::string_view texts[] = {"10.0.0.0/8", "2001:db8::/32"};
  auto list = NetworkList::parse(texts);
  assert_true(list.has_value());
  assert_false(list->empty());
  assert_true(list->contains(address("10.9.9.9")));
  assert_true(list->contains(address("2001:db8::9")));
  assert_false(list->contains(address("192.0.2.1")));
  assert_false(list->contains(Address()));
  assert_true(list->add("unix").has_value());
  assert_true(list->contains(Address()));
  assert_false(list->contains(address("192.0.2.1")));

  NetworkList only_unix;
  assert_true(only_unix.add("unix").has_value());
  assert_false(only_unix.empty());
  assert_false(only_unix.contains(address("127.0.0.1")));

  constexpr std::string_view wrong[] = {"10.0.0.0/8", "10.0.0.0/40"};
  list = NetworkList::parse(wrong);
  assert_false(list.has_value());
  assert_non_null(strstr(list.error().c_str(), "10.0.0.0/40"));
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test(networks_are_read_and_written_in_their_canonical_form),
      cmocka_unit_test(what_is_no_network_is_refused_with_the_reason),
      cmocka_unit_test(a_network_contains_what_has_its_prefix),
      cmocka_unit_test(a_list_contains_what_one_of_its_networks_does),
  };
  return cmocka_run_group_tests_name("core.net.network", tests, nullptr, nullptr);
}
