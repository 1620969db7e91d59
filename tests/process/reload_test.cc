// Reload under load: nothing refused, nothing reset, no byte lost, nothing leaked; and a mistake changes nothing.
#include "support/certificates.h"
#include "support/crowd.h"
#include "support/daemon.h"

#include <fmt/format.h>

#include <atomic>
#include <csignal>
#include <mutex>
#include <string>
#include <thread>

#include "support/cmocka.h"  // last: it defines fail()

using namespace portolan::testing;

namespace {

// Connects without pause, each time with a message, its answer and an orderly end.
class Visitor {
 public:
  explicit Visitor(std::string address) : address_(std::move(address)), thread_([this] { run(); }) {}
  ~Visitor() { stop(); }
  void stop() {
    stopping_ = true;
    if (thread_.joinable()) thread_.join();
  }
  long visits() const { return visits_; }
  std::string first_failure() {
    const std::lock_guard lock(mutex_);
    return failure_;
  }

 private:
  void run() {
    for (long number = 0; !stopping_; ++number) {
      Client client(address_);
      const std::string question = fmt::format("visit {}\nquit\n", number);
      std::string answer;
      if (client.send(question)) answer = client.receive_all();
      if (answer == fmt::format("VISIT {}\n", number) && client.end() == End::closed) {
        ++visits_;
        continue;
      }
      const std::lock_guard lock(mutex_);
      failure_ =
          fmt::format("visit {}: got \"{}\", then {} ({})", number, answer, to_text(client.end()), client.error());
      return;
    }
  }

  std::string address_;
  std::atomic<bool> stopping_ = false;
  std::atomic<long> visits_ = 0;
  std::mutex mutex_;
  std::string failure_;
  std::thread thread_;
};

struct Fixture {
  Daemon daemon;
  std::unique_ptr<Crowd> crowd;
  std::unique_ptr<Visitor> visitor;
};

int set_up(void** state) {
  *state = new Fixture;
  raise_descriptor_limit();
  return 0;
}

int tear_down(void** state) {
  auto* fixture = static_cast<Fixture*>(*state);
  fixture->visitor.reset();
  fixture->crowd.reset();
  const std::string wrong = fixture->daemon.end();
  if (!wrong.empty()) print_error("%s\n", wrong.c_str());
  delete fixture;
  return wrong.empty() ? 0 : -1;
}

Fixture& fixture_of(void** state) { return *static_cast<Fixture*>(*state); }

void reload(Daemon& daemon, const std::string& configuration) {
  daemon.configure(configuration);
  const CommandResult result = daemon.command({"reload"});
  if (result.code != 0) print_error("reload: %d %s\n", result.code, result.errors.c_str());
  assert_int_equal(result.code, 0);
}

long generation(Daemon& daemon) { return daemon.query({"status"}).at("generation").get<long>(); }

void under_load(Fixture& fixture, int workers) {
  Daemon& daemon = fixture.daemon;
  // Nothing that matters here changes, but it is another configuration each time.
  const auto configuration = [workers](int number) {
    return fmt::format(
        "return {{ workers = {}, drain_timeout = '60s', services = {{ {{ plugin = 'echo', name = 'echo', "
        "listen = 'tcp://127.0.0.1:0', mode = 'lines', transform = 'upper', max_sessions = 5000, "
        "max_sessions_per_client = 0, max_line = '{}KiB' }} }} }}",
        workers, 4 + number % 2);
  };
  daemon.start(configuration(0));
  const std::string address = daemon.address("echo");
  const int sessions = scaled(1000, 100);
  fixture.crowd = std::make_unique<Crowd>(address);
  assert_int_equal(fixture.crowd->open(static_cast<std::size_t>(sessions)), sessions);
  assert_int_equal(fixture.crowd->ask_all("first\n", "FIRST\n"), sessions);
  const long first_generation = generation(daemon);

  fixture.visitor = std::make_unique<Visitor>(address);
  const int reloads = scaled(200, 40);
  const Clock::time_point start = Clock::now();
  for (int number = 1; number <= reloads; ++number) {
    reload(daemon, configuration(number));
    // Nobody waits for long: there is a visit between any two reloads.
    const long visits = fixture.visitor->visits();
    wait_until([&] { return fixture.visitor->visits() > visits || !fixture.visitor->first_failure().empty(); });
    assert_string_equal(fixture.visitor->first_failure().c_str(), "");
    assert_true(fixture.visitor->visits() > visits);
    if (number % 20 == 0) {
      const std::size_t good = fixture.crowd->ask_all("still\n", "STILL\n");
      if (good != static_cast<std::size_t>(sessions)) {
        print_error("after %d reloads: %s\n", number, fixture.crowd->error().c_str());
      }
      assert_int_equal(good, sessions);
    }
  }
  fixture.visitor->stop();
  print_message("%d reloads in %ld ms, %ld visits meanwhile\n", reloads, static_cast<long>(milliseconds_since(start)),
                fixture.visitor->visits());
  assert_string_equal(fixture.visitor->first_failure().c_str(), "");
  assert_int_equal(fixture.crowd->ask_all("at the end\n", "AT THE END\n"), sessions);
  assert_int_equal(generation(daemon), first_generation + reloads);
  fixture.crowd->close_all();
  // Nothing was miscounted on the way.
  assert_true(wait_until([&] { return daemon.counter("echo", "sessions_open") == 0; }));
  assert_int_equal(daemon.counter("echo", "refused"), 0);
}

void no_session_notices_200_reloads(void** state) { under_load(fixture_of(state), 1); }
void nor_with_two_workers(void** state) { under_load(fixture_of(state), 2); }

const char* const kTwoLetters =
    "return { services = { { plugin = 'echo', name = 'echo', listen = 'tcp://127.0.0.1:0', mode = 'lines', "
    "transform = 'upper' } } }";

void a_mistake_changes_nothing_and_is_told(void** state) {
  Daemon& daemon = fixture_of(state).daemon;
  daemon.start(kTwoLetters);
  Client session(daemon.address("echo"));
  assert_true(session.send("a\n"));
  assert_string_equal(session.receive_line().c_str(), "A\n");
  const long before = generation(daemon);

  const std::string mistakes[][2] = {
      {"return { services = { { plugin = 'echo', name = 'echo', listen = 'tcp://127.0.0.1:0', idle_timout = '1s' } } }",
       "idle_timeout"},
      {"return { services = {", "portolan.lua:1"},
      {"while true do end", "instruction"},
      // An address that something else holds: only binding can tell.
      {"return { services = { { plugin = 'echo', name = 'echo', listen = 'tcp://127.0.0.1:0' }, { plugin = 'echo', "
       "name "
       "= 'two', listen = '" +
           daemon.address("echo") + "' } } }",
       daemon.address("echo").substr(6)},
  };
  for (const auto& [text, reason] : mistakes) {
    daemon.configure(text);
    // The endless one is read to the end of its budget, which takes its time under an emulator.
    const CommandResult result = daemon.command({"reload"}, Milliseconds(120'000));
    if (result.code != 1 || result.errors.find(reason) == std::string::npos) {
      print_error("%s\n-> %d, %s\n", text.c_str(), result.code, result.errors.c_str());
    }
    assert_int_equal(result.code, 1);
    assert_non_null(strstr(result.errors.c_str(), reason.c_str()));
    assert_int_equal(generation(daemon), before);
    assert_true(session.send("b\n"));
    assert_string_equal(session.receive_line().c_str(), "B\n");
    Client fresh(daemon.address("echo"));
    assert_true(fresh.send("c\n"));
    assert_string_equal(fresh.receive_line().c_str(), "C\n");
  }
  // And SIGHUP with a mistake is logged.
  daemon.process().signal(SIGHUP);
  assert_true(wait_until([&] { return daemon.log_has("reload"); }));
  assert_int_equal(generation(daemon), before);
}

void new_sessions_get_the_new_ways_and_old_ones_keep_theirs(void** state) {
  Daemon& daemon = fixture_of(state).daemon;
  daemon.start(kTwoLetters);
  Client old(daemon.address("echo"));
  assert_true(old.send("a\n"));
  assert_string_equal(old.receive_line().c_str(), "A\n");
  daemon.configure(
      "return { services = { { plugin = 'echo', name = 'echo', listen = 'tcp://127.0.0.1:0', mode = "
      "'lines', transform = 'prefix', prefix = 'new: ' } } }");
  const long before = generation(daemon);
  daemon.process().signal(SIGHUP);
  assert_true(wait_until([&] { return generation(daemon) == before + 1; }));
  Client fresh(daemon.address("echo"));  // the same port
  assert_true(fresh.send("a\n"));
  assert_string_equal(fresh.receive_line().c_str(), "new: a\n");
}

void services_and_listeners_come_and_go(void** state) {
  Daemon& daemon = fixture_of(state).daemon;
  const std::string unix_path = daemon.folder().file("two.sock");
  daemon.start(kTwoLetters);
  reload(daemon, fmt::format("return {{ services = {{ {{ plugin = 'echo', name = 'echo', mode = 'lines', transform = "
                             "'upper', listen = {{ 'tcp://127.0.0.1:0', 'udp://127.0.0.1:0' }} }}, {{ plugin = 'echo', "
                             "name = 'two', listen = 'unix://{}' }} }} }}",
                             unix_path));
  Client first(daemon.address("echo"));
  assert_true(first.send("a\n"));
  assert_string_equal(first.receive_line().c_str(), "A\n");
  Client second("unix://" + unix_path);
  assert_true(second.send("raw"));
  assert_string_equal(second.receive(3).c_str(), "raw");
  // The new port is in the status.
  std::string udp;
  const Json status = daemon.query({"status"});
  for (const Json& service : status.at("services")) {
    for (const Json& listener : service.at("listeners")) {
      if (listener.get<std::string>().starts_with("udp://")) udp = listener.get<std::string>();
    }
  }
  Client datagrams(udp);
  assert_true(datagrams.send("b"));
  assert_string_equal(datagrams.receive_datagram().c_str(), "B");

  // One service goes: its address is free, its file is gone, the others serve on.
  reload(daemon, kTwoLetters);
  assert_true(wait_until([&] { return Client("unix://" + unix_path).end() == End::refused; }));
  assert_true(wait_until([&] { return ::access(unix_path.c_str(), F_OK) != 0; }));
  assert_true(first.connected());
  Client again(daemon.address("echo"));
  assert_true(again.send("a\n"));
  assert_string_equal(again.receive_line().c_str(), "A\n");
}

void fifty_reloads_leak_neither_descriptors_nor_threads(void** state) {
  Daemon& daemon = fixture_of(state).daemon;
  const auto configuration = [&daemon](int number) {
    return fmt::format(
        "return {{ workers = 2, services = {{ {{ plugin = 'echo', name = 'echo', mode = 'lines', "
        "listen = {{ 'tcp://127.0.0.1:0', 'udp://127.0.0.1:0', 'tls://127.0.0.1:0' }}, "
        "tls = {{ self_signed = true }}, on_line = function(line) return line .. '{}' end }}, "
        "{{ plugin = 'binary', name = 'bin{}', listen = 'unix://{}/{}.sock' }} }} }}",
        number, number % 2, daemon.folder().path(), number % 3);
  };
  daemon.start(configuration(0));
  // Each generation has sessions of its own when it is replaced.
  const ClientTls tls;
  const auto use = [&] {
    Client tcp(daemon.address("echo"));
    Client secret(daemon.address("echo", "tls"), {.tls = tls});
    assert_true(tcp.send("x\n") && secret.send("x\n"));
    assert_true(tcp.receive_line().starts_with("x"));
    assert_true(secret.receive_line().starts_with("x"));
  };
  for (int number = 1; number <= 6; ++number) {
    use();
    reload(daemon, configuration(number));
  }
  const auto settled = [&] {
    wait_until([&] { return daemon.counter("echo", "sessions_open") == 0; });
    ProcessFacts last = daemon.facts();
    // Five looks in a row: a machine that stands still between two of them shows nothing.
    int same = 0;
    wait_until([&] {
      let_pass(Milliseconds(50));
      const ProcessFacts now = daemon.facts();
      same = now.descriptors == last.descriptors && now.threads == last.threads ? same + 1 : 0;
      last = now;
      return same == 5;
    });
    return last;
  };
  const ProcessFacts before = settled();
  for (int number = 7; number < 57; ++number) {
    use();
    reload(daemon, configuration(number));
  }
  use();
  // 56 and 6 leave the same listeners behind.
  const ProcessFacts after = settled();
  print_message("descriptors %ld -> %ld, threads %ld -> %ld, resident %ld -> %ld KiB\n", before.descriptors,
                after.descriptors, before.threads, after.threads, before.resident_kib, after.resident_kib);
  assert_int_equal(after.descriptors, before.descriptors);
  assert_int_equal(after.threads, before.threads);
  if (test_scale() >= 1) assert_true(after.resident_kib - before.resident_kib < 4096);
}

void a_changed_certificate_is_shown_to_new_sessions(void** state) {
  Daemon& daemon = fixture_of(state).daemon;
  const Identity authority = make_authority("Test CA");
  const Identity first = issue(authority, "first.test");
  const Identity second = issue(authority, "second.test");
  const std::string certificate = daemon.folder().write("cert.pem", first.certificate);
  const std::string key = daemon.folder().write("key.pem", first.key);
  const std::string configuration = fmt::format(
      "return {{ services = {{ {{ plugin = 'echo', name = 'echo', listen = 'tls://127.0.0.1:0', tls = {{ "
      "certificate = '{}', key = '{}' }} }} }} }}",
      certificate, key);
  daemon.start(configuration);
  const ClientTls tls({.authority = authority.certificate});
  Client old(daemon.address("echo", "tls"), {.tls = tls});
  assert_string_equal(peer_name(old.tls()).c_str(), "first.test");

  // A key without its certificate: refused, the first pair goes on.
  daemon.folder().write("key.pem", second.key);
  assert_int_equal(daemon.command({"reload"}).code, 1);
  Client still(daemon.address("echo", "tls"), {.tls = tls});
  assert_string_equal(peer_name(still.tls()).c_str(), "first.test");

  daemon.folder().write("cert.pem", second.certificate);
  reload(daemon, configuration);
  Client fresh(daemon.address("echo", "tls"), {.tls = tls});
  assert_string_equal(peer_name(fresh.tls()).c_str(), "second.test");
  assert_true(fresh.send("x"));
  assert_string_equal(fresh.receive(1).c_str(), "x");
}

}  // namespace

int main() {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
  const CMUnitTest tests[] = {
      TEST(no_session_notices_200_reloads),
      TEST(nor_with_two_workers),
      TEST(a_mistake_changes_nothing_and_is_told),
      TEST(new_sessions_get_the_new_ways_and_old_ones_keep_theirs),
      TEST(services_and_listeners_come_and_go),
      TEST(fifty_reloads_leak_neither_descriptors_nor_threads),
      TEST(a_changed_certificate_is_shown_to_new_sessions),
  };
  return cmocka_run_group_tests_name("process.reload", tests, nullptr, nullptr);
}
