// The admin API: health, readiness while draining, metrics; and how a stop lets sessions finish.
#include "support/daemon.h"

#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <sstream>
#include <string>

#include <sys/stat.h>

#include "support/cmocka.h"  // last: it defines fail()

using namespace portolan::testing;

namespace {

std::string configuration(const std::string& core, const std::string& service = "mode = 'lines', transform = 'upper'") {
  return fmt::format(
      "return {{ admin = {{ http = 'tcp://127.0.0.1:0' }}, {} services = {{ {{ plugin = 'echo', name = "
      "'echo', listen = 'tcp://127.0.0.1:0', {} }} }} }}",
      core, service);
}

// The admin listener's line is `listening admin http://127.0.0.1:PORT`.
std::string http_address(Daemon& daemon) { return "tcp" + daemon.address("admin", "http").substr(4); }

void the_three_pages_answer_on_both_listeners(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(configuration(""));
  Client client(daemon.address("echo"));
  assert_true(client.send("a\nb\nc\n"));
  assert_string_equal(client.receive(6).c_str(), "A\nB\nC\n");
  for (const std::string& address : {http_address(daemon), "unix://" + daemon.socket_path()}) {
    assert_int_equal(http_get(address, "/healthz").status, 200);
    assert_int_equal(http_get(address, "/readyz").status, 200);
    const HttpAnswer metrics = http_get(address, "/metrics");
    assert_int_equal(metrics.status, 200);
    assert_non_null(strstr(metrics.body.c_str(), "# TYPE "));
    assert_int_equal(http_get(address, "/nothing-here").status, 404);
  }
  assert_int_equal(daemon.counter("echo", "messages"), 3);
  assert_int_equal(daemon.counter("echo", "sessions_open"), 1);
  assert_int_equal(daemon.counter("echo", "bytes_in"), 6);
}

void the_tcp_listener_only_reads(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(configuration(""));
  for (const char* path : {"/status", "/sessions"}) {
    const int status = http_get(http_address(daemon), path).status;
    assert_true(status == 403 || status == 404);
  }
  for (const char* path : {"/stop", "/reload", "/flush"}) {
    Client client(http_address(daemon));
    assert_true(client.send(
        fmt::format("POST {} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", path)));
    const std::string answer = client.receive_all();
    assert_true(answer.starts_with("HTTP/1.1 4"));
  }
  assert_int_equal(daemon.query({"status"}).at("generation").get<int>(), 1);
  assert_true(daemon.process().running());
  // Nor does a GET change anything on the local one.
  assert_int_not_equal(http_get("unix://" + daemon.socket_path(), "/stop").status, 200);
  assert_false(daemon.query({"status"}).at("draining").get<bool>());
}

void the_local_socket_is_for_owner_and_group(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(configuration(""));
  struct stat facts{};
  assert_int_equal(::stat(daemon.socket_path().c_str(), &facts), 0);
  assert_int_equal(facts.st_mode & 07777U, 0660);
}

// Each line of the exposition is a comment or `name{labels} number`, each name has one TYPE, before its samples.
void metrics_are_prometheus_text(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(configuration(""));
  Client client(daemon.address("echo"));
  assert_true(client.send("a\n"));
  client.receive_line();
  std::istringstream lines(http_get(http_address(daemon), "/metrics").body);
  std::string types;
  int samples = 0;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("# TYPE ")) {
      const std::string name = line.substr(7, line.find(' ', 7) - 7);
      assert_true(types.find(" " + name + " ") == std::string::npos);
      types += " " + name + " ";
      continue;
    }
    if (line.starts_with("#") || line.empty()) continue;
    ++samples;
    std::string name = line.substr(0, line.find_first_of("{ "));
    assert_true(name.starts_with("portolan_") || name.starts_with("process_"));
    for (const char* suffix : {"_bucket", "_sum", "_count"}) {
      const std::string family = name.ends_with(suffix) ? name.substr(0, name.size() - strlen(suffix)) : name;
      if (types.find(" " + family + " ") != std::string::npos) name = family;
    }
    if (types.find(" " + name + " ") == std::string::npos) print_error("no TYPE before: %s\n", line.c_str());
    assert_true(types.find(" " + name + " ") != std::string::npos);
    char* after = nullptr;
    std::strtod(line.c_str() + line.rfind(' ') + 1, &after);
    assert_int_equal(*after, '\0');
  }
  assert_true(samples > 20);
}

// A session in the middle of a line is not quiet, however long the machine stands still meanwhile.
bool begins_a_line(Client& session) { return session.send("before\nbeg") && session.receive_line() == "BEFORE\n"; }
bool ends_it_and_begins_another(Client& session) {
  return session.send("un\nbeg") && session.receive_line() == "BEGUN\n";
}

bool is_draining(Daemon& daemon) { return daemon.query({"status"}).at("draining").get<bool>(); }

void while_draining_it_is_not_ready_and_sessions_finish(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(configuration("drain_timeout = '120s',"));
  const std::string admin = http_address(daemon);
  const std::string service = daemon.address("echo");
  Client session(service);
  assert_true(begins_a_line(session));
  assert_int_equal(http_get(admin, "/readyz").status, 200);

  daemon.process().signal(SIGTERM);
  HttpAnswer ready;
  assert_true(wait_until([&] {
    assert_true(ends_it_and_begins_another(session));
    ready = http_get(admin, "/readyz");
    return ready.status == 503;
  }));
  assert_non_null(strstr(ready.body.c_str(), "drain"));
  assert_int_equal(http_get(admin, "/healthz").status, 200);
  assert_true(is_draining(daemon));
  // It goes on for longer than a quiet one may; nobody new is let in.
  let_pass(Milliseconds(1500));
  assert_true(ends_it_and_begins_another(session));
  assert_true(wait_until([&] { return Client(service).end() == End::refused; }));
  // Then it says goodbye and the daemon goes, long before the deadline.
  assert_true(session.send("\nquit\n"));
  assert_string_equal(session.receive_all().c_str(), "BEG\n");
  assert_string_equal(to_text(session.end()), to_text(End::closed));
  session.close();
  assert_int_equal(daemon.process().wait().value_or(-1), 0);
}

// Talks in whole lines through the first 2.5 s of a drain: whether it was let, and how long it was quiet at the most.
bool outlives_the_start_of_a_drain(Daemon& daemon, std::int64_t& longest_quiet_ms) {
  daemon.start(configuration("drain_timeout = '120s',"));
  Client session(daemon.address("echo"));
  longest_quiet_ms = 0;
  bool answered = session.send("a\n") && session.receive_line() == "A\n";
  Clock::time_point last = Clock::now();
  daemon.process().signal(SIGTERM);
  for (const Deadline end(Milliseconds(2500)); answered && !end.passed(); let_pass(Milliseconds(50))) {
    answered = session.send("busy\n") && session.receive_line() == "BUSY\n";
    longest_quiet_ms = std::max(longest_quiet_ms, milliseconds_since(last));
    last = Clock::now();
  }
  session.close();
  assert_int_equal(daemon.process().wait().value_or(-1), 0);
  return answered;
}

void a_busy_session_is_not_ended_by_a_drain(void** state) {
  Daemon& daemon = daemon_of(state);
  assert_true(wait_until([&] {
    std::int64_t quiet_ms = 0;
    if (outlives_the_start_of_a_drain(daemon, quiet_ms)) return true;
    // When the machine stood still it was not busy, and nothing can be said of it. The daemon's second of quiet may
    // have fallen into two of the client's measurements.
    print_message("a session was ended; it had been quiet for %ld ms\n", static_cast<long>(quiet_ms));
    assert_true(quiet_ms > 400);
    return false;
  }));
}

void a_quiet_session_does_not_hold_up_a_stop(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(configuration("drain_timeout = '120s',"));
  Client session(daemon.address("echo"));
  assert_true(session.send("a\n"));
  assert_string_equal(session.receive_line().c_str(), "A\n");
  daemon.process().signal(SIGTERM);
  session.receive_all();
  assert_string_equal(to_text(session.end()), to_text(End::closed));
  session.close();
  assert_int_equal(daemon.process().wait().value_or(-1), 0);
}

void at_the_deadline_an_unfinished_session_is_closed(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(configuration("drain_timeout = '2s',"));
  Client session(daemon.address("echo"));
  assert_true(begins_a_line(session));
  const Clock::time_point start = Clock::now();
  daemon.process().signal(SIGTERM);
  session.receive_all();
  assert_true(session.end() == End::closed || session.end() == End::reset);
  assert_true(milliseconds_since(start) >= 1800);  // not as a quiet one, after a second
  assert_int_equal(daemon.process().wait().value_or(-1), 0);
}

void a_second_signal_does_not_wait(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(configuration("drain_timeout = '120s',"));
  Client session(daemon.address("echo"));
  assert_true(begins_a_line(session));
  daemon.process().signal(SIGTERM);
  assert_true(wait_until([&] { return is_draining(daemon); }));
  assert_true(ends_it_and_begins_another(session));
  daemon.process().signal(SIGTERM);
  session.receive_all();
  assert_true(session.end() == End::closed || session.end() == End::reset);
  assert_int_equal(daemon.process().wait().value_or(-1), 0);
}

void a_client_that_talks_nonsense_does_no_harm(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(configuration(""));
  for (const std::string& text : {std::string("\x16\x03\x01 nonsense\r\n\r\n"), "GET " + std::string(100'000, 'a'),
                                  std::string("GET /metrics HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n")}) {
    Client client(http_address(daemon), {.patience = Milliseconds(500)});
    client.send(text);
    client.receive_all();
  }
  assert_int_equal(http_get(http_address(daemon), "/healthz").status, 200);
}

void the_log_is_json_lines_when_nobody_watches(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(configuration(""));
  Client session(daemon.address("echo"));
  assert_true(session.send("quit\n"));
  session.receive_all();
  session.close();
  assert_int_equal(daemon.stop(), 0);
  std::istringstream lines(daemon.log());
  int count = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    const Json entry = Json::parse(line, nullptr, false);
    if (entry.is_discarded()) print_error("not JSON: %s\n", line.c_str());
    assert_false(entry.is_discarded());
    assert_true(entry.contains("level"));
  }
  assert_true(count > 0);
}

}  // namespace

int main() {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_daemon, end_daemon)
  const CMUnitTest tests[] = {
      TEST(the_three_pages_answer_on_both_listeners),
      TEST(the_tcp_listener_only_reads),
      TEST(the_local_socket_is_for_owner_and_group),
      TEST(metrics_are_prometheus_text),
      TEST(while_draining_it_is_not_ready_and_sessions_finish),
      TEST(a_busy_session_is_not_ended_by_a_drain),
      TEST(a_quiet_session_does_not_hold_up_a_stop),
      TEST(at_the_deadline_an_unfinished_session_is_closed),
      TEST(a_second_signal_does_not_wait),
      TEST(a_client_that_talks_nonsense_does_no_harm),
      TEST(the_log_is_json_lines_when_nobody_watches),
  };
  return cmocka_run_group_tests_name("process.admin", tests, nullptr, nullptr);
}
