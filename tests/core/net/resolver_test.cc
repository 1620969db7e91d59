// The resolver over a real loop and a real server on loopback: what it finds, how it fails, and what may happen meanwhile.
#include "net/resolver.h"

#include "base/net_error.h"

#include "support/dns_server.h"
#include "support/temporary_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "support/cmocka.h"

using namespace portolan;
using namespace std::chrono_literals;
using portolan::testing::DnsBehaviour;
using portolan::testing::DnsServer;
using portolan::testing::DnsType;
using portolan::testing::TemporaryFolder;

namespace {

struct Fixture {
  Fixture() {
    options.servers = {*Address::parse(server.where())};
    options.resolv_conf = folder.write("resolv.conf", "nameserver 127.0.0.1\n");
    options.deadline = 20s;
  }
  void make() { resolver = std::make_unique<Resolver>(loop, options); }

  // Turns the loop until the lookup is over.
  ResolveResult resolve(std::string_view name, AddressFamily family = AddressFamily::any) {
    if (!resolver) make();
    std::optional<ResolveResult> result;
    const ResolveHandle handle =
        resolver->resolve(name, family, [&](ResolveResult found) { result = std::move(found); });
    LoopTimer guard(loop, [&] { result = std::unexpected(ResolveFailure{NetError::none, "no answer in a minute"}); });
    guard.start(60s);
    while (!result) loop.turn(true);
    return std::move(*result);
  }
  // "2001:db8::1 192.0.2.1", or the failure as "timed_out: timed out (asked ...)".
  std::string text_of(const ResolveResult& result) const {
    if (!result) return fmt::format("{}: {}", to_string(result.error().error), result.error().message);
    std::string text;
    for (const ResolvedAddress& found : result->addresses) text += (text.empty() ? "" : " ") + found.address.host();
    return text;
  }
  std::string asked() const { return " (asked " + server.where() + ")"; }
  void turn_for(Duration time) {
    bool over = false;
    LoopTimer end(loop, [&over] { over = true; });
    end.start(time);
    while (!over) loop.turn(true);
  }
  long asked_about(const std::string& question) const {
    const auto questions = server.questions();
    return std::ranges::count(questions, question);
  }

  TemporaryFolder folder;
  DnsServer server;
  Loop loop;
  ResolverOptions options;
  std::unique_ptr<Resolver> resolver;
  std::vector<ResolveHandle> handles;
};

int set_up(void** state) {
  *state = new Fixture;
  return 0;
}
int tear_down(void** state) {
  delete static_cast<Fixture*>(*state);
  return 0;
}
Fixture& of(void** state) { return *static_cast<Fixture*>(*state); }

void assert_text(const std::string& actual, const std::string& expected) {
  assert_string_equal(actual.c_str(), expected.c_str());
}

// ---- What it finds -------------------------------------------------------------------------------------------

void both_families_are_found_with_their_ttl(void** state) {
  Fixture& f = of(state);
  f.server.add("nas.lan", "192.0.2.2", 60);
  f.server.add("nas.lan", "192.0.2.1", 60);
  f.server.add("nas.lan", "2001:db8::1", 3600);
  const ResolveResult found = f.resolve("nas.lan");
  assert_text(f.text_of(found), "2001:db8::1 192.0.2.2 192.0.2.1");  // IPv6 first; then as the server ordered
  assert_int_equal(found->addresses[0].ttl.count(), 3600);
  assert_int_equal(found->addresses[1].ttl.count(), 60);
  assert_text(f.text_of(f.resolve("NAS.lan.")), "2001:db8::1 192.0.2.2 192.0.2.1");
}

void one_family_alone_is_asked_when_one_is_wanted(void** state) {
  Fixture& f = of(state);
  f.server.add("nas.lan", "192.0.2.1");
  f.server.add("nas.lan", "2001:db8::1");
  assert_text(f.text_of(f.resolve("nas.lan", AddressFamily::v4)), "192.0.2.1");
  assert_int_equal(f.asked_about("udp AAAA nas.lan"), 0);
  assert_text(f.text_of(f.resolve("nas.lan", AddressFamily::v6)), "2001:db8::1");
  assert_int_equal(f.asked_about("udp A nas.lan"), 1);
}

void an_alias_shortens_the_ttl(void** state) {
  Fixture& f = of(state);
  f.server.add_alias("www.example", "host.example", 30);
  f.server.add("host.example", "192.0.2.1", 300);
  const ResolveResult found = f.resolve("www.example", AddressFamily::v4);
  assert_text(f.text_of(found), "192.0.2.1");
  assert_int_equal(found->addresses[0].ttl.count(), 30);
}

void a_ttl_with_its_highest_bit_set_is_zero(void** state) {
  Fixture& f = of(state);
  f.server.add("nas.lan", "192.0.2.1", 0x80000001U);
  const ResolveResult found = f.resolve("nas.lan", AddressFamily::v4);
  assert_text(f.text_of(found), "192.0.2.1");
  assert_int_equal(found->addresses[0].ttl.count(), 0);
}

void a_truncated_answer_is_asked_for_over_tcp(void** state) {
  Fixture& f = of(state);
  std::string expected;
  for (int i = 1; i <= 60; ++i) {
    f.server.add("many.lan", fmt::format("192.0.2.{}", i));
    expected += fmt::format("{}192.0.2.{}", i == 1 ? "" : " ", i);
  }
  f.server.behave("many.lan", DnsType::any, DnsBehaviour::truncate);
  assert_text(f.text_of(f.resolve("many.lan", AddressFamily::v4)), expected);
  assert_int_equal(f.asked_about("tcp A many.lan"), 1);
}

void an_answer_has_bounds(void** state) {
  Fixture& f = of(state);
  for (int i = 1; i <= 200; ++i) f.server.add("many.lan", fmt::format("192.0.2.{}", i));
  f.server.behave("many.lan", DnsType::any, DnsBehaviour::truncate);
  assert_int_equal(f.resolve("many.lan", AddressFamily::v4)->addresses.size(), 64);
}

void addresses_are_answered_without_a_query(void** state) {
  Fixture& f = of(state);
  assert_text(f.text_of(f.resolve("192.0.2.7")), "192.0.2.7");
  assert_text(f.text_of(f.resolve("2001:db8::7")), "2001:db8::7");
  assert_text(f.text_of(f.resolve("::ffff:192.0.2.7", AddressFamily::v4)), "192.0.2.7");
  assert_text(f.text_of(f.resolve("192.0.2.7", AddressFamily::v6)), "name_not_found: it is an IPv4 address");
  for (const char* no_name :
       {"300.1.2.3", "192.0.2.7:80", "[::1]", "[::1]:80", "", ".", "a..b", "a b", "1234", "x:y"}) {
    assert_text(f.text_of(f.resolve(no_name)), "name_not_found: not a host name");
  }
  assert_text(f.text_of(f.resolve(std::string(64, 'a') + ".lan")), "name_not_found: not a host name");
  assert_true(f.server.questions().empty());
}

void localhost_is_this_machine(void** state) {
  Fixture& f = of(state);
  f.server.add("x.localhost", "192.0.2.66");
  assert_text(f.text_of(f.resolve("x.Localhost.")), "::1 127.0.0.1");
  assert_text(f.text_of(f.resolve("localhost", AddressFamily::v4)), "127.0.0.1");
  assert_true(f.server.questions().empty());
}

void the_search_list_is_used(void** state) {
  Fixture& f = of(state);
  f.options.resolv_conf = f.folder.write("search.conf", "nameserver 127.0.0.1\nsearch home.arpa\n");
  f.server.add("nas.home.arpa", "192.0.2.1");
  assert_text(f.text_of(f.resolve("nas", AddressFamily::v4)), "192.0.2.1");
}

void servers_come_from_resolv_conf_and_are_read_again(void** state) {
  Fixture& f = of(state);
  f.options.servers.clear();
  // Addresses of this machine that nothing answers on: only whom it asks is looked at.
  f.options.resolv_conf = f.folder.write("changing.conf", "nameserver 127.0.0.71\n");
  f.options.timeout = 50ms;
  f.options.tries = 1;
  assert_true(f.text_of(f.resolve("nas.lan")).ends_with("(asked 127.0.0.71)"));
  f.folder.write("changing.conf", "nameserver 127.0.0.72\nnameserver ::1\n");
  assert_true(f.text_of(f.resolve("nas.lan")).ends_with("(asked 127.0.0.72, ::1)"));
}

void a_lookup_under_way_ends_with_the_servers_it_began_with(void** state) {
  Fixture& f = of(state);
  f.server.add("slow.lan", "192.0.2.1");
  f.server.delay("slow.lan", std::chrono::milliseconds(300));
  f.make();
  std::string seen;
  f.handles.push_back(
      f.resolver->resolve("slow.lan", AddressFamily::any, [&](ResolveResult r) { seen = f.text_of(r); }));
  f.folder.write("resolv.conf", "nameserver 127.0.0.1\nsearch home.arpa\n");
  f.server.add("nas.home.arpa", "192.0.2.2");
  assert_text(f.text_of(f.resolve("nas", AddressFamily::v4)), "192.0.2.2");
  while (seen.empty()) f.loop.turn(true);
  assert_text(seen, "192.0.2.1");
  assert_int_equal(f.resolver->under_way(), 0);
}

// ---- How it fails --------------------------------------------------------------------------------------------

void failures_have_their_words(void** state) {
  Fixture& f = of(state);
  f.options.tries = 2;
  f.server.add("v4.lan", "192.0.2.1");
  assert_text(f.text_of(f.resolve("nobody.lan")), "name_not_found: name not found" + f.asked());
  assert_text(f.text_of(f.resolve("v4.lan", AddressFamily::v6)),
              "name_not_found: the name has no IPv6 address" + f.asked());
  f.server.behave("broken.lan", DnsType::any, DnsBehaviour::server_failure);
  assert_text(f.text_of(f.resolve("broken.lan")), "refused: every server refused or failed" + f.asked());
  f.server.behave("closed.lan", DnsType::any, DnsBehaviour::refuse);
  assert_text(f.text_of(f.resolve("closed.lan")), "refused: every server refused or failed" + f.asked());
}

void silence_times_out(void** state) {
  Fixture& f = of(state);
  f.options.timeout = 50ms;
  f.options.tries = 2;
  f.server.behave("silent.lan", DnsType::any, DnsBehaviour::silence);
  assert_text(f.text_of(f.resolve("silent.lan", AddressFamily::v4)), "timed_out: timed out" + f.asked());
  assert_int_equal(f.asked_about("udp A silent.lan"), 2);
}

void a_lookup_ends_at_its_deadline(void** state) {
  Fixture& f = of(state);
  f.options.timeout = 60s;
  f.options.deadline = 200ms;
  f.server.behave("silent.lan", DnsType::any, DnsBehaviour::silence);
  assert_text(f.text_of(f.resolve("silent.lan")), "timed_out: timed out after 0.2 s" + f.asked());
}

void silence_about_one_family_does_not_hide_the_other(void** state) {
  Fixture& f = of(state);
  f.options.timeout = 300ms;
  f.options.tries = 100;  // it would be years
  f.options.deadline = 24h;
  f.server.add("nas.lan", "192.0.2.1");
  f.server.behave("nas.lan", DnsType::aaaa, DnsBehaviour::silence);
  assert_text(f.text_of(f.resolve("nas.lan")), "192.0.2.1");
}

void failing_for_one_family_is_not_being_absent(void** state) {
  Fixture& f = of(state);
  f.options.tries = 1;
  f.server.add("half.lan", "2001:db8::1");
  f.server.behave("half.lan", DnsType::aaaa, DnsBehaviour::server_failure);
  assert_text(f.text_of(f.resolve("half.lan")), "refused: every server refused or failed" + f.asked());
}

void garbage_and_forged_answers_are_not_believed(void** state) {
  Fixture& f = of(state);
  f.options.timeout = 50ms;
  f.options.tries = 2;
  f.server.add("forged.lan", "192.0.2.66");
  f.server.behave("forged.lan", DnsType::any, DnsBehaviour::wrong_id);
  assert_text(f.text_of(f.resolve("forged.lan")), "timed_out: timed out" + f.asked());
  f.server.behave("garbage.lan", DnsType::any, DnsBehaviour::garbage);
  assert_false(f.resolve("garbage.lan").has_value());
}

void nobody_listening_is_refused(void** state) {
  Fixture& f = of(state);
  std::optional<DnsServer> gone(std::in_place);
  const std::string where = gone->where();
  f.options.servers = {*Address::parse(where)};
  gone.reset();
  f.options.timeout = 200ms;
  assert_text(f.text_of(f.resolve("nas.lan")), "refused: every server refused or failed (asked " + where + ")");
}

void lookups_have_a_bound(void** state) {
  Fixture& f = of(state);
  f.options.max_lookups = 3;
  f.server.behave("silent.lan", DnsType::any, DnsBehaviour::silence);
  f.make();
  int answers = 0;
  for (int i = 0; i < 3; ++i) {
    f.handles.push_back(f.resolver->resolve("silent.lan", AddressFamily::any, [&](ResolveResult) { ++answers; }));
  }
  assert_text(f.text_of(f.resolve("nas.lan")), "system: 3 lookups are under way already");
  assert_text(f.text_of(f.resolve("192.0.2.1")), "192.0.2.1");
  assert_int_equal(answers, 0);
}

// ---- What may happen meanwhile -------------------------------------------------------------------------------

void a_callback_never_comes_from_inside(void** state) {
  Fixture& f = of(state);
  f.make();
  int answers = 0;
  for (const char* name : {"192.0.2.1", "localhost", "not a name", "nobody.lan"}) {
    f.handles.push_back(f.resolver->resolve(name, AddressFamily::any, [&](ResolveResult) { ++answers; }));
    assert_true(f.handles.back().pending());
  }
  assert_int_equal(answers, 0);
  while (answers < 4) f.loop.turn(true);
  for (const ResolveHandle& handle : f.handles) assert_false(handle.pending());
  assert_int_equal(f.resolver->under_way(), 0);
}

void a_cancelled_lookup_is_silent(void** state) {
  Fixture& f = of(state);
  f.server.add("nas.lan", "192.0.2.1");
  f.make();
  bool called = false;
  auto held = std::make_shared<int>(0);
  const auto callback = [&called, held](ResolveResult) { called = true; };
  {
    const ResolveHandle dropped = f.resolver->resolve("nas.lan", AddressFamily::any, callback);
  }
  ResolveHandle cancelled = f.resolver->resolve("192.0.2.1", AddressFamily::any, callback);
  ResolveHandle moved = std::move(cancelled);
  assert_true(moved.pending());
  moved.cancel();
  ResolveHandle replaced = f.resolver->resolve("nas.lan", AddressFamily::any, callback);
  replaced = ResolveHandle();
  assert_int_equal(held.use_count(), 2);  // this one and the callback's own: what they held went with them
  while (f.resolver->under_way() > 0) f.loop.turn(true);
  f.turn_for(20ms);
  assert_false(called);
}

void a_resolver_that_goes_is_silent(void** state) {
  Fixture& f = of(state);
  f.server.add("nas.lan", "192.0.2.1");
  f.make();
  bool called = false;
  for (const char* name : {"nas.lan", "192.0.2.1", "other.lan"}) {
    f.handles.push_back(f.resolver->resolve(name, AddressFamily::any, [&](ResolveResult) { called = true; }));
  }
  f.resolver.reset();
  assert_false(f.handles[0].pending());
  f.turn_for(50ms);
  assert_false(called);
  f.handles.clear();
}

void a_callback_may_end_everything(void** state) {
  Fixture& f = of(state);
  f.server.add("nas.lan", "192.0.2.1");
  f.make();
  int answers = 0;
  const auto end = [&](ResolveResult) {
    ++answers;
    f.resolver.reset();
    f.handles.clear();
  };
  for (int i = 0; i < 8; ++i) {
    f.handles.push_back(f.resolver->resolve(i % 2 ? "nas.lan" : "192.0.2.1", AddressFamily::any, end));
  }
  while (answers == 0) f.loop.turn(true);
  f.turn_for(50ms);
  assert_int_equal(answers, 1);
}

void a_callback_may_resolve_again_and_others_get_their_turn(void** state) {
  Fixture& f = of(state);
  f.server.add("nas.lan", "192.0.2.1");
  f.make();
  bool other = false;
  int again = 0;
  std::function<void(ResolveResult)> next = [&](ResolveResult) {
    ++again;
    ResolveHandle handle = f.resolver->resolve("192.0.2.1", AddressFamily::any, next);
    f.handles[0] = std::move(handle);
  };
  f.handles.push_back(f.resolver->resolve("192.0.2.1", AddressFamily::any, next));
  f.handles.push_back(f.resolver->resolve("nas.lan", AddressFamily::any, [&](ResolveResult) { other = true; }));
  while (!other) f.loop.turn(true);
  assert_true(again > 0);
}

void many_at_once_are_all_answered(void** state) {
  Fixture& f = of(state);
  f.make();
  int right = 0;
  for (int i = 0; i < 200; ++i) f.server.add(fmt::format("host{}.lan", i), fmt::format("192.0.2.{}", i));
  int answers = 0;
  for (int i = 0; i < 200; ++i) {
    f.handles.push_back(
        f.resolver->resolve(fmt::format("host{}.lan", i), AddressFamily::any, [&, i](ResolveResult found) {
          ++answers;
          right += f.text_of(found) == fmt::format("192.0.2.{}", i);
        }));
  }
  while (answers < 200) f.loop.turn(true);
  assert_int_equal(right, 200);
  assert_int_equal(f.resolver->under_way(), 0);
}

}  // namespace

int main() {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
  const CMUnitTest tests[] = {
      TEST(both_families_are_found_with_their_ttl),
      TEST(one_family_alone_is_asked_when_one_is_wanted),
      TEST(an_alias_shortens_the_ttl),
      TEST(a_ttl_with_its_highest_bit_set_is_zero),
      TEST(a_truncated_answer_is_asked_for_over_tcp),
      TEST(an_answer_has_bounds),
      TEST(addresses_are_answered_without_a_query),
      TEST(localhost_is_this_machine),
      TEST(the_search_list_is_used),
      TEST(servers_come_from_resolv_conf_and_are_read_again),
      TEST(a_lookup_under_way_ends_with_the_servers_it_began_with),
      TEST(failures_have_their_words),
      TEST(silence_times_out),
      TEST(a_lookup_ends_at_its_deadline),
      TEST(silence_about_one_family_does_not_hide_the_other),
      TEST(failing_for_one_family_is_not_being_absent),
      TEST(garbage_and_forged_answers_are_not_believed),
      TEST(nobody_listening_is_refused),
      TEST(lookups_have_a_bound),
      TEST(a_callback_never_comes_from_inside),
      TEST(a_cancelled_lookup_is_silent),
      TEST(a_resolver_that_goes_is_silent),
      TEST(a_callback_may_end_everything),
      TEST(a_callback_may_resolve_again_and_others_get_their_turn),
      TEST(many_at_once_are_all_answered),
  };
  return cmocka_run_group_tests_name("core.net.resolver", tests, nullptr, nullptr);
}
