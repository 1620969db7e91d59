#include "plugins/relay/settings.h"

#include "config/schema.h"
#include "config/value.h"
#include "plugins/relay/options.h"
#include "script/sandbox.h"
#include "support/cmocka.h"

#include <cstdio>
#include <optional>
#include <string>
#include <string_view>

using namespace portolan;
using namespace portolan::relay;
using namespace std::chrono_literals;

namespace {

// A service's table in Lua, read as core does: the schema first, then validate_settings when that had nothing to say.
struct Reading final : Problems {
  std::string problems;
  std::optional<RelaySettings> settings;

  explicit Reading(const std::string& keys, bool with_hook = false) {
    Sandbox sandbox({.memory = 1U << 20U});
    const auto run = sandbox.run("x.lua", "return {" + keys + "}", 1'000'000);
    const Value table = run ? read_value(sandbox.state(), -1).value_or(Value{}) : Value{};
    std::vector<Problem> found;
    Checker checker{found, "/s"};
    OptionTree options = OptionTree::read(table, kOptions, {}, checker);
    if (with_hook) options.add_hook("on_check");
    for (const Problem& problem : found) add(problem.path, problem.message);
    if (found.empty()) validate_settings(options, *this);
    if (problems.empty()) settings = read_settings(options);
  }
  void add(std::string_view key, std::string_view message) noexcept override {
    problems += std::string(key) + ": " + std::string(message) + "\n";
  }
};

constexpr std::string_view kTwo =
    "backends = { 'tcp://10.0.0.7:80', { address = 'tcp://nas.lan:81', name = 'nas' } }, ";

// Each configuration has exactly this problem; "" for none.
struct Case {
  std::string keys;
  std::string_view problem;
};
void check(const std::vector<Case>& cases, bool with_hook = false) {
  int wrong = 0;
  for (const Case& one : cases) {
    const Reading reading(one.keys, with_hook);
    const std::string wanted = one.problem.empty() ? "" : std::string(one.problem) + "\n";
    if (reading.problems == wanted) continue;
    std::fprintf(stderr, "%s\n  expected: %s\n  found:    %s\n", one.keys.c_str(), wanted.c_str(),
                 reading.problems.c_str());
    ++wrong;
  }
  assert_int_equal(wrong, 0);
}

void the_schema_makes_sense(void**) { assert_string_equal(check_schema(kOptions).c_str(), ""); }

void defaults_are_those_of_the_rules(void**) {
  const Reading reading{std::string(kTwo) + "health = {}"};
  assert_true(reading.settings.has_value());
  const RelaySettings& found = *reading.settings;
  HealthSettings health;
  health.active = true;
  assert_true(found.set.health == health);
  assert_true(found.set.passive == PassiveSettings{});
  assert_true(found.set.breaker == BreakerSettings{});
  const SetSettings set;
  assert_true(found.set.slow_start == set.slow_start && found.set.fail_open == set.fail_open);
  const RetrySettings retry;
  assert_int_equal(found.retry.attempts, retry.attempts);
  assert_true(found.retry.backoff == retry.backoff && found.retry.max_backoff == retry.max_backoff);
  assert_true(found.retry.deadline == retry.deadline && found.retry.budget == retry.budget);
  assert_true(found.retry.min_per_second == retry.min_per_second);
  const QueueSettings queue;
  assert_int_equal(found.queue.max, queue.max);
  assert_true(found.queue.timeout == queue.timeout);
  assert_true(found.balance.balance == BalanceSettings{}.balance && found.balance.hash_load == 0);
  assert_true(found.connect_timeout == 3s && found.check.timeout == CheckSettings{}.timeout);
  assert_true(found.check.kind == CheckKind::connect && found.check.passes(200) && !found.check.passes(404));
  BackendSettings first{.address = "tcp://10.0.0.7:80", .name = "10.0.0.7:80"};
  assert_true(found.set.backends.at(0) == first);
  assert_string_equal(found.set.backends.at(1).name.c_str(), "nas");
  const Reading unchecked{std::string(kTwo)};
  assert_false(unchecked.settings->set.health.active);
  assert_true(unchecked.settings->check.kind == CheckKind::none);
}

void what_is_written_is_read(void**) {
  const Reading reading(R"(
    backends = {
      { address = 'tls://nas.lan:443', name = 'nas', weight = 7, max_sessions = 9, rate = '5/s',
        tls = { name = 'nas', ca = 'ca.pem', certificate = 'c.pem', key = 'k.pem', verify = false,
                pins = { '47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=',
                         'LCa0a2j/xo/5m0U8HTBBNBNCLXBkg7+g+YpeiGJm564=' } } },
      { address = 'unix://x.sock', backup = true },
    },
    balance = 'hash', hash_load = 1.5, fail_open = false, slow_start = '20s', connect_timeout = '1s', attempts = 4,
    retry = { backoff = '1ms', max_backoff = '2ms', timeout = '3s', budget = 40, min_per_second = 5 },
    queue = { max = 6, timeout = '7s' },
    health = { check = 'http', every = '8s', every_down = '9s', timeout = '10s', rise = 11, fall = 12, initial = 'down',
               path = '/ok', host = 'h', status = { '204', '300-302' } },
    passive = { failures = 13, early_close = false, base = '14s', max = '15s', max_share = 16 },
    breaker = { failures = 17, window = '18s', reset_after = '19s', max_reset_after = '20s', trials = 21, successes = 22 })");
  assert_string_equal(reading.problems.c_str(), "");
  const RelaySettings& found = *reading.settings;
  assert_true(
      found.set.backends.at(0) ==
      (BackendSettings{.address = "tls://nas.lan:443", .name = "nas", .weight = 7, .max_sessions = 9, .rate = 5}));
  assert_true(found.set.backends.at(1) ==
              (BackendSettings{.address = "unix:///s/x.sock", .name = "/s/x.sock", .backup = true}));
  const TlsTarget tls = found.tls.at(0).target();
  assert_true(tls.name == "nas" && tls.ca == "ca.pem" && tls.certificate == "c.pem" && tls.key == "k.pem");
  assert_true(!tls.verify && tls.pins.size() == 89 && tls.pins[44] == ',');
  assert_true(found.tls.at(1).target().verify);
  // A handshake of which nothing was said.
  const Reading checks{"backends = { 'tcp://a:1', { address = 'tcp://a:2', tls = {} } }, health = { check = 'tls' }"};
  assert_true(!checks.settings->tls.at(0).verify && checks.settings->tls.at(1).verify);
  assert_true(found.balance.balance == Balance::hash && found.balance.hash_load == 1.5);
  assert_true(!found.set.fail_open && found.set.slow_start == 20s && found.connect_timeout == 1s);
  assert_true(found.retry.attempts == 4 && found.retry.backoff == 1ms && found.retry.max_backoff == 2ms);
  assert_true(found.retry.deadline == 3s && found.retry.budget == 0.4 && found.retry.min_per_second == 5);
  assert_true(found.queue.max == 6 && found.queue.timeout == 7s);
  assert_true(
      found.set.health ==
      (HealthSettings{.active = true, .initially_up = false, .every = 8s, .every_down = 9s, .rise = 11, .fall = 12}));
  assert_true(found.check.kind == CheckKind::http && found.check.timeout == 10s);
  assert_true(found.check.path == "/ok" && found.check.host == "h");
  assert_true(found.check.passes(204) && found.check.passes(302) && !found.check.passes(200));
  assert_true(found.set.passive ==
              (PassiveSettings{.failures = 13, .early_close = false, .base = 14s, .max = 15s, .max_share = 16}));
  assert_true(
      found.set.breaker ==
      (BreakerSettings{
          .failures = 17, .window = 18s, .reset_after = 19s, .max_reset_after = 20s, .trials = 21, .successes = 22}));
}

void backends_that_make_no_sense(void**) {
  check({
      {"",
       "backends: is missing: expected an address to connect to such as \"tcp://192.0.2.7:80\" or "
       "\"tcp://nas.lan:80\", or a table, or a list of such"},
      {"backends = {}", "backends: is empty: expected at least one, such as \"tcp://192.0.2.7:80\""},
      {"backends = 'tcp://10.0.0.7:80'", ""},
      {"backends = { address = 'tcp://10.0.0.7:80' }", ""},
      {"backends = { 'tcp://a:1', 'tcp://a:0' }", "backends[2]: \"tcp://a:0\": port 0 is nowhere to connect to"},
      {"backends = { 'tcp://a:1', 7 }",
       "backends[2]: expected an address to connect to such as \"tcp://192.0.2.7:80\" or \"tcp://nas.lan:80\", or a "
       "table, or a list of such, found the number 7"},
      {"backends = { { weight = 1 } }",
       "backends[1].address: is missing: expected an address to connect to such as "
       "\"tcp://192.0.2.7:80\" or \"tcp://nas.lan:80\""},
      {"backends = { { address = 'tcp://a:1', weight = 257 } }",
       "backends[1].weight: the number 257 is out of range: expected 0 to 256"},
      {"backends = { 'tcp://a:1', 'tcp://b:1', 'tcp://a:1' }",
       "backends[3]: has the address of backends[1], tcp://a:1: give that one a weight instead"},
      {"backends = { { address = 'tcp://a:1', name = 'b:1' }, 'tcp://b:1' }",
       "backends[2].name: \"b:1\" is the name of backends[1] already"},
      {"backends = { 'tcp://a:1', 'udp://a:2' }",
       "backends[2]: udp://a:2 and backends[1] are not of one kind: either all are udp:// or none is"},
      {"backends = { { address = 'tcp://a:1', tls = {} } }",
       "backends[1].tls: needs a tls:// address, and this one is tcp://a:1"},
      {"backends = { { address = 'tcp://a:1', tls = {} }, 'unix://x' }, health = { check = 'tls' }",
       "backends[2]: is unix://: health.check = \"tls\" needs tcp:// or tls://"},
      {"backends = { { address = 'tls://a:1', tls = { key = 'k' } } }",
       "backends[1].tls.certificate: is missing: a client certificate is a PEM file and one with its key"},
      {"backends = { { address = 'tls://a:1', tls = { pins = 'abc=' } } }",
       "backends[1].tls.pins[1]: is no SHA-256 in base64: expected 44 characters, the last of them \"=\""},
  });
}

void checks_that_make_no_sense(void**) {
  const std::string two(kTwo);
  const std::string udp = "backends = 'udp://10.0.0.7:53', ";
  check({
      {two + "health = { path = '/x' }", "health.path: needs check = \"http\""},
      {two + "health = { check = 'http', send = 'x' }", "health.send: needs check = \"send\" or \"udp\""},
      {two + "health = { check = 'send' }",
       "health.send: is missing: check = \"send\" needs what to send, or what to expect, or both"},
      {two + "health = { check = 'send', expect = '220' }", ""},
      {two + "health = { check = 'http', path = 'x' }",
       "health.path: expected a path such as \"/healthz\", without spaces"},
      {two + "health = { check = 'http', path = '/x HTTP/1.1\\r\\n' }",
       "health.path: expected a path such as \"/healthz\", without spaces"},
      {two + "health = { check = 'http', host = 'a\\nb' }", "health.host: expected the name of a host"},
      {two + "health = { check = 'http', status = { 200, '301-300' } }",
       "health.status[1]: expected text, or a list of such, found the number 200; text is written in quotes"},
      {two + "health = { check = 'http', status = { '200', '301-300' } }",
       "health.status[2]: expected a number from 100 to 599 or a range such as \"200-399\""},
      {two + "health = { check = 'http', status = '200-' }",
       "health.status[1]: expected a number from 100 to 599 or a range such as \"200-399\""},
      {two + "health = { check = 'http', status = {} }", "health.status: is empty: no answer would pass"},
      {two + "health = { check = 'hook' }", "on_check: is missing: health.check = \"hook\" calls it"},
      {two + "health = { check = 'udp', send = 'x' }", "health.check: \"udp\" needs backends that are udp://"},
      {udp + "health = {}", "health.check: expected \"udp\" or \"hook\": the backends are udp://"},
      {udp + "health = { check = 'udp' }",
       "health.send: is missing: check = \"udp\" needs a datagram that the backend answers"},
      {udp + "health = { check = 'udp', send = 'x' }", ""},
  });
  check({{two + "health = { check = 'hook' }", ""}, {udp + "health = { check = 'hook' }", ""}}, true);
}

void headers_are_for_streams(void**) {
  const Reading reading(R"(backends = { 'tcp://a:1', { address = 'tls://a:2', send_proxy = 'none' },
                                        { address = 'unix://a', send_proxy = 'v1' } },
                           send_proxy = 'v2', proxy_crc = true)");
  assert_string_equal(reading.problems.c_str(), "");
  const std::vector<SendProxySettings>& found = reading.settings->send_proxy;
  assert_int_equal(found.size(), 3);
  assert_true(found[0] == (SendProxySettings{SendProxy::v2, true}));
  assert_true(found[1].version == SendProxy::none && found[2].version == SendProxy::v1);
  const std::string two(kTwo);
  assert_true(Reading(two).settings->send_proxy[0] == SendProxySettings{});
  const std::string udp = "backends = { 'udp://a:1', ";
  check({
      {udp + "'udp://a:2' }, send_proxy = 'v2'", "send_proxy: is for streams, and the backends are udp://"},
      {udp + "{ address = 'udp://a:2', send_proxy = 'v1' } }",
       "backends[2].send_proxy: is for streams, and the backends are udp://"},
      {two + "send_proxy = 'v1', proxy_crc = true", "proxy_crc: needs send_proxy = \"v2\""},
      {two + "proxy_crc = false", ""},
  });
}

void numbers_that_contradict_each_other(void**) {
  const std::string two(kTwo);
  check({
      {two + "hash_load = 1.25", "hash_load: needs balance = \"hash\""},
      {two + "balance = 'hash', hash_load = 0.5",
       "hash_load: expected 0 or at least 1: below it not all sessions would have a backend"},
      {two + "retry = { backoff = '2s' }", "retry.backoff: is longer than retry.max_backoff"},
      {two + "passive = { base = '6m' }", "passive.base: is longer than passive.max"},
      {two + "breaker = { reset_after = '6m' }", "breaker.reset_after: is longer than breaker.max_reset_after"},
      {two + "balance = 'random'",
       "balance: expected one of \"round_robin\", \"random_two\", \"least_sessions\", \"hash\", \"first\", found the "
       "text \"random\"; did you mean \"random_two\"?"},
  });
}

void short_tables_are_described(void**) {
  assert_string_equal(type_text(kOptions[0]).c_str(), "list of addresses or tables");
  Option one = kOptions[0];
  one.list = false;
  assert_string_equal(type_text(one).c_str(), "address or table");
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test(the_schema_makes_sense),     cmocka_unit_test(defaults_are_those_of_the_rules),
      cmocka_unit_test(what_is_written_is_read),    cmocka_unit_test(backends_that_make_no_sense),
      cmocka_unit_test(checks_that_make_no_sense),  cmocka_unit_test(numbers_that_contradict_each_other),
      cmocka_unit_test(short_tables_are_described), cmocka_unit_test(headers_are_for_streams),
  };
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
