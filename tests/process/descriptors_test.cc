// A daemon that has no file descriptor left: it waits without spinning, and goes on when there are some again.
#include "support/cpu_use.h"
#include "support/crowd.h"
#include "support/daemon.h"

#include <string>

#include "support/cmocka.h"  // last: it defines fail()

using namespace portolan::testing;

namespace {

bool answers(const std::string& address) {
  Client client(address);
  return client.send("hello\n") && client.receive_line() == "HELLO\n";
}

struct Fixture {
  Daemon daemon;
  std::unique_ptr<Crowd> crowd;
};

int set_up(void** state) {
  *state = new Fixture;
  return 0;
}

int tear_down(void** state) {
  auto* fixture = static_cast<Fixture*>(*state);
  fixture->crowd.reset();
  const std::string wrong = fixture->daemon.end();
  if (!wrong.empty()) print_error("%s\n", wrong.c_str());
  delete fixture;
  return wrong.empty() ? 0 : -1;
}

void exhaust_and_recover(Fixture& fixture, const std::string& core_options, const RunOptions& options) {
  Daemon& daemon = fixture.daemon;
  daemon.start("return { " + core_options +
                   " services = { { plugin = 'echo', name = 'echo', listen = 'tcp://127.0.0.1:0', mode = 'lines', "
                   "transform = 'upper' } } }",
               options);
  const std::string address = daemon.address("echo");
  assert_true(answers(address));

  fixture.crowd = std::make_unique<Crowd>(address);
  Crowd& crowd = *fixture.crowd;
  assert_int_equal(crowd.open(300), 300);  // the kernel's queue holds those that the daemon cannot accept
  // It has taken what it could when the number stays.
  long before = -1;
  int same = 0;  // a machine that stands still between two looks shows nothing
  assert_true(wait_until([&] {
    const long now = daemon.facts().descriptors;
    let_pass(Milliseconds(50));
    same = std::exchange(before, now) == now ? same + 1 : 0;
    return now > 20 && same == 3;
  }));
  print_message("%ld descriptors open at exhaustion\n", before);
  assert_true(before <= 100);

  const double share = cpu_share(daemon.pid());
  print_message("%.2f s of CPU in a second of exhaustion\n", share);
  assert_true(share < kIdleCpuShare);

  // Those inside are served meanwhile: the first ones that came.
  crowd.send_all("ping\n");

  // When some leave, some of those that waited are let in: more answers than descriptors come in the end.
  crowd.close_all();
  assert_true(wait_until([&] { return answers(address); }));
  assert_true(wait_until([&] { return daemon.counter("echo", "sessions_open") <= 1; }));
  assert_true(daemon.query({"status"}).at("accept_pauses").get<long>() >= 1);
}

void the_option_bounds_the_descriptors(void** state) {
  exhaust_and_recover(*static_cast<Fixture*>(*state), "max_descriptors = 64,", {});
}

void the_limit_of_the_system_bounds_them_too(void** state) {
  exhaust_and_recover(*static_cast<Fixture*>(*state), "", {.descriptor_limit = 64});
}

void with_two_workers_both_wait_without_spinning(void** state) {
  exhaust_and_recover(*static_cast<Fixture*>(*state), "workers = 2,", {.descriptor_limit = 64});
}

// Those that wait in the kernel's queue are served as soon as others leave, without connecting again.
void those_who_wait_are_served_when_others_leave(void** state) {
  auto& fixture = *static_cast<Fixture*>(*state);
  Daemon& daemon = fixture.daemon;
  daemon.start(
      "return { services = { { plugin = 'echo', name = 'echo', listen = 'tcp://127.0.0.1:0', mode = 'lines', "
      "transform = 'upper' } } }",
      {.descriptor_limit = 64});
  fixture.crowd = std::make_unique<Crowd>(daemon.address("echo"));
  assert_int_equal(fixture.crowd->open(100), 100);
  Client waiting(daemon.address("echo"));
  assert_true(waiting.send("waited\n"));
  waiting.set_patience(Milliseconds(300));
  assert_string_equal(waiting.receive_line().c_str(), "");
  assert_string_equal(to_text(waiting.end()), to_text(End::timed_out));

  Client patient(daemon.address("echo"));
  assert_true(patient.send("patient\n"));
  fixture.crowd->close_all();
  assert_string_equal(patient.receive_line().c_str(), "PATIENT\n");
}

}  // namespace

int main() {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
  const CMUnitTest tests[] = {
      TEST(the_option_bounds_the_descriptors),
      TEST(the_limit_of_the_system_bounds_them_too),
      TEST(with_two_workers_both_wait_without_spinning),
      TEST(those_who_wait_are_served_when_others_leave),
  };
  return cmocka_run_group_tests_name("process.descriptors", tests, nullptr, nullptr);
}
