// Active checks of a relay's backends by a whole daemon: each kind sees a backend go and come back, and none stands in the
// way of another or of a session.
#include "support/certificates.h"
#include "support/daemon.h"
#include "support/database.h"

#include <fmt/format.h>

#include <atomic>
#include <csignal>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "support/cmocka.h"  // last: it defines fail()

using namespace portolan::testing;

namespace {

// A backend on a thread, whose answer to what has come the test says: "" is to wait for more.
class Backend {
 public:
  using Conduct = std::function<std::string(const std::string&)>;
  explicit Backend(Conduct conduct, int type = SOCK_STREAM) : conduct_(std::move(conduct)), type_(type) { start(); }
  ~Backend() { stop(); }

  // On the same port each time.
  void start() {
    listener_ = ::socket(AF_INET, type_ | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const int on = 1;
    ::setsockopt(listener_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    sockaddr_in name{
        .sin_family = AF_INET, .sin_port = htons(port_), .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_zero = {}};
    socklen_t length = sizeof name;
    working_ = ::bind(listener_, reinterpret_cast<const sockaddr*>(&name), length) == 0 &&
               (type_ == SOCK_DGRAM || ::listen(listener_, 64) == 0);
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&name), &length);
    port_ = ntohs(name.sin_port);
    stopping_ = false;
    thread_ = std::thread([this] { run(); });
  }
  // As if its process were killed.
  void stop() {
    stopping_ = true;
    if (thread_.joinable()) thread_.join();
  }
  bool working() const { return working_; }
  std::string address() const { return fmt::format("{}://127.0.0.1:{}", type_ == SOCK_DGRAM ? "udp" : "tcp", port_); }
  void behave(Conduct conduct) {
    const std::lock_guard lock(mutex_);
    conduct_ = std::move(conduct);
  }

  std::atomic<long> accepted = 0, answered = 0;
  std::atomic<bool> closes = false;  // after each answer, without a word about it before
  std::atomic<bool> once = false;    // closes when it is asked again, without an answer

 private:
  std::string answer_to(const std::string& text) {
    const std::lock_guard lock(mutex_);
    std::string answer = conduct_(text);
    if (!answer.empty()) ++answered;
    return answer;
  }
  void run() {
    std::map<int, std::string> heard;
    while (!stopping_) {
      std::vector<pollfd> entries{{.fd = listener_, .events = POLLIN, .revents = 0}};
      for (const auto& [descriptor, text] : heard)
        entries.push_back({.fd = descriptor, .events = POLLIN, .revents = 0});
      ::poll(entries.data(), entries.size(), 2);
      if (type_ == SOCK_DGRAM) {
        answer_datagrams();
        continue;
      }
      for (std::size_t at = 1; at < entries.size(); ++at)
        if (entries[at].revents && !talk(entries[at].fd, heard[entries[at].fd])) heard.erase(entries[at].fd);
      for (int one; (one = ::accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0; ++accepted)
        heard[one];
    }
    for (const auto& [descriptor, text] : heard) ::close(descriptor);
    ::close(listener_);
  }
  bool talk(int descriptor, std::string& text) {
    char block[4096];
    const ssize_t count = ::recv(descriptor, block, sizeof block, 0);
    if (count > 0) {
      if (once && text == kUsed) return ::close(descriptor), false;
      if (text == kUsed) text.clear();
      text.append(block, static_cast<std::size_t>(count));
      const std::string answer = answer_to(text);
      if (answer.empty()) return true;
      text = kUsed;
      ::send(descriptor, answer.data(), answer.size(), MSG_NOSIGNAL);
      if (!closes) return true;
    } else if (count < 0 && errno == EAGAIN) {
      return true;
    }
    ::close(descriptor);
    return false;
  }
  void answer_datagrams() {
    char block[4096];
    sockaddr_in from;
    socklen_t length = sizeof from;
    const ssize_t count = ::recvfrom(listener_, block, sizeof block, 0, reinterpret_cast<sockaddr*>(&from), &length);
    if (count < 0) return;
    const std::string answer = answer_to(std::string(block, static_cast<std::size_t>(count)));
    if (!answer.empty())
      ::sendto(listener_, answer.data(), answer.size(), 0, reinterpret_cast<sockaddr*>(&from), length);
  }

  static constexpr const char* kUsed = "(answered)";  // for what has come: it was answered

  std::mutex mutex_;
  Conduct conduct_;
  const int type_;
  int listener_ = -1;
  std::uint16_t port_ = 0;
  bool working_ = false;
  std::atomic<bool> stopping_ = false;
  std::thread thread_;
};

// Sessions get their line back with a name in front; the checks' "ping" gets `pong`.
Backend::Conduct lines(const std::string& name, const std::string& pong = "pong\n") {
  return [=](const std::string& text) {
    if (!text.ends_with('\n')) return std::string();
    return text == "ping\n" ? pong : name + " " + text;
  };
}
Backend::Conduct silent() {
  return [](const std::string&) { return std::string(); };
}
Backend::Conduct http(const std::string& answer) {
  return [=](const std::string& text) { return text.ends_with("\r\n\r\n") ? answer : std::string(); };
}
const std::string kFine = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const std::string kBusy = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";

std::string configuration(const std::string& backends, const std::string& health, const std::string& more = "",
                          const std::string& listen = "tcp://127.0.0.1:0") {
  return fmt::format(
      "return {{ store = {{ flush_every = '200ms' }}, services = {{ {{ plugin = 'relay', name = 'relay', listen = "
      "'{}', "
      "backends = {{ {} }}, health = {{ every = '30ms', every_down = '30ms', {} }}, {} }} }} }}\n",
      listen, backends, health, more);
}
std::string backend(const Backend& one, const std::string& name) {
  return fmt::format("{{ address = '{}', name = '{}' }},", one.address(), name);
}

bool comes(Daemon& daemon, const std::string& text) {
  const std::string quoted = Json(text).dump();  // as in the log
  const bool came = wait_until([&] { return daemon.log_has(quoted.substr(1, quoted.size() - 2)); });
  if (!came) print_error("not in the log: %s\n", text.c_str());
  return came;
}
// What one session is answered.
std::string ask(Daemon& daemon) {
  Client client(daemon.address("relay"));
  return client.send("hello\n") ? client.receive_line() : "";
}
bool all_go_to(Daemon& daemon, const std::string& name, int count = 20) {
  bool all = true;
  while (count-- > 0) all &= ask(daemon) == name + " hello\n";
  return all;
}
bool stored(Daemon& daemon, const std::string& kind, const std::string& detail, long count) {
  const std::string query = fmt::format(
      "SELECT coalesce(sum(count), 0) FROM events WHERE kind = '{}' AND service = 'relay' AND detail LIKE '{}'", kind,
      detail);
  const bool found = wait_until([&] { return number_from_database(daemon.store_path(), query) == count; });
  if (!found) print_error("%s: %ld\n", query.c_str(), number_from_database(daemon.store_path(), query));
  return found;
}

void a_backend_that_dies_is_down_and_comes_back(void** state) {
  Daemon& daemon = daemon_of(state);
  Backend a(lines("a")), b(lines("b"));
  daemon.start(configuration(backend(a, "a") + backend(b, "b"), "check = 'connect'"));
  assert_true(comes(daemon, "a is up (1 check passed)") && comes(daemon, "b is up (1 check passed)"));
  a.stop();
  assert_true(comes(daemon, "a is down: connection refused (3 checks failed)"));
  assert_true(all_go_to(daemon, "b"));
  a.start();
  assert_true(a.working());
  assert_true(comes(daemon, "a is up (2 checks passed)"));
  assert_true(wait_until([&] { return ask(daemon) == "a hello\n"; }));
  assert_true(stored(daemon, "backend_down", "a is down: connection refused%", 1));
  assert_true(stored(daemon, "backend_up", "a is up%", 2));
  assert_true(stored(daemon, "backend_down", "b is%", 0));
  assert_true(daemon.counter("relay", "checks_failed") >= 3);

  // A reload checks on, and knows what was known.
  const std::string other = configuration(backend(a, "a") + backend(b, "b"), "check = 'connect', fall = 2");
  daemon.configure(other);
  assert_int_equal(daemon.command({"reload"}).code, 0);
  a.stop();
  assert_true(comes(daemon, "a is down: connection refused (2 checks failed)"));
  assert_true(stored(daemon, "backend_up", "%is up%", 3));
}

void an_http_backend_is_judged_by_its_status(void** state) {
  Daemon& daemon = daemon_of(state);
  Backend a(http(kFine)), b(http("HTTP/1.1 100 Continue\r\n\r\n" + kFine)), c(lines("c", "SSH-2.0-x\n")), d(silent());
  c.behave([](const std::string&) { return "SSH-2.0-OpenSSH\r\n"; });
  daemon.start(configuration(backend(a, "a") + backend(b, "b") + backend(c, "c") + backend(d, "d"),
                             "check = 'http', path = '/up', status = { '200' }, timeout = '200ms'"));
  assert_true(comes(daemon, "a is up (1 check passed)") && comes(daemon, "b is up (1 check passed)"));
  assert_true(comes(daemon, "c is down: it does not speak HTTP/1 (1 check failed)"));
  assert_true(comes(daemon, "d is down: no answer in 200ms (1 check failed)"));
  a.behave(http(kBusy));
  assert_true(comes(daemon, "a is down: HTTP 503 (3 checks failed)"));
  a.behave(http(kFine));
  assert_true(comes(daemon, "a is up (2 checks passed)"));

  // Connections are used again, and that a server closes one is no failure.
  const long before = a.accepted, answers = a.answered;
  assert_true(wait_until([&] { return a.answered >= answers + 20; }));
  assert_true(a.accepted - before <= 15);
  a.closes = true;
  assert_true(wait_until([&] { return a.answered >= answers + 60; }));
  a.behave(http("HTTP/1.0 200 OK\r\n\r\nuntil the end"));
  assert_true(wait_until([&] { return a.answered >= answers + 80; }));
  assert_true(stored(daemon, "backend_down", "a is down%", 1));
  assert_true(stored(daemon, "backend_up", "a is up%", 2));
}

// A status comes with the very check that a pooled connection dies under: not one of them may fail.
void no_check_fails_because_a_kept_connection_was_closed(void** state) {
  Daemon& daemon = daemon_of(state);
  Backend a(http(kFine));
  daemon.start(configuration(backend(a, "a"), "check = 'http'"));
  assert_true(comes(daemon, "a is up (1 check passed)"));
  a.closes = true;
  assert_true(wait_until([&] { return a.answered >= 100; }));
  a.closes = false;
  a.once = true;
  assert_true(wait_until([&] { return a.answered >= 150; }));
  assert_true(daemon.wait_for_counter("relay", "checks", 150));
  assert_int_equal(daemon.counter("relay", "checks_failed"), 0);
}

void a_check_says_that_it_is_nobodys_session(void** state) {
  Daemon& daemon = daemon_of(state);
  Backend a([](const std::string& text) -> std::string {
    if (!text.ends_with("\r\n\r\n")) return {};
    return text.starts_with("PROXY UNKNOWN\r\nGET ") ? kFine : kBusy;
  });
  Backend b([](const std::string& text) { return text == "PROXY UNKNOWN\r\nping" ? "pong" : ""; });
  a.closes = true;  // every connection begins with it
  daemon.start(configuration(backend(a, "a"), "check = 'http'", "send_proxy = 'v1'"));
  assert_true(comes(daemon, "a is up (1 check passed)"));
  assert_true(wait_until([&] { return a.answered >= 20; }));
  assert_int_equal(daemon.counter("relay", "checks_failed"), 0);
  daemon.configure(configuration(backend(b, "b"), "check = 'send', send = 'ping'", "send_proxy = 'v1'"));
  assert_int_equal(daemon.command({"reload"}).code, 0);
  assert_true(comes(daemon, "b is up (1 check passed)"));
}

void a_silent_backend_stands_in_nobodys_way(void** state) {
  Daemon& daemon = daemon_of(state);
  Backend a(lines("a")), b(silent()), c(lines("c", "no way\n"));
  daemon.start(configuration(backend(a, "a") + backend(b, "b") + backend(c, "c"),
                             "check = 'send', send = 'ping\\n', expect = 'pong', timeout = '200ms'"));
  assert_true(comes(daemon, "a is up (1 check passed)"));
  assert_true(comes(daemon, "b is down: no answer in 200ms (1 check failed)"));
  assert_true(comes(daemon, R"(c is down: answered "no way\n" instead of "pong" (1 check failed))"));
  assert_true(all_go_to(daemon, "a"));
  c.behave(lines("c", "so then: pong\n"));
  assert_true(comes(daemon, "c is up (2 checks passed)"));
  // One that talks without end, and never says it.
  const std::string garbage(4096, '\xfe');
  c.behave([=](const std::string&) { return garbage; });
  assert_true(comes(daemon, "c is down: answered \"\\xfe"));
  c.closes = true;
  c.behave(silent());
  assert_true(all_go_to(daemon, "a"));
}

void datagrams_are_checked_by_their_answer(void** state) {
  Daemon& daemon = daemon_of(state);
  Backend a(lines("a"), SOCK_DGRAM), b(lines("b", "nobody\n"), SOCK_DGRAM);
  daemon.start(configuration(backend(a, "a") + backend(b, "b"),
                             "check = 'udp', send = 'ping\\n', expect = 'pong', timeout = '200ms'", "",
                             "udp://127.0.0.1:0"));
  assert_true(comes(daemon, "a is up (1 check passed)"));
  assert_true(comes(daemon, R"(b is down: answered "nobody\n" instead of "pong" (1 check failed))"));
  Client client(daemon.address("relay", "udp"));
  assert_true(client.send("hello\n"));
  assert_string_equal(client.receive_datagram().c_str(), "a hello\n");
  b.behave(lines("b"));
  assert_true(comes(daemon, "b is up (2 checks passed)"));
  b.behave(silent());
  assert_true(comes(daemon, "b is down: no answer in 200ms (3 checks failed)"));
  a.stop();
  assert_true(comes(daemon, "a is down: connection refused (3 checks failed)"));
}

void a_hook_says_who_is_up(void** state) {
  Daemon& daemon = daemon_of(state);
  Backend a(lines("a")), b(lines("b"));
  daemon.start(configuration(backend(a, "a") + backend(b, "b"), "check = 'hook'",
                             "on_check = (function() local count = 0 return function(name) "
                             "  if name == 'b' then count = count + 1 return count > 30, 'it rests' end "
                             "  return true end end)()"));
  assert_true(comes(daemon, "a is up (1 check passed)"));
  assert_true(comes(daemon, "b is down: it rests (1 check failed)"));
  assert_true(comes(daemon, "b is up (2 checks passed)"));
}

void when_all_are_down_they_are_tried_all_the_same(void** state) {
  Daemon& daemon = daemon_of(state);
  Backend a(lines("a", "sick\n"));
  const std::string health = "check = 'send', send = 'ping\\n', expect = 'pong'";
  daemon.start(configuration(backend(a, "a"), health));
  assert_true(comes(daemon, R"(a is down: answered "sick\n" instead of "pong")"));
  assert_true(all_go_to(daemon, "a"));
  daemon.configure(configuration(backend(a, "a"), health, "fail_open = false"));
  assert_int_equal(daemon.command({"reload"}).code, 0);
  assert_true(wait_until([&] { return ask(daemon).empty(); }));
}

void a_handshake_is_checked_behind_a_tcp_backend(void** state) {
  Daemon& daemon = daemon_of(state);
  Daemon server;
  const Identity identity = make_authority("nas");
  server.folder().write("nas.pem", identity.certificate);
  server.folder().write("nas.key", identity.key);
  server.start(
      "return { services = { { plugin = 'echo', name = 'echo', listen = 'tls://127.0.0.1:0', mode = 'lines', "
      "tls = { certificate = 'nas.pem', key = 'nas.key' } } } }");
  std::string address = server.address("echo", "tls");
  address.replace(0, 3, "tcp");
  Backend plain(silent());
  daemon.start(configuration(fmt::format("{{ address = '{}', name = 'a' }}, {{ address = '{}', name = 'b' }}, {{ "
                                         "address = '{}', name = 'c', tls = {{ name = 'other' }} }},",
                                         address, plain.address(), server.address("echo", "tls")),
                             "check = 'tls', timeout = '500ms'"));
  assert_true(comes(daemon, "a is up (1 check passed)"));
  assert_true(comes(daemon, "b is down: no connection in 500ms (1 check failed)"));
  assert_true(comes(daemon, "c is down: "));  // its certificate is not trusted
  server.kill();
  assert_true(comes(daemon, "a is down: connection refused (3 checks failed)"));
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(a_backend_that_dies_is_down_and_comes_back, make_daemon, end_daemon),
      cmocka_unit_test_setup_teardown(an_http_backend_is_judged_by_its_status, make_daemon, end_daemon),
      cmocka_unit_test_setup_teardown(no_check_fails_because_a_kept_connection_was_closed, make_daemon, end_daemon),
      cmocka_unit_test_setup_teardown(a_check_says_that_it_is_nobodys_session, make_daemon, end_daemon),
      cmocka_unit_test_setup_teardown(a_silent_backend_stands_in_nobodys_way, make_daemon, end_daemon),
      cmocka_unit_test_setup_teardown(datagrams_are_checked_by_their_answer, make_daemon, end_daemon),
      cmocka_unit_test_setup_teardown(a_hook_says_who_is_up, make_daemon, end_daemon),
      cmocka_unit_test_setup_teardown(when_all_are_down_they_are_tried_all_the_same, make_daemon, end_daemon),
      cmocka_unit_test_setup_teardown(a_handshake_is_checked_behind_a_tcp_backend, make_daemon, end_daemon),
  };
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
