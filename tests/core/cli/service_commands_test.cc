// What the commands for services ask a daemon, and how they show its answers: the binary against an admin socket whose
// answers the test writes.
#include "event/http_server.h"

#include "support/daemon.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "support/cmocka.h"

using namespace portolan;
using namespace portolan::testing;

namespace {

constexpr const char* kStatus = R"({"version":"1","pid":1,"services":[
  {"name":"web","plugin":"relay","open":3,"drained":true,"commands":["backends","drain","faults","undrain"]},
  {"name":"dns","plugin":"relay","open":0,"drained":false,"commands":["backends","drain","undrain"]},
  {"name":"echo","plugin":"echo","open":1,"drained":false,"commands":["drain","undrain"]}]})";

// A daemon's admin socket: `answers` by "service command", and what it was asked.
struct Fixture {
  Fixture() {
    path = folder.file("admin.sock");
    fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un local{};
    local.sun_family = AF_UNIX;
    path.copy(local.sun_path, sizeof local.sun_path - 1);
    ::bind(fd, reinterpret_cast<const sockaddr*>(&local), sizeof local);
    ::listen(fd, 16);
    thread = std::thread([this] {
      const HttpServer server(loop, fd,
                              [this](const HttpRequest& request, const HttpReply& reply) { serve(request, reply); });
      loop.run();
    });
  }
  ~Fixture() {
    mailbox.post([this] { loop.stop(); });
    thread.join();
    ::close(fd);
  }
  void serve(const HttpRequest& request, const HttpReply& reply) {
    const std::lock_guard lock(mutex);
    if (request.path == "/status") return reply.send(200, "application/json", kStatus);
    std::string text = request.method;
    for (const auto& [key, value] : request.query) text += fmt::format(" {}={}", key, value);
    asked.push_back(text);
    const auto found = answers.find(request.query.at("service") + " " + request.query.at("command"));
    found == answers.end() ? reply.send(404, "application/json", R"({"ok":false,"error":"not here"})")
                           : reply.send(200, "application/json", found->second);
  }
  void answer(const std::string& command, const std::string& json) {
    const std::lock_guard lock(mutex);
    answers[command] = json;
  }
  std::string last_asked() {
    const std::lock_guard lock(mutex);
    return asked.empty() ? "" : asked.back();
  }
  CommandResult run(std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"--socket", path});
    CommandResult result = run_portolan(arguments);
    if (!result.errors.empty()) print_message("%s", result.errors.c_str());
    return result;
  }

  TemporaryFolder folder;
  std::string path;
  int fd = -1;
  Loop loop;
  Mailbox mailbox{loop};
  std::mutex mutex;
  std::map<std::string, std::string> answers;
  std::vector<std::string> asked;
  std::thread thread;
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

void expect_output(const CommandResult& result, const std::string& wanted) {
  assert_int_equal(result.code, 0);
  assert_string_equal(result.output.c_str(), wanted.c_str());
}

void backends_are_a_table_over_all_services(void** state) {
  Fixture& fixture = of(state);
  fixture.answer("web backends", R"([
    {"name":"b1","address":"tcp://10.0.0.1:80","state":"up","reason":"","since_ms":0,"weight":1,"backup":false,
     "sessions":3,"waiting":0,"total":12345,"failed":2,"breaker":"closed"},
    {"name":"b2","address":"tcp://10.0.0.2:80","state":"down","reason":"refused","since_ms":1000,"weight":10,
     "backup":true,"sessions":0,"waiting":1,"total":0,"failed":0,"breaker":"half_open"}])");
  fixture.answer("dns backends", R"([{"name":"\u001b[31mevil","address":"udp://10.0.0.3:53","state":"unknown"}])");
  const CommandResult all = fixture.run({"backends"});
  // How many days have gone by since 1970 is not for this test to say, but that they have five digits.
  std::string table = all.output;
  const std::size_t age = table.find_first_of("0123456789", table.find("refused"));
  assert_int_equal(table.find('d', age), age + 5);
  table.replace(age, 6, "AGE...");
  const char* const wanted =
      R"(SERVICE  BACKEND       ADDRESS            STATE    REASON    SINCE  WEIGHT  SESSIONS  WAITING   TOTAL  FAILED  BREAKER
web      b1            tcp://10.0.0.1:80  up                             1         3        0  12,345       2  closed
web      b2 (backup)   tcp://10.0.0.2:80  down     refused  AGE...      10         0        1       0       0  half_open
dns      \x1b[31mevil  udp://10.0.0.3:53  unknown                        0         0        0       0       0
)";
  assert_int_equal(all.code, 0);
  assert_string_equal(table.c_str(), wanted);
  const Json json = Json::parse(fixture.run({"backends", "--json"}).output);
  assert_int_equal(json.size(), 3);
  assert_true(json[0].at("service") == "web" && json[0].at("name") == "b1" && json[2].at("service") == "dns");

  const std::string status = fixture.run({"status"}).output;
  assert_non_null(strstr(status.c_str(), "drained, 1 of 2 backends up"));
  assert_non_null(strstr(status.c_str(), "0 of 1 backends up"));
  assert_non_null(strstr(status.c_str(), "serves"));
}

void drain_is_for_a_service_or_a_backend(void** state) {
  Fixture& fixture = of(state);
  fixture.answer("web drain", R"({"drained":true,"changed":true,"sessions":3})");
  fixture.answer("web undrain", "{}");
  expect_output(fixture.run({"drain", "web"}), "web takes no new sessions; 3 open\n");
  assert_string_equal(fixture.last_asked().c_str(), "POST command=drain service=web");
  fixture.answer("web drain", "{}");
  expect_output(fixture.run({"drain", "web", "b 1&x"}), "b 1&x of web takes no new sessions\n");
  assert_string_equal(fixture.last_asked().c_str(), "POST backend=b 1&x command=drain service=web");
  expect_output(fixture.run({"undrain", "web", "b1"}), "b1 of web takes new sessions again\n");
  assert_string_equal(fixture.last_asked().c_str(), "POST backend=b1 command=undrain service=web");
}

void faults_are_added_listed_and_removed(void** state) {
  Fixture& fixture = of(state);
  fixture.answer("web fault_add", R"({"id":"slow"})");
  expect_output(fixture.run({"fault", "add", "web", "latency", "latency=100ms", "name=slow"}), "id             slow\n");
  assert_string_equal(fixture.last_asked().c_str(),
                      "POST command=fault_add kind=latency latency=100ms name=slow service=web");
  fixture.answer("web faults", "[]");
  expect_output(fixture.run({"fault", "list"}), "there is no fault\n");
  fixture.answer("web faults",
                 R"([{"id":"slow","kind":"latency","probability":0.5},{"id":"x","kind":"loss","seed":7}])");
  expect_output(fixture.run({"fault", "list", "web"}),
                "SERVICE  ID    KIND     PROBABILITY  SEED\n"
                "web      slow  latency          0.5\n"
                "web      x     loss                     7\n");
  fixture.answer("web fault_remove", R"({"removed":2})");
  expect_output(fixture.run({"fault", "remove", "web", "all"}), "removed        2\n");
  assert_string_equal(fixture.last_asked().c_str(), "POST command=fault_remove id=all service=web");

  for (const std::vector<std::string>& wrong :
       std::vector<std::vector<std::string>>{{"fault", "add", "web"},
                                             {"fault", "add", "web", "kind=loss"},
                                             {"fault", "add", "web", "loss", "kind=loss"},
                                             {"fault", "add", "web", "loss", "a=1", "a=2"},
                                             {"fault", "add", "web", "loss", "command=stop"},
                                             {"fault", "remove", "web"},
                                             {"fault", "list", "web", "x"},
                                             {"fault", "change", "web"}}) {
    assert_int_equal(fixture.run(wrong).code, 2);
  }
  assert_int_equal(fixture.run({"fault", "list", "dns"}).code, 4);
}

void any_answer_is_shown(void** state) {
  Fixture& fixture = of(state);
  const std::pair<const char*, const char*> cases[] = {
      {R"([{"a":1,"b":"x"},{"a":20,"c":true}])", " A  B  C\n 1  x\n20     yes\n"},
      {R"({"a":1,"long":null,"c":"d\u0007"})", "a              1\nlong           \nc              d\\x07\n"},
      {R"(["a",1])", "a\n1\n"},
      {"[]", "nothing\n"},
      {"12", "12\n"},
      {R"({"a":{"b":1}})", "{\n  \"a\": {\n    \"b\": 1\n  }\n}\n"},
  };
  for (const auto& [answer, shown] : cases) {
    fixture.answer("echo ask", answer);
    expect_output(fixture.run({"command", "echo", "ask", "k=v=w"}), shown);
    assert_string_equal(fixture.last_asked().c_str(), "POST command=ask k=v=w service=echo");
    assert_true(Json::parse(fixture.run({"command", "echo", "ask", "--json"}).output) == Json::parse(answer));
  }
  assert_int_equal(fixture.run({"command", "echo", "other"}).code, 4);
}

}  // namespace

int main() {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
  const CMUnitTest tests[] = {
      TEST(backends_are_a_table_over_all_services),
      TEST(drain_is_for_a_service_or_a_backend),
      TEST(faults_are_added_listed_and_removed),
      TEST(any_answer_is_shown),
  };
  return cmocka_run_group_tests_name("core.cli.service_commands", tests, nullptr, nullptr);
}
