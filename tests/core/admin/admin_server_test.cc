// The admin API over a real unix socket and a loopback port, with a host that the test plays.
#include "admin/admin.h"

#include "support/client.h"
#include "support/temporary_folder.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <string>
#include <thread>

#include "support/cmocka.h"

using namespace portolan;
using nlohmann::json;
using portolan::testing::Client;

namespace {

// Its one session is number 7.
class FakeConsole final : public ConsoleHost {
 public:
  std::expected<std::uint64_t, ConsoleRefusal> open(ConsoleWish wished) override {
    if (refusal) return std::unexpected(*refusal);
    wish = std::move(wished);
    return 7;
  }
  void begin(std::uint64_t, std::unique_ptr<ConsoleOutput> begun) override {
    output = std::move(begun);
    output->event(ConsoleEvent::session, "{}");
    if (!stays) output->end();
  }
  void close(std::uint64_t session) override { closed = session; }
  Done line(std::uint64_t session, std::string text, Duration limit) override {
    return take("line", session, text, limit);
  }
  Done sql(std::uint64_t session, std::string text, Duration limit) override {
    return take("sql", session, text, limit);
  }
  Done cancel(std::uint64_t session) override { return take("cancel", session, "", {}); }
  Done complete(std::uint64_t session, std::string path, std::function<void(std::vector<std::string>)> done) override {
    auto taken = take("complete", session, path, {});
    if (taken) done({"a", "b("});
    return taken;
  }

  ConsoleWish wish;
  std::optional<ConsoleRefusal> refusal;
  std::unique_ptr<ConsoleOutput> output;
  bool stays = false;
  std::uint64_t closed = 0;
  std::string asked;

 private:
  Done take(std::string_view what, std::uint64_t session, const std::string& text, Duration limit) {
    asked = fmt::format("{} {} {} {}", what, session, text, limit.count());
    if (refusal) return std::unexpected(*refusal);
    return {};
  }
};

class FakeHost final : public AdminHost {
 public:
  DaemonStatus status() override {
    DaemonStatus status;
    status.version = "1.2.3";
    status.pid = 42;
    status.generation = generation;
    status.services.push_back(
        {.name = "echo \xff", .plugin = "echo", .listeners = {"tcp://127.0.0.1:7"}, .error = "", .open = 3});
    return status;
  }
  NotReady not_ready() override { return reasons; }
  const StatsRegistry& statistics() override { return registry; }
  void sessions(const std::string&, std::size_t limit, std::function<void(std::vector<SessionStatus>)> done) override {
    asked_limit = limit;
    done({{.id = 9, .service = "echo", .peer = "127.0.0.1:1", .transport = Transport::tls}});
  }
  void reload(std::function<void(std::string)> done) override {
    ++reloads;
    if (answer_later) {
      later.push_back(std::move(done));
    } else {
      done(reload_error);
    }
  }
  void stop() override { stopped = true; }
  void flush(std::function<void(std::string)> done) override {
    if (!forget_flush) done("");
  }
  std::vector<Ban> bans() override {
    return {
        {.client = *Address::parse("2001:db8::"), .until_ms = 9, .since_ms = 5, .reason = "a \"b\"", .violations = 3}};
  }
  void ban(const Address& client, Duration time, std::string reason, std::function<void(std::string)> done) override {
    banned = fmt::format("{} {} {}", ban_text(client), time.count(), reason);
    done(reload_error);
  }
  void unban(std::optional<Address> client, std::function<void(std::size_t, std::string)> done) override {
    banned = client ? ban_text(*client) : "all";
    done(banned == "192.0.2.9" ? 0 : 2, reload_error);
  }

  void command(OperatorCommand command, std::function<void(CommandReply)> done) override {
    commands.push_back(std::move(command));
    done(reply);
  }

  ConsoleHost& console() override { return talk; }

  FakeConsole talk;
  std::vector<OperatorCommand> commands;
  CommandReply reply;
  StatsRegistry registry;
  NotReady reasons;
  std::uint64_t generation = 1;
  std::size_t asked_limit = 0;
  std::string reload_error;
  std::string banned;
  bool answer_later = false;
  bool forget_flush = false;
  std::vector<std::function<void(std::string)>> later;
  int reloads = 0;
  std::atomic<bool> stopped{false};
};

struct Fixture {
  Fixture() {
    path = folder.file("admin.sock");
    unix_fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un local{};
    local.sun_family = AF_UNIX;
    path.copy(local.sun_path, sizeof local.sun_path - 1);
    ::bind(unix_fd, reinterpret_cast<const sockaddr*>(&local), sizeof local);
    ::listen(unix_fd, 16);
    tcp_fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ::bind(tcp_fd, reinterpret_cast<const sockaddr*>(&address), sizeof address);
    ::listen(tcp_fd, 16);
    socklen_t size = sizeof address;
    ::getsockname(tcp_fd, reinterpret_cast<sockaddr*>(&address), &size);
    tcp = fmt::format("tcp://127.0.0.1:{}", ntohs(address.sin_port));
    server = std::make_unique<AdminServer>(loop, host, unix_fd, tcp_fd);
  }
  ~Fixture() {
    server.reset();
    ::close(unix_fd);
    ::close(tcp_fd);
  }

  // Sends, turning the loop until the peer has closed; the whole answer.
  std::string exchange(const std::string& address, const std::string& request) {
    std::string answer;
    std::atomic<bool> over{false};
    Mailbox wake(loop);
    std::thread client([&] {
      Client connection(address);
      if (connection.send(request)) answer = connection.receive_all();
      over = true;
      wake.post([] {});
    });
    while (!over) loop.turn(true);
    client.join();
    return answer;
  }
  std::string ask(const std::string& address, const std::string& method, const std::string& target) {
    return exchange(address,
                    fmt::format("{} {} HTTP/1.0\r\nHost: evil.example\r\nContent-Length: 0\r\n\r\n", method, target));
  }
  std::string local() const { return "unix://" + path; }

  testing::TemporaryFolder folder;
  std::string path;
  std::string tcp;
  int unix_fd = -1;
  int tcp_fd = -1;
  Loop loop;
  FakeHost host;
  std::unique_ptr<AdminServer> server;
};

int set_up(void** state) {
  ::signal(SIGPIPE, SIG_IGN);
  *state = new Fixture;
  return 0;
}
int tear_down(void** state) {
  delete static_cast<Fixture*>(*state);
  return 0;
}
Fixture& of(void** state) { return *static_cast<Fixture*>(*state); }

int code_of(const std::string& answer) { return answer.size() > 12 ? std::atoi(answer.c_str() + 9) : 0; }
json body_of(const std::string& answer) {
  const auto blank = answer.find("\r\n\r\n");
  return blank == std::string::npos ? json() : json::parse(answer.substr(blank + 4), nullptr, false);
}

void health_and_readiness(void** state) {
  Fixture& fixture = of(state);
  for (const std::string& address : {fixture.local(), fixture.tcp}) {
    fixture.host.reasons.clear();
    const std::string health = fixture.ask(address, "GET", "/healthz");
    assert_int_equal(code_of(health), 200);
    assert_true(health.ends_with("\r\n\r\nok\n"));
    assert_int_equal(code_of(fixture.ask(address, "GET", "/readyz")), 200);
    fixture.host.reasons = {"the store cannot be written: no space"};
    const std::string ready = fixture.ask(address, "GET", "/readyz");
    assert_int_equal(code_of(ready), 503);
    assert_string_equal(body_of(ready).at("not_ready")[0].get<std::string>().c_str(),
                        "the store cannot be written: no space");
    assert_int_equal(code_of(fixture.ask(address, "GET", "/metrics")), 200);
    const std::string head = fixture.ask(address, "HEAD", "/healthz");
    assert_int_equal(code_of(head), 200);
    assert_true(head.ends_with("\r\n\r\n"));
  }
}

void status_and_sessions_are_json(void** state) {
  Fixture& fixture = of(state);
  const json status = body_of(fixture.ask(fixture.local(), "GET", "/status"));
  assert_int_equal(status.at("pid").get<int>(), 42);
  assert_int_equal(status.at("services")[0].at("open").get<int>(), 3);
  assert_string_equal(status.at("services")[0].at("name").get<std::string>().c_str(), "echo \xef\xbf\xbd");
  assert_true(status.at("store").is_null());
  const json sessions = body_of(fixture.ask(fixture.local(), "GET", "/sessions?limit=7&service=echo%20%ff"));
  assert_int_equal(fixture.host.asked_limit, 7);
  assert_string_equal(sessions.at("sessions")[0].at("transport").get<std::string>().c_str(), "tls");
  assert_int_equal(code_of(fixture.ask(fixture.local(), "GET", "/sessions?service=nobody")), 404);
  for (const char* query : {"limit=0", "limit=x", "limit=-1", "limit=999999999", "limt=3"}) {
    assert_int_equal(code_of(fixture.ask(fixture.local(), "GET", fmt::format("/sessions?{}", query))), 400);
  }
}

void what_is_not_there_is_refused(void** state) {
  Fixture& fixture = of(state);
  const std::string missing = fixture.ask(fixture.local(), "GET", "/nothing");
  assert_int_equal(code_of(missing), 404);
  assert_true(body_of(missing).contains("error"));
  assert_int_equal(code_of(fixture.ask(fixture.local(), "GET", "/reload")), 405);
  assert_int_equal(code_of(fixture.ask(fixture.local(), "POST", "/status")), 405);
  assert_int_equal(code_of(fixture.ask(fixture.local(), "DELETE", "/healthz")), 405);
  for (const char* path :
       {"/status", "/sessions", "/reload", "/stop", "/flush", "/bans", "/ban", "/unban", "/command"}) {
    for (const char* method : {"GET", "POST"}) {
      assert_int_equal(code_of(fixture.ask(fixture.tcp, method, path)), 404);
    }
  }
  assert_int_equal(fixture.host.reloads, 0);
  assert_false(fixture.host.stopped);
}

void too_much_is_refused(void** state) {
  Fixture& fixture = of(state);
  const std::string head =
      fixture.exchange(fixture.local(), "GET /healthz HTTP/1.0\r\nX: " + std::string(20'000, 'x') + "\r\n\r\n");
  assert_true(head.empty() || code_of(head) >= 400);
  const std::string body = fixture.exchange(
      fixture.local(), "POST /reload HTTP/1.0\r\nContent-Length: 1000000\r\n\r\n" + std::string(100'000, 'x'));
  assert_true(body.empty() || code_of(body) >= 400);
  const std::string garbage = fixture.exchange(fixture.local(), "\x16\x03\x01 not http\r\n\r\n");
  assert_true(garbage.empty() || code_of(garbage) >= 400);
  assert_int_equal(fixture.host.reloads, 0);
  assert_int_equal(code_of(fixture.ask(fixture.local(), "GET", "/healthz")), 200);
}

void reload_says_what_came_of_it(void** state) {
  Fixture& fixture = of(state);
  fixture.host.generation = 5;
  const std::string good = fixture.ask(fixture.local(), "POST", "/reload");
  assert_int_equal(code_of(good), 200);
  assert_int_equal(body_of(good).at("generation").get<int>(), 5);
  fixture.host.reload_error = "x.lua: services[1].mode: unknown \"raww\"";
  const std::string bad = fixture.ask(fixture.local(), "POST", "/reload");
  assert_int_equal(code_of(bad), 409);
  assert_string_equal(body_of(bad).at("error").get<std::string>().c_str(), fixture.host.reload_error.c_str());
}

void a_command_goes_to_its_service(void** state) {
  using enum CommandReply::Outcome;
  Fixture& fixture = of(state);
  const std::string target = "/command?service=echo%20%ff&command=fault_add&kind=latency&name=a%3Db%26c&service2=x";
  fixture.host.reply = {done, R"([{"name":"b1"}])"};
  const std::string answer = fixture.ask(fixture.local(), "POST", target);
  assert_int_equal(code_of(answer), 200);
  assert_string_equal(body_of(answer)[0].at("name").get<std::string>().c_str(), "b1");
  assert_int_equal(fixture.host.commands.size(), 1);
  const OperatorCommand& given = fixture.host.commands[0];
  assert_string_equal(given.service.c_str(), "echo \xff");
  assert_string_equal(given.text().c_str(), "fault_add kind=latency name=a=b&c service2=x");

  const std::pair<CommandReply, int> cases[] = {
      {{refused, "no such fault"}, 409}, {{unknown, "what?"}, 404}, {{wrong, "id=ID"}, 400}, {{done, "{\"half"}, 500}};
  for (const auto& [reply, code] : cases) {
    fixture.host.reply = reply;
    const std::string refusal = fixture.ask(fixture.local(), "POST", target);
    assert_int_equal(code_of(refusal), code);
    assert_false(body_of(refusal).at("ok").get<bool>());
    const std::string error = body_of(refusal).at("error").get<std::string>();
    assert_true(reply.outcome == done ? error.ends_with("is not JSON: a bug of its plugin") : error == reply.text);
  }

  // None of these is given to anybody.
  fixture.host.commands.clear();
  const std::string near = fixture.ask(fixture.local(), "POST", "/command?service=ecko%20%ff&command=drain");
  assert_int_equal(code_of(near), 404);
  assert_non_null(strstr(near.c_str(), "did you mean"));
  assert_int_equal(code_of(fixture.ask(fixture.local(), "POST", "/command?service=echo%20%ff")), 400);
  assert_int_equal(code_of(fixture.ask(fixture.local(), "POST", "/command?command=drain")), 400);
  assert_int_equal(code_of(fixture.ask(fixture.local(), "GET", target)), 405);
  assert_int_equal(code_of(fixture.ask(fixture.tcp, "POST", target)), 404);
  assert_true(fixture.host.commands.empty());
}

void an_answer_may_come_when_nobody_waits(void** state) {
  Fixture& fixture = of(state);
  fixture.host.answer_later = true;
  {
    Client client(fixture.local());
    assert_true(client.send("POST /reload HTTP/1.0\r\n\r\n"));
    while (fixture.host.later.empty()) fixture.loop.turn(true);
  }  // the client goes
  for (int i = 0; i < 5; ++i) fixture.loop.turn(false);
  fixture.host.later[0]("");
  for (int i = 0; i < 5; ++i) fixture.loop.turn(false);
  fixture.host.later[0]("a second answer is nobody's");

  // And one that comes when the server itself is gone.
  Client client(fixture.local());
  assert_true(client.send("POST /reload HTTP/1.0\r\n\r\n"));
  while (fixture.host.later.size() < 2) fixture.loop.turn(true);
  fixture.server.reset();
  fixture.host.later[1]("too late");
  fixture.host.later.clear();
}

void bans_are_listed_made_and_lifted(void** state) {
  Fixture& fixture = of(state);
  const auto post = [&](const char* target) { return fixture.ask(fixture.local(), "POST", target); };
  const json list = body_of(fixture.ask(fixture.local(), "GET", "/bans")).at("bans");
  assert_int_equal(list.size(), 1);
  assert_string_equal(list[0].at("address").get<std::string>().c_str(), "2001:db8::/64");
  assert_string_equal(list[0].at("reason").get<std::string>().c_str(), "a \"b\"");
  assert_int_equal(list[0].at("until_ms").get<int>(), 9);

  assert_int_equal(code_of(post("/ban?address=2001:db8::7&time=90s&reason=two%20words")), 200);
  assert_string_equal(fixture.host.banned.c_str(), "2001:db8::/64 90000000000 two words");
  assert_int_equal(code_of(post("/ban?address=192.0.2.1")), 200);
  assert_string_equal(fixture.host.banned.c_str(), "192.0.2.1 0 by hand");
  for (const char* wrong : {"/ban", "/ban?address=x", "/ban?address=all", "/ban?address=192.0.2.1&time=0",
                            "/ban?address=192.0.2.1&time=9", "/ban?address=192.0.2.1&time=9999d",
                            "/ban?address=192.0.2.1&until=9s", "/unban", "/unban?address=", "/unban?all=yes"})
    assert_int_equal(code_of(post(wrong)), 400);

  assert_int_equal(body_of(post("/unban?address=all")).at("lifted").get<int>(), 2);
  assert_string_equal(fixture.host.banned.c_str(), "all");
  assert_int_equal(code_of(post("/unban?address=192.0.2.9")), 404);
  fixture.host.reload_error = "no disk";
  assert_int_equal(code_of(post("/unban?address=192.0.2.8")), 409);
  assert_int_equal(code_of(post("/ban?address=192.0.2.8")), 409);
}

std::string posted(const std::string& target, const std::string& body) {
  return fmt::format("POST {} HTTP/1.0\r\nContent-Length: {}\r\n\r\n{}", target, body.size(), body);
}

void a_console_talks_over_the_local_socket(void** state) {
  Fixture& fixture = of(state);
  FakeConsole& talk = fixture.host.talk;
  const std::string begun = fixture.exchange(fixture.local(), posted("/console?worker=1&service=web&style=json", ""));
  assert_int_equal(code_of(begun), 200);
  assert_true(begun.ends_with("\r\n\r\nsession 2\n{}\n"));
  assert_int_equal(talk.wish.worker, 1);
  assert_string_equal(talk.wish.service.c_str(), "web");
  assert_true(talk.wish.style == ConsoleStyle::json);
  for (const char* wrong :
       {"/console?worker=-1", "/console?worker=x", "/console?style=red", "/console?line=1", "/console/line?session=x",
        "/console/line?session=7&time=soon", "/console/line?session=7&time=2h", "/console/sql?service=x"})
    assert_int_equal(code_of(fixture.exchange(fixture.local(), posted(wrong, ""))), 400);

  assert_int_equal(code_of(fixture.exchange(fixture.local(), posted("/console/line?session=7&time=2s", "1 + 1"))), 200);
  assert_string_equal(talk.asked.c_str(), "line 7 1 + 1 2000000000");
  assert_int_equal(code_of(fixture.exchange(fixture.local(), posted("/console/sql?session=7", "select 1"))), 200);
  assert_string_equal(talk.asked.c_str(), "sql 7 select 1 30000000000");
  assert_int_equal(code_of(fixture.exchange(fixture.local(), posted("/console/cancel?session=7", ""))), 200);
  assert_string_equal(talk.asked.c_str(), "cancel 7  0");
  const std::string words = fixture.exchange(fixture.local(), posted("/console/complete?session=7", "a.b"));
  assert_string_equal(body_of(words).dump().c_str(), R"({"words":["a","b("]})");
  // As long as a line may be, and one byte more.
  const std::string longest(kMostConsoleLine, 'x');
  assert_int_equal(code_of(fixture.exchange(fixture.local(), posted("/console/line?session=7", longest))), 200);
  talk.asked.clear();
  assert_int_equal(code_of(fixture.exchange(fixture.local(), posted("/console/line?session=7", longest + "x"))), 413);
  assert_string_equal(talk.asked.c_str(), "");

  talk.refusal = ConsoleRefusal{403, "no"};
  for (const char* page :
       {"/console", "/console/line?session=7", "/console/cancel?session=7", "/console/complete?session=7"}) {
    assert_int_equal(code_of(fixture.exchange(fixture.local(), posted(page, ""))), 403);
    assert_int_equal(code_of(fixture.ask(fixture.local(), "GET", page)), 405);
  }
  // Over TCP nobody is asked.
  talk.refusal.reset();
  talk.asked.clear();
  talk.wish = {};
  for (const char* page : {"/console?worker=1", "/console/line?session=7", "/console/sql?session=7",
                           "/console/cancel?session=7", "/console/complete?session=7"})
    assert_int_equal(code_of(fixture.exchange(fixture.tcp, posted(page, "1"))), 403);
  assert_string_equal(talk.asked.c_str(), "");
  assert_int_equal(talk.wish.worker, 0);
}

void a_console_that_has_gone_is_noticed(void** state) {
  Fixture& fixture = of(state);
  FakeConsole& talk = fixture.host.talk;
  talk.stays = true;
  {
    Client client(fixture.local());
    assert_true(client.send(posted("/console", "")));
    while (!talk.output) fixture.loop.turn(true);
    talk.output->event(ConsoleEvent::print, "a\n");
    while (talk.output->unsent() > 0) fixture.loop.turn(true);
    assert_int_equal(talk.closed, 0);
  }
  for (const testing::Deadline deadline; talk.closed == 0 && !deadline.passed();) fixture.loop.turn(false);
  assert_int_equal(talk.closed, 7);
  // Nothing comes of what is still said.
  talk.output->event(ConsoleEvent::print, "b\n");
  assert_int_equal(talk.output->unsent(), 0);
  talk.output->end();
  talk.output.reset();

  // One whose owner is gone first, and one that the server's end finds open.
  for (const bool ends_first : {true, false}) {
    talk.closed = 0;
    Client client(fixture.local());
    assert_true(client.send(posted("/console", "")));
    while (!talk.output) fixture.loop.turn(true);
    talk.output->event(ConsoleEvent::error, "bye");
    if (ends_first) talk.output.reset();
    if (!ends_first) fixture.server.reset();
    // The loop has had its turns, or none at all.
    for (int turn = 0; ends_first && turn < 10; ++turn) fixture.loop.turn(false);
    assert_true(client.receive_all().ends_with("error 3\nbye\n"));
    assert_int_equal(talk.closed, 0);
  }
}

void an_answer_that_is_forgotten_is_an_error(void** state) {
  Fixture& fixture = of(state);
  fixture.host.forget_flush = true;
  assert_int_equal(code_of(fixture.ask(fixture.local(), "POST", "/flush")), 500);
  fixture.host.forget_flush = false;
  assert_int_equal(code_of(fixture.ask(fixture.local(), "POST", "/flush")), 200);
}

void stop_answers_first(void** state) {
  Fixture& fixture = of(state);
  assert_int_equal(code_of(fixture.ask(fixture.local(), "POST", "/stop")), 200);
  while (!fixture.host.stopped) fixture.loop.turn(true);
}

}  // namespace

int main() {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
  const CMUnitTest tests[] = {
      TEST(health_and_readiness),
      TEST(status_and_sessions_are_json),
      TEST(what_is_not_there_is_refused),
      TEST(too_much_is_refused),
      TEST(reload_says_what_came_of_it),
      TEST(a_command_goes_to_its_service),
      TEST(an_answer_may_come_when_nobody_waits),
      TEST(bans_are_listed_made_and_lifted),
      TEST(a_console_talks_over_the_local_socket),
      TEST(a_console_that_has_gone_is_noticed),
      TEST(an_answer_that_is_forgotten_is_an_error),
      TEST(stop_answers_first),
  };
  return cmocka_run_group_tests_name("core.admin.admin_server", tests, nullptr, nullptr);
}
