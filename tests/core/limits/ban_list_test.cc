// Violations that lead to a ban, what is never banned, room, and many threads at once.
#include "limits/ban_list.h"

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "support/cmocka.h"

using namespace portolan;
using namespace std::chrono_literals;

namespace {

constexpr std::int64_t kNow = 1'700'000'000'000;

Address address(std::string_view text) { return *Address::parse(text); }
Address numbered(unsigned number) {
  return address(std::to_string(10 + number / 65536) + "." + std::to_string(number / 256 % 256) + "." +
                 std::to_string(number % 256) + ".1:99");
}

struct Fixture {
  Fixture() { list.configure(options); }
  void violate(std::string_view peer, int times, std::int64_t now_ms, bool datagram = false) {
    for (int i = 0; i < times; ++i) list.violation(address(peer), Refusal::bad_message, "web", datagram, now_ms);
  }
  BanOptions options{.automatic = true, .violations = 3, .within = 1min, .time = 10min, .never = {}, .max = 100};
  std::vector<std::pair<Ban, BanList::Change>> told;
  BanList list{[this](const Ban& ban, BanList::Change change) { told.emplace_back(ban, change); }};
};
int set_up(void** state) {
  *state = new Fixture;
  return 0;
}
int tear_down(void** state) {
  delete static_cast<Fixture*>(*state);
  return 0;
}
Fixture& fixture_of(void** state) { return *static_cast<Fixture*>(*state); }

void the_last_violation_bans_for_a_time(void** state) {
  Fixture& f = fixture_of(state);
  f.violate("192.0.2.1:5", 2, kNow);
  f.violate("192.0.2.2:5", 2, kNow);
  assert_false(f.list.any());
  f.violate("192.0.2.1:6", 1, kNow + 59'999);
  assert_true(f.list.bans(address("192.0.2.1:7"), kNow + 60'000));
  assert_false(f.list.bans(address("192.0.2.2:5"), kNow + 60'000));
  assert_int_equal(f.told.size(), 1);
  const Ban& ban = f.told[0].first;
  assert_string_equal(ban_text(ban.client).c_str(), "192.0.2.1");
  assert_string_equal(ban.reason.c_str(), "bad_message");
  assert_string_equal(ban.service.c_str(), "web");
  assert_int_equal(ban.violations, 3);
  assert_true(ban.until_ms == kNow + 59'999 + 600'000);
  assert_true(f.list.bans(address("192.0.2.1"), ban.until_ms - 1));
  assert_false(f.list.bans(address("192.0.2.1"), ban.until_ms));
  assert_int_equal(f.list.expire(ban.until_ms), 0);
  assert_false(f.list.any());
  assert_int_equal(f.told.size(), 1);
  assert_int_equal(f.list.total(), 1);
  // What led there is not counted twice.
  f.violate("192.0.2.1:6", 2, ban.until_ms);
  assert_false(f.list.any());
}

void violations_that_lie_apart_are_forgotten(void** state) {
  Fixture& f = fixture_of(state);
  for (int minute = 0; minute < 20; ++minute) f.violate("192.0.2.1", 2, kNow + minute * 60'000);
  assert_false(f.list.any());
  f.list.violation(address("192.0.2.1"), Refusal::idle_timeout, "web", false, kNow + 19 * 60'000);
  f.list.violation(address("192.0.2.1"), Refusal::banned, "web", false, kNow + 19 * 60'000);
  assert_false(f.list.any());
  f.violate("192.0.2.1", 1, kNow + 19 * 60'000);
  assert_true(f.list.any());
}

void an_ipv6_client_is_its_network(void** state) {
  Fixture& f = fixture_of(state);
  f.violate("[2001:db8::1]:5", 1, kNow);
  f.violate("[2001:db8::2]:5", 1, kNow);
  f.violate("[2001:db8::3]:5", 1, kNow);
  assert_true(f.list.bans(address("2001:db8::abcd"), kNow));
  assert_false(f.list.bans(address("2001:db8:0:1::1"), kNow));
  assert_string_equal(ban_text(f.told[0].first.client).c_str(), "2001:db8::/64");
  assert_true(parse_banned("2001:db8::/64") == address("2001:db8::"));
  assert_true(parse_banned("2001:db8::77") == address("2001:db8::"));
  assert_true(parse_banned("192.0.2.1/32") == address("192.0.2.1"));
  for (const char* wrong : {"", "x", "192.0.2.1/24", "2001:db8::/48", "192.0.2.1:80", "[::1]", "192.0.2.1/"})
    assert_false(parse_banned(wrong).has_value());
  assert_true(f.list.lift(*parse_banned("2001:db8::9")));
  assert_false(f.list.lift(*parse_banned("2001:db8::9")));
  assert_true(f.told.back().second == BanList::Change::lifted);
}

void some_are_never_banned(void** state) {
  Fixture& f = fixture_of(state);
  assert_true(f.options.never.add("192.0.2.0/28").has_value());
  assert_true(f.options.never.add("2001:db8::7").has_value());
  f.list.configure(f.options);
  f.violate("192.0.2.15", 9, kNow);
  f.violate("2001:db8::7", 9, kNow);
  f.list.violation(Address(), Refusal::bad_message, "web", false, kNow);  // unix
  f.violate("192.0.2.99", 9, kNow, true);                                 // whose address may be anybody's
  assert_false(f.list.any());
  assert_false(f.list.add({.client = address("192.0.2.1"), .until_ms = kNow + 1}, kNow).has_value());
  assert_false(f.list.add({.client = Address(), .until_ms = kNow + 1}, kNow).has_value());
  // Its neighbours of the same /64 are, without it.
  f.violate("2001:db8::8", 3, kNow);
  assert_true(f.list.bans(address("2001:db8::8"), kNow));
  assert_false(f.list.bans(address("2001:db8::7"), kNow));
  f.options.datagrams = true;
  f.list.configure(f.options);
  f.violate("192.0.2.99", 3, kNow, true);
  assert_true(f.list.bans(address("192.0.2.99"), kNow));
  // A reload that names it lifts it.
  assert_true(f.options.never.add("192.0.2.99").has_value());
  f.list.configure(f.options);
  assert_int_equal(f.list.list(kNow).size(), 1);
  f.options.automatic = false;
  f.list.configure(f.options);
  f.violate("192.0.2.200", 9, kNow);
  assert_int_equal(f.list.list(kNow).size(), 1);
}

void a_full_list_keeps_what_was_banned_by_hand(void** state) {
  Fixture& f = fixture_of(state);
  const auto by_hand = [&](unsigned number, std::int64_t until) {
    return f.list.add({.client = numbered(number).client(), .until_ms = until, .reason = "because"}, kNow).has_value();
  };
  assert_true(by_hand(1000, kNow + 1));
  for (unsigned number = 0; number < 99; ++number)
    for (int i = 0; i < 3; ++i) f.list.violation(numbered(number), Refusal::tls, "web", false, kNow + number);
  assert_int_equal(f.list.list(kNow).size(), 100);
  f.violate("192.0.2.1", 3, kNow);
  assert_int_equal(f.list.list(kNow).size(), 100);
  assert_true(f.list.bans(address("192.0.2.1"), kNow));
  assert_true(f.list.bans(numbered(1000), kNow));
  assert_false(f.list.bans(numbered(0), kNow));  // would have ended first
  for (unsigned number = 1001; number < 1100; ++number) assert_true(by_hand(number, kNow + 5000));
  assert_false(by_hand(1100, kNow + 5000));
  assert_true(by_hand(1001, kNow + 9000));  // it is there
  assert_true(f.list.list(kNow).back().until_ms == kNow + 9000);
  assert_int_equal(f.list.lift_all(), 100);
  assert_false(f.list.any());
}

void a_flood_of_addresses_is_bounded_and_passes(void** state) {
  Fixture& f = fixture_of(state);
  for (unsigned number = 0; number < 5000; ++number)
    f.list.violation(numbered(number), Refusal::tls, "web", false, kNow + number);
  f.violate("192.0.2.1", 3, kNow + 5000);
  assert_false(f.list.any());  // no room to remember it
  f.violate("192.0.2.1", 3, kNow + 70'000);
  assert_true(f.list.bans(address("192.0.2.1"), kNow + 70'000));
}

void bans_of_an_earlier_run_are_taken_in(void** state) {
  Fixture& f = fixture_of(state);
  f.list.restore(
      {{.client = address("192.0.2.1"), .until_ms = kNow + 1}, {.client = address("192.0.2.2"), .until_ms = kNow}},
      kNow);
  assert_int_equal(f.list.list(kNow).size(), 1);
  assert_true(f.list.bans(address("192.0.2.1"), kNow));
  assert_true(f.told.empty());
}

void many_threads_ban_look_and_lift(void**) {
  std::atomic<int> banned{0};
  std::atomic<int> lifted{0};
  BanList list([&](const Ban&, BanList::Change change) { ++(change == BanList::Change::banned ? banned : lifted); });
  list.configure({.automatic = true, .violations = 2, .never = {}});
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 4; ++t) {
    threads.emplace_back([&list, t] {
      for (unsigned i = 0; i < 2000; ++i) {
        const Address peer = numbered(i % 200);
        list.violation(peer, Refusal::bad_message, "web", false, kNow);
        list.bans(peer, kNow);
        if (i % 50 == t) list.lift(peer.client());
        if (i % 500 == t) list.configure({.automatic = true, .violations = 2, .never = {}});
        if (i % 500 == 0) list.expire(kNow + 1);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  assert_int_equal(list.list(kNow).size(), banned - lifted);
  assert_true(banned >= 200);
  assert_true(list.bans(numbered(199), kNow));
}

}  // namespace

int main() {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
  const CMUnitTest tests[] = {
      TEST(the_last_violation_bans_for_a_time),
      TEST(violations_that_lie_apart_are_forgotten),
      TEST(an_ipv6_client_is_its_network),
      TEST(some_are_never_banned),
      TEST(a_full_list_keeps_what_was_banned_by_hand),
      TEST(a_flood_of_addresses_is_bounded_and_passes),
      TEST(bans_of_an_earlier_run_are_taken_in),
      cmocka_unit_test(many_threads_ban_look_and_lift),
  };
  return cmocka_run_group_tests_name("core.limits.ban_list", tests, nullptr, nullptr);
}
