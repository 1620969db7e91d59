#include "limits/client_table.h"

#include "support/cmocka.h"

using namespace portolan;
using namespace std::chrono_literals;

namespace {

constexpr Duration kNow = 1000s;

Address address(const char* text) { return *Address::parse(text); }

void sessions_are_counted_by_client(void**) {
  ClientTable table;
  ClientEntry* first = table.acquire(address("192.0.2.1"), 2, kNow);
  assert_non_null(first);
  assert_ptr_equal(table.acquire(address("192.0.2.1"), 2, kNow), first);
  assert_null(table.acquire(address("192.0.2.1"), 2, kNow));
  ClientEntry* other = table.acquire(address("192.0.2.2"), 2, kNow);
  assert_non_null(other);
  table.release(first, kNow);
  assert_ptr_equal(table.acquire(address("192.0.2.1"), 2, kNow), first);
  table.release(first, kNow);
  table.release(first, kNow);
  table.release(other, kNow);
  assert_int_equal(table.size(), 0);
}

void an_ipv6_client_is_its_network(void**) {
  ClientTable table;
  ClientEntry* first = table.acquire(address("2001:db8::1").client(), 1, kNow);
  assert_non_null(first);
  assert_null(table.acquire(address("2001:db8::2").client(), 1, kNow));
  ClientEntry* other = table.acquire(address("2001:db8:0:1::1").client(), 1, kNow);
  assert_non_null(other);
  table.release(first, kNow);
  table.release(other, kNow);
}

void reconnecting_does_not_refill_the_bucket(void**) {
  ClientTable table;
  const RateLimit limit(1);
  ClientEntry* entry = table.acquire(address("192.0.2.1"), 0, kNow);
  assert_true(limit.take(entry->messages, kNow, 1) == Duration::zero());
  table.release(entry, kNow);
  assert_int_equal(table.size(), 1);
  entry = table.acquire(address("192.0.2.1"), 0, kNow + 10ms);
  assert_true(limit.take(entry->messages, kNow + 10ms, 1) > Duration::zero());
  table.release(entry, kNow + 2s);
  assert_int_equal(table.size(), 0);
}

void a_flood_of_addresses_does_not_pile_up(void**) {
  ClientTable table;
  const RateLimit limit(1);
  for (int i = 0; i < 200'000; ++i) {
    const Duration now = kNow + i * 1ms;
    Address client = address("10.0.0.0");
    sockaddr_in raw{};
    raw.sin_family = AF_INET;
    raw.sin_addr.s_addr = htonl(0x0a000000U + static_cast<std::uint32_t>(i));
    client = Address::from(reinterpret_cast<sockaddr*>(&raw)).client();
    ClientEntry* entry = table.acquire(client, 0, now);
    limit.take(entry->messages, now, 1);  // full again after a second
    table.release(entry, now);
  }
  assert_true(table.size() < 40'000);
}

void a_client_keeps_what_each_list_of_limits_counts(void**) {
  using Rule = LimitRule;
  const auto set_of = [](double rate) {
    const Limiter limiter(LimitAlgorithm::fixed_window, rate, 10s);
    return std::make_shared<const LimitSet>(
        std::vector<Rule>{{Rule::Count::messages, Rule::Per::client, Rule::Over::refuse, limiter},
                          {Rule::Count::bytes, Rule::Per::service, Rule::Over::delay, limiter}});
  };
  const auto passes = [](const LimitSet& set, const ClientEntry& entry, Duration now) {
    return !set.message(entry.states_of(set), now, 10);
  };
  ClientTable table;
  const auto before = set_of(1);
  const auto after = set_of(2);
  ClientEntry* entry = table.acquire(address("192.0.2.1"), 0, kNow, before);
  assert_true(passes(*before, *entry, kNow));
  // The second says no, and the first is not used up by that.
  const LimitVerdict over = before->message(entry->states_of(*before), kNow, 10);
  assert_true(over && over.rule->per == Rule::Per::service && over.wait > 9s);
  for (int i = 0; i < 20; ++i) assert_false(passes(*before, *entry, kNow));
  assert_true(before->rules()[0].limiter.wait(entry->states_of(*before)[0], kNow) == 0s);
  assert_true(passes(*before, *entry, kNow + 10s));
  assert_false(passes(*before, *entry, kNow + 10s));

  // A reload: another list counts for itself, and the sessions of the first go on.
  assert_ptr_equal(table.acquire(address("192.0.2.1"), 0, kNow, after), entry);
  assert_true(passes(*after, *entry, kNow + 10s));
  assert_true(passes(*after, *entry, kNow + 10s));
  assert_false(passes(*after, *entry, kNow + 10s));
  assert_false(passes(*before, *entry, kNow + 10s));
  assert_ptr_equal(table.acquire(address("192.0.2.1"), 0, kNow, before), entry);

  // The entry outlives its sessions until both are forgotten.
  for (int i = 0; i < 3; ++i) table.release(entry, kNow + 11s);
  assert_int_equal(table.size(), 1);
  entry = table.acquire(address("192.0.2.1"), 0, kNow + 12s, after);
  table.release(entry, kNow + 20s);
  assert_int_equal(table.size(), 0);
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test(sessions_are_counted_by_client),
      cmocka_unit_test(an_ipv6_client_is_its_network),
      cmocka_unit_test(reconnecting_does_not_refill_the_bucket),
      cmocka_unit_test(a_flood_of_addresses_does_not_pile_up),
      cmocka_unit_test(a_client_keeps_what_each_list_of_limits_counts),
  };
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
