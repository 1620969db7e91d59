// The cache of names over a real loop, a real resolver and a server on loopback. Times are short, and what is looked at is
// what is asked and answered, not when.
#include "net/name_cache.h"

#include "base/net_error.h"

#include "support/dns_server.h"
#include "support/temporary_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
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
using portolan::testing::kPatience;
using portolan::testing::TemporaryFolder;

namespace {

using Found = std::expected<CachedName, ResolveFailure>;

std::string text_of(const CachedName& name) {
  std::string text;
  for (const Address& address : name.addresses) text += (text.empty() ? "" : " ") + address.host();
  return text + (name.stale ? " stale" : "");
}
// "192.0.2.1 192.0.2.2", "192.0.2.1 stale", or the taxonomy's word.
std::string text_of(const Found& found) {
  return found ? text_of(*found) : std::string(to_string(found.error().error));
}

struct Fixture {
  Fixture() {
    resolving.servers = {*Address::parse(server.where())};
    resolving.resolv_conf = folder.write("resolv.conf", "nameserver 127.0.0.1\n");
    resolving.tries = 1;
    resolving.timeout = 60s;
    resolving.deadline = 120s;
  }
  void make() {
    resolver = std::make_unique<Resolver>(loop, resolving);
    cache = std::make_unique<NameCache>(loop, *resolver, options);
  }
  // Turns the loop until it holds.
  void until(const std::function<bool()>& condition) {
    bool over = false;
    LoopTimer guard(loop, [&over] { over = true; });
    guard.start(kPatience);
    LoopTimer look(loop, [] {});
    look.start(2ms, true);
    while (!condition()) {
      assert_false(over);
      loop.turn(true);
    }
  }
  void turn_for(Duration time) {
    const Duration end = Loop::now() + time;
    until([end] { return Loop::now() >= end; });
  }
  std::string look_up(std::string_view name, AddressFamily family = AddressFamily::v4) {
    if (!cache) make();
    std::optional<std::string> text;
    const NameHandle handle = cache->lookup(name, family, [&](const Found& found) { text = text_of(found); });
    assert_false(text.has_value());
    until([&] { return text.has_value(); });
    assert_false(handle.pending());
    return *text;
  }
  // What is known at once; empty: nothing.
  std::string known(std::string_view name, AddressFamily family = AddressFamily::v4) {
    const CachedName* const found = cache->find(name, family);
    return found ? text_of(*found) : std::string();
  }
  void lookups(int count, std::string_view name, const CachedNameCallback& callback) {
    for (int i = 0; i < count; ++i) handles.push_back(cache->lookup(name, AddressFamily::v4, callback));
  }
  std::size_t asked() const { return server.questions().size(); }
  NameStatus status() const { return cache->list().at(0); }
  bool expired() const { return status().left < Duration::zero() && !status().under_way; }
  void change(const std::string& name, const std::string& address) {
    server.remove(name);
    server.add(name, address);
  }

  TemporaryFolder folder;
  DnsServer server;
  Loop loop;
  ResolverOptions resolving;
  NameCacheOptions options;
  std::unique_ptr<Resolver> resolver;
  std::unique_ptr<NameCache> cache;
  std::vector<NameHandle> handles;
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

// ---- What is kept --------------------------------------------------------------------------------------------

void a_known_name_is_not_asked_about(void** state) {
  Fixture& f = of(state);
  f.server.add("nas.lan", "192.0.2.2");
  f.server.add("nas.lan", "192.0.2.1");
  f.server.add("nas.lan", "2001:db8::1");
  f.make();
  assert_null(f.cache->find("nas.lan", AddressFamily::v4));
  assert_text(f.look_up("nas.lan"), "192.0.2.2 192.0.2.1");
  assert_text(f.known("NAS.lan"), "192.0.2.2 192.0.2.1");
  assert_text(f.look_up("Nas.Lan"), "192.0.2.2 192.0.2.1");
  assert_int_equal(f.asked(), 1);
  assert_text(f.known("nas.lan", AddressFamily::any), "");
  assert_text(f.look_up("nas.lan", AddressFamily::any), "2001:db8::1 192.0.2.2 192.0.2.1");
  assert_int_equal(f.cache->size(), 2);
  assert_text(f.status().name, "nas.lan");
  assert_true(f.status().left > 200s && f.status().left <= 300s);
  f.cache->clear();
  assert_int_equal(f.cache->size(), 0);
  assert_null(f.cache->find("nas.lan", AddressFamily::v4));
}

void times_have_bounds(void** state) {
  Fixture& f = of(state);
  f.options.min_ttl = 100s;
  f.options.max_ttl = 1000s;
  f.server.add("short.lan", "192.0.2.1", 0);
  f.server.add("long.lan", "192.0.2.1", 86'400);
  f.server.add("both.lan", "192.0.2.1", 86'400);
  f.server.add("both.lan", "192.0.2.2", 500);
  const auto left = [&](std::string_view name) {
    f.look_up(name);
    return f.status().left;
  };
  assert_true(left("short.lan") > 50s && left("short.lan") <= 100s);
  assert_true(left("long.lan") > 900s && left("long.lan") <= 1000s);
  assert_true(left("both.lan") > 400s && left("both.lan") <= 500s);
  // What no server has told a time for is kept for the least.
  assert_true(left("127.0.0.1") > 50s && left("127.0.0.1") <= 100s);
  assert_true(left("x.localhost") > 50s && left("x.localhost") <= 100s);
}

void an_expired_name_is_asked_about_again(void** state) {
  Fixture& f = of(state);
  f.options.min_ttl = 1ms;
  f.options.max_ttl = 20ms;
  f.server.add("nas.lan", "192.0.2.1");
  assert_text(f.look_up("nas.lan"), "192.0.2.1");
  f.until([&] { return f.expired(); });
  f.change("nas.lan", "192.0.2.2");
  assert_text(f.known("nas.lan"), "");  // nothing has failed: the right answer is worth the question
  assert_text(f.look_up("nas.lan"), "192.0.2.2");
}

void what_does_not_exist_is_kept_for_a_while(void** state) {
  Fixture& f = of(state);
  f.options.negative_ttl = 60s;
  f.server.behave("broken.lan", DnsType::any, DnsBehaviour::server_failure);
  for (int i = 0; i < 3; ++i) assert_text(f.look_up("nobody.lan"), "name_not_found");
  assert_int_equal(f.asked(), 1);
  assert_null(f.cache->find("nobody.lan", AddressFamily::v4));
  assert_true(f.status().failure.starts_with("name not found"));
  assert_text(f.look_up("broken.lan"), "refused");
  const std::size_t asked = f.asked();
  assert_text(f.look_up("broken.lan"), "refused");
  assert_int_equal(f.asked(), asked);
  assert_text(f.look_up(std::string(300, 'a')), "name_not_found");

  f.options.negative_ttl = 10ms;
  f.make();
  assert_text(f.look_up("later.lan"), "name_not_found");
  f.server.add("later.lan", "192.0.2.1");
  f.until([&] { return f.look_up("later.lan") == "192.0.2.1"; });
}

void a_local_failure_is_not_kept(void** state) {
  Fixture& f = of(state);
  f.options.negative_ttl = 60s;
  f.resolving.max_lookups = 1;
  f.server.add("slow.lan", "192.0.2.1");
  f.server.add("nas.lan", "192.0.2.2");
  f.server.delay("slow.lan", 100ms);
  f.make();
  bool done = false;
  f.lookups(1, "slow.lan", [&](const Found&) { done = true; });
  assert_text(f.look_up("nas.lan"), "system");
  f.until([&] { return done; });
  assert_text(f.look_up("nas.lan"), "192.0.2.2");
}

void the_least_recently_used_is_forgotten(void** state) {
  Fixture& f = of(state);
  f.options.max_names = 3;
  for (const char* name : {"a.lan", "b.lan", "c.lan", "d.lan"}) f.server.add(name, "192.0.2.1");
  for (const char* name : {"a.lan", "b.lan", "c.lan"}) f.look_up(name);
  assert_text(f.known("a.lan"), "192.0.2.1");
  f.look_up("d.lan");
  assert_int_equal(f.cache->size(), 3);
  assert_text(f.known("b.lan"), "");
  for (const char* name : {"a.lan", "c.lan", "d.lan"}) assert_text(f.known(name), "192.0.2.1");
  // Those that somebody waits for stay, and are too many for a while.
  int answers = 0;
  for (int i = 0; i < 6; ++i) {
    const std::string name = fmt::format("slow{}.lan", i);
    f.server.add(name, "192.0.2.1");
    f.server.delay(name, 30ms);
    f.lookups(1, name, [&](const Found& found) { answers += text_of(found) == "192.0.2.1"; });
  }
  assert_int_equal(f.cache->size(), 6);
  f.until([&] { return answers == 6; });
  f.look_up("a.lan");
  assert_int_equal(f.cache->size(), 3);
}

// ---- One question for all ------------------------------------------------------------------------------------

void many_wait_for_one_question(void** state) {
  Fixture& f = of(state);
  f.server.add("nas.lan", "192.0.2.1");
  f.server.delay("nas.lan", 50ms);
  f.make();
  int right = 0;
  f.lookups(100, "nas.lan", [&](const Found& found) { right += text_of(found) == "192.0.2.1"; });
  // Those who give up are not called, and do not hinder the others.
  for (int i = 0; i < 100; i += 2) f.handles[static_cast<std::size_t>(i)].cancel();
  for (int i = 0; i < 1000; ++i) {
    const NameHandle gone = f.cache->lookup("nas.lan", AddressFamily::v4, [&](const Found&) { right += 1000; });
  }
  f.until([&] { return right >= 50; });
  assert_int_equal(right, 50);
  assert_int_equal(f.asked(), 1);
}

void a_name_in_use_is_refreshed_ahead(void** state) {
  Fixture& f = of(state);
  f.options.min_ttl = 1ms;
  f.options.max_ttl = 200ms;
  f.server.add("nas.lan", "192.0.2.1");
  std::size_t looked_up = 0;
  const auto use = [&] {
    std::string text = f.known("nas.lan");
    if (!text.empty()) return text;
    ++looked_up;  // the first time; and when the machine stood still for longer than the name is kept
    return f.look_up("nas.lan");
  };
  f.make();
  f.until([&] {
    assert_text(use(), "192.0.2.1");
    return f.asked() >= looked_up + 3;
  });
  f.change("nas.lan", "192.0.2.2");
  f.until([&] { return use() == "192.0.2.2"; });
}

void a_name_not_in_use_is_left_alone(void** state) {
  Fixture& f = of(state);
  f.options.min_ttl = 1ms;
  f.options.max_ttl = 20ms;
  f.server.add("nas.lan", "192.0.2.1");
  f.look_up("nas.lan");
  f.until([&] { return f.expired(); });
  f.turn_for(100ms);
  assert_true(f.asked() <= 2);  // by the lookup, and once ahead since that was a use
  assert_true(f.expired());
}

// ---- Stale answers -------------------------------------------------------------------------------------------

void a_stale_answer_is_better_than_none(void** state) {
  Fixture& f = of(state);
  f.options.min_ttl = 1ms;
  f.options.max_ttl = 20ms;
  f.options.negative_ttl = 10ms;
  f.server.add("nas.lan", "192.0.2.1");
  assert_text(f.look_up("nas.lan"), "192.0.2.1");
  f.server.behave("nas.lan", DnsType::any, DnsBehaviour::server_failure);
  f.until([&] { return f.look_up("nas.lan") == "192.0.2.1 stale"; });
  assert_text(f.known("nas.lan"), "192.0.2.1 stale");
  assert_true(f.status().failure.starts_with("every server refused"));
  // It is still asked about, by find() alone, and recovers.
  f.change("nas.lan", "192.0.2.2");
  f.server.behave("nas.lan", DnsType::any, DnsBehaviour::answer);
  f.until([&] { return f.known("nas.lan") == "192.0.2.2"; });
  // That a name is gone is an answer.
  f.server.remove("nas.lan");
  f.until([&] { return f.look_up("nas.lan") == "name_not_found"; });
  assert_text(f.known("nas.lan"), "");
}

void a_stale_answer_does_when_dns_is_slow(void** state) {
  Fixture& f = of(state);
  f.options.min_ttl = 1ms;
  f.options.max_ttl = 20ms;
  f.options.stale_after = 30ms;
  f.server.add("nas.lan", "192.0.2.1");
  assert_text(f.look_up("nas.lan"), "192.0.2.1");
  f.until([&] { return f.expired(); });
  f.server.behave("nas.lan", DnsType::any, DnsBehaviour::silence);
  int stale = 0;
  f.lookups(5, "nas.lan", [&](const Found& found) { stale += text_of(found) == "192.0.2.1 stale"; });
  f.until([&] { return stale == 5; });
  assert_true(f.status().under_way);
  assert_text(f.known("nas.lan"), "192.0.2.1 stale");  // and at once from then on
  assert_text(f.look_up("nas.lan"), "192.0.2.1 stale");
}

void what_is_too_stale_is_not_given(void** state) {
  Fixture& f = of(state);
  f.options.min_ttl = 1ms;
  f.options.max_ttl = 20ms;
  f.options.max_stale = 20ms;
  f.server.add("nas.lan", "192.0.2.1");
  f.look_up("nas.lan");
  f.server.behave("nas.lan", DnsType::any, DnsBehaviour::server_failure);
  f.until([&] { return f.look_up("nas.lan") == "refused"; });
  assert_text(f.known("nas.lan"), "");
}

// ---- What may happen meanwhile -------------------------------------------------------------------------------

void a_cancelled_lookup_is_silent_in_every_state(void** state) {
  Fixture& f = of(state);
  f.server.add("nas.lan", "192.0.2.1");
  f.make();
  int called = 0;
  auto held = std::make_shared<int>(0);
  const CachedNameCallback callback = [&called, held](const Found&) { ++called; };
  const long kept = held.use_count();
  // While DNS is asked: dropped, cancelled, moved, replaced. The answer is kept nevertheless.
  f.lookups(1, "nas.lan", callback);
  f.handles.clear();
  NameHandle first = f.cache->lookup("nas.lan", AddressFamily::v4, callback);
  NameHandle moved = std::move(first);
  assert_true(moved.pending());
  moved.cancel();
  NameHandle replaced = f.cache->lookup("nas.lan", AddressFamily::v4, callback);
  replaced = NameHandle();
  assert_int_equal(held.use_count(), kept);
  f.until([&] { return f.known("nas.lan") == "192.0.2.1"; });
  // Answered, and not yet called.
  NameHandle ready = f.cache->lookup("nas.lan", AddressFamily::v4, callback);
  ready.cancel();
  // By another's callback, which comes first.
  std::optional<NameHandle> other;
  bool ended = false;
  f.handles.push_back(f.cache->lookup("nas.lan", AddressFamily::v4, [&](const Found&) {
    other.reset();
    ended = true;
  }));
  other = f.cache->lookup("nas.lan", AddressFamily::v4, callback);
  f.until([&] { return ended; });
  // When it has been called; and from its own callback.
  f.handles[0].cancel();
  bool own = false;
  NameHandle self;
  self = f.cache->lookup("nas.lan", AddressFamily::v4, [&](const Found&) {
    self.cancel();
    own = true;
  });
  f.until([&] { return own; });
  f.turn_for(20ms);
  assert_int_equal(called, 0);
  assert_int_equal(held.use_count(), kept);
}

void a_cache_that_goes_is_silent(void** state) {
  Fixture& f = of(state);
  f.server.add("nas.lan", "192.0.2.1");
  f.server.add("other.lan", "192.0.2.1");
  f.make();
  f.look_up("nas.lan");
  bool called = false;
  auto own = std::make_shared<NameHandle>();
  f.lookups(1, "nas.lan", [&](const Found&) { called = true; });  // answered already
  f.lookups(2, "other.lan", [&](const Found&) { called = true; });
  *own = f.cache->lookup("other.lan", AddressFamily::v4, [&called, own](const Found&) { called = true; });
  f.cache.reset();
  for (const NameHandle& handle : f.handles) assert_false(handle.pending());
  f.until([&] { return f.resolver->under_way() == 0; });
  f.turn_for(20ms);
  assert_false(called);
}

void a_callback_may_end_everything(void** state) {
  Fixture& f = of(state);
  f.server.add("nas.lan", "192.0.2.1");
  for (const bool known : {false, true}) {
    f.make();
    if (known) f.look_up("nas.lan");
    int called = 0;
    f.lookups(8, "nas.lan", [&](const Found&) {
      ++called;
      f.cache.reset();
      f.resolver.reset();
    });
    f.until([&] { return called > 0; });
    f.turn_for(20ms);
    assert_int_equal(called, 1);
    for (const NameHandle& handle : f.handles) assert_false(handle.pending());
  }
}

void a_callback_may_forget_and_look_up_again(void** state) {
  Fixture& f = of(state);
  f.server.add("nas.lan", "192.0.2.1");
  f.server.add("slow.lan", "192.0.2.1");
  f.server.delay("slow.lan", 50ms);
  f.options.max_names = 2;
  f.make();
  bool other = false;
  int again = 0;
  f.handles.emplace_back();
  const std::function<void(const Found&)> next = [&](const Found& found) {
    assert_text(text_of(found), "192.0.2.1");
    ++again;
    f.cache->clear();
    f.handles[0] = f.cache->lookup(again % 2 ? "127.0.0.1" : "nas.lan", AddressFamily::v4, [&](const Found& more) {
      assert_true(more.has_value());
      f.handles[0] = f.cache->lookup("nas.lan", AddressFamily::v4, next);
    });
  };
  f.handles[0] = f.cache->lookup("nas.lan", AddressFamily::v4, next);
  f.lookups(1, "slow.lan", [&](const Found& found) { other = text_of(found) == "192.0.2.1"; });
  f.until([&] { return other; });
  assert_true(again > 0);
}

}  // namespace

int main() {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
  const CMUnitTest tests[] = {
      TEST(a_known_name_is_not_asked_about),
      TEST(times_have_bounds),
      TEST(an_expired_name_is_asked_about_again),
      TEST(what_does_not_exist_is_kept_for_a_while),
      TEST(a_local_failure_is_not_kept),
      TEST(the_least_recently_used_is_forgotten),
      TEST(many_wait_for_one_question),
      TEST(a_name_in_use_is_refreshed_ahead),
      TEST(a_name_not_in_use_is_left_alone),
      TEST(a_stale_answer_is_better_than_none),
      TEST(a_stale_answer_does_when_dns_is_slow),
      TEST(what_is_too_stale_is_not_given),
      TEST(a_cancelled_lookup_is_silent_in_every_state),
      TEST(a_cache_that_goes_is_silent),
      TEST(a_callback_may_end_everything),
      TEST(a_callback_may_forget_and_look_up_again),
  };
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
