// Every file of lua/examples, served by a daemon and talked to as its comment says.
#include "support/daemon.h"
#include "support/server_socket.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>

#include "support/cmocka.h"  // last: it defines fail()

using namespace portolan::testing;

namespace {

std::string folder() { return std::string(std::getenv("PORTOLAN_SOURCE")) + "/lua/examples/"; }

// The example with ports that the kernel has just given in place of its own: services of one dial another's.
std::string example(const std::string& name) {
  std::ifstream file(folder() + name);
  std::stringstream stream;
  stream << file.rdbuf();
  std::string text = stream.str();
  std::map<std::string, std::string> ports;
  const std::string host = "127.0.0.1:70";
  for (std::size_t at = 0; (at = text.find(host, at)) != std::string::npos; at += host.size()) {
    const std::size_t from = at + 10;
    std::string& port = ports[text.substr(from, 4)];
    if (port.empty()) {
      ServerSocket free;
      port = free.address().substr(free.address().rfind(':') + 1);
    }
    text.replace(from, 4, port);
  }
  return text;
}

std::set<std::string> tried;

void start(Daemon& daemon, const std::string& name) {
  tried.insert(name);
  daemon.start(example(name));
}

// Sends a line and takes what comes up to the end of a line.
std::string ask(Client& client, const std::string& line) {
  if (!client.send(line + "\n")) return "cannot send: " + client.error();
  return client.receive_line();
}

std::string to_hex(const std::string& bytes) {
  std::string text;
  for (const unsigned char byte : bytes) text += fmt::format("{:02x}", byte);
  return text;
}

void daytime(void** state) {
  Daemon& daemon = daemon_of(state);
  start(daemon, "daytime.lua");
  Client client(daemon.address("daytime"));
  const std::string said = client.receive_all();
  assert_int_equal(said.size(), 22);
  assert_int_equal(said[10], 'T');
  assert_string_equal(said.substr(19).c_str(), "Z\r\n");
  assert_string_equal(to_text(client.end()), to_text(End::closed));
  Client datagram(daemon.address("daytime", "udp"));
  assert_true(datagram.send("?"));
  assert_int_equal(datagram.receive_datagram().size(), 22);
}

void key_value(void** state) {
  Daemon& daemon = daemon_of(state);
  start(daemon, "key_value.lua");
  Client client(daemon.address("store"));
  Client other(daemon.address("store"));
  assert_string_equal(ask(client, "SET colour dark blue").c_str(), "ok\n");
  assert_string_equal(ask(other, "GET colour").c_str(), "value dark blue\n");
  assert_string_equal(ask(other, "SET b 2").c_str(), "ok\n");
  assert_string_equal(ask(client, "KEYS").c_str(), "2 b colour\n");
  assert_string_equal(ask(client, "DELETE colour").c_str(), "ok\n");
  assert_string_equal(ask(client, "GET colour").c_str(), "none\n");
  assert_string_equal(ask(client, "BREW tea").c_str(), "error: unknown command\n");
  assert_true(client.send("QUIT\n"));
  assert_string_equal(client.receive_all().c_str(), "");
  assert_string_equal(ask(other, "KEYS").c_str(), "1 b\n");
}

void guess(void** state) {
  Daemon& daemon = daemon_of(state);
  start(daemon, "guess.lua");
  Client client(daemon.address("guess"));
  assert_string_equal(client.receive_line().c_str(), "I think of a number from 1 to 100.\n");
  int low = 1;
  int high = 100;
  for (int tries = 1; tries <= 7; ++tries) {
    const std::string prompt = "guess " + std::to_string(tries) + ": ";
    assert_string_equal(client.receive(prompt.size()).c_str(), prompt.c_str());
    const int middle = (low + high) / 2;
    const std::string answer = ask(client, std::to_string(middle));
    if (answer.starts_with("Yes!")) return;
    answer == "It is more.\n" ? low = middle + 1 : high = middle - 1;
  }
  fail_msg("seven guesses are enough for a hundred numbers");
}

void request(void** state) {
  Daemon& daemon = daemon_of(state);
  start(daemon, "request.lua");
  Client client(daemon.address("client"));
  assert_string_equal(ask(client, "GET /").c_str(), "200 OK: welcome\n");
  assert_string_equal(ask(client, "POST /notes hello").c_str(), "201 Created: kept 5 bytes\n");
  assert_true(client.send("GET /notes\nBREW /tea\n"));
  assert_string_equal(client.receive_line().c_str(), "200 OK: hello400 Bad Request: unknown method BREW\n");
  assert_string_equal(ask(client, "GET /none").c_str(), "404 Not Found: no page /none\n");
  // As a client of one's own would.
  Client raw(daemon.address("pages"));
  assert_true(raw.send("POST /a b c\n"));
  assert_true(raw.receive_all().starts_with("400 Bad Request\nContent-Length: 18\n\nmalformed request"));
  Client lies(daemon.address("pages"));
  assert_true(lies.send("POST /a\nContent-Length: 99999999999\n\n"));
  assert_true(lies.receive_all().ends_with("bad Content-Length\n"));
  Client pipelined(daemon.address("pages"));
  assert_true(pipelined.send("POST /p\nContent-Length: 3\n\nabcGET /p\n\nGET /p\n\n"));
  const std::string page = "200 OK\nContent-Length: 3\n\nabc";
  const std::string expected = "201 Created\nContent-Length: 13\n\nkept 3 bytes\n" + page + page;
  assert_string_equal(pipelined.receive(expected.size()).c_str(), expected.c_str());
}

void feed(void** state) {
  Daemon& daemon = daemon_of(state);
  tried.insert("feed.lua");
  // On two workers, which is more than the file asks for.
  std::string text = example("feed.lua");
  text.replace(text.find("return {"), 8, "return { workers = 2,");
  daemon.start(text);
  Client one(daemon.address("feed"));
  Client two(daemon.address("feed"));
  Client sensor(daemon.address("sensors"));
  assert_true(wait_until([&] { return daemon.counter("feed", "hook_calls") == 2; }));
  const auto frame = [](Client& client) {
    const std::string length = client.receive(4);
    return length.size() < 4 ? std::string() : client.receive(static_cast<unsigned char>(length[3]));
  };
  for (int count = 0; count < 50; ++count) {
    const std::string degrees = std::to_string(count) + ".5";
    assert_true(sensor.send("kitchen " + degrees + "\n"));
    for (Client* client : {&one, &two}) {
      const Json reading = Json::parse(frame(*client), nullptr, false);
      assert_false(reading.is_discarded());
      assert_string_equal(reading["room"].get<std::string>().c_str(), "kitchen");
      assert_true(reading["degrees"].get<double>() == count + 0.5);
    }
  }
  Client datagram(daemon.address("sensors", "udp"));
  assert_true(datagram.send("cellar -3"));
  assert_true(frame(one).find("\"cellar\"") != std::string::npos);
  // Who hangs up is gone at once, although nothing was expected from him.
  one.close();
  assert_true(wait_until([&] { return daemon.counter("feed", "sessions_open") == 1; }));
}

void stock(void** state) {
  Daemon& daemon = daemon_of(state);
  start(daemon, "stock.lua");
  Client clerk(daemon.address("clerk"));
  assert_string_equal(ask(clerk, "tea +5").c_str(), "tea: 5\n");
  assert_string_equal(ask(clerk, "tea -2").c_str(), "tea: 3\n");
  assert_string_equal(ask(clerk, "tea").c_str(), "tea: 3\n");
  assert_string_equal(ask(clerk, "tea -9").c_str(), "TOO_FEW: there are 3\n");
  assert_string_equal(ask(clerk, "coffee").c_str(), "coffee: 0\n");
  assert_string_equal(ask(clerk, "?").c_str(), "MALFORMED: expected a change, or a count\n");
  // As a client of one's own would, which sends two at once: id 7, change tea by 1; id 8, count_of tea.
  Client raw(daemon.address("stock"));
  assert_true(raw.send(std::string("\0\0\0\x0b\x08\x07\x12\x07\x0a\x03tea\x10\x02\0\0\0\7\x08\x08\x1a\3tea", 26)));
  const std::string expected("\0\0\0\x0b\x08\x07\x1a\x07\x0a\3tea\x10\4\0\0\0\x0b\x08\x08\x1a\x07\x0a\3tea\x10\4", 30);
  assert_string_equal(to_hex(raw.receive(expected.size())).c_str(), to_hex(expected).c_str());
  // What is no message is answered once, and the session ends.
  assert_true(raw.send(std::string("\0\0\0\2\x08\x80", 6)));
  const std::string last = raw.receive_all();
  assert_true(last.find("Request.id: malformed at byte 2") != std::string::npos);
}

void watch(void** state) {
  Daemon& daemon = daemon_of(state);
  start(daemon, "watch.lua");
  assert_true(wait_until([&] {
    Client client(daemon.address("watch"));
    const std::string said = client.receive_all();
    return said.find(" up\n") != std::string::npos && said.find(":9 down: ") != std::string::npos;
  }));
  assert_true(daemon.log_has(" is up"));
}

void chat_bot(void** state) {
  Daemon& daemon = daemon_of(state);
  start(daemon, "chat_bot.lua");
  Client client(daemon.address("lobby"));
  assert_true(client.send("ann\n"));
  const auto until = [&](std::string_view text) {
    for (std::string line; !(line = client.receive_line()).empty();)
      if (line.find(text) != std::string::npos) return true;
    return false;
  };
  // It comes a moment after the chat.
  assert_true(wait_until([&] {
    client.send("/who\n/topic\n");
    std::string all;
    for (std::string line; !(line = client.receive_line()).empty() && line.find("topic") == std::string::npos;)
      all += line;
    return all.find("robot") != std::string::npos;
  }));
  assert_true(client.send("hello\n!seen bob\n") && until("[robot] I have not heard bob"));
  assert_true(client.send("!seen ann\n") && until("[robot] ann last spoke at 2"));
  assert_true(client.send("!roll\n") && until("[robot] You have a "));
}

void all_were_tried(void**) {
  for (const auto& entry : std::filesystem::directory_iterator(folder()))
    if (!tried.contains(entry.path().filename().string())) fail_msg("%s has no test", entry.path().c_str());
}

}  // namespace

int main() {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_daemon, end_daemon)
  const CMUnitTest tests[] = {
      TEST(daytime), TEST(key_value), TEST(guess),
      TEST(request), TEST(feed),      TEST(stock),
      TEST(watch),   TEST(chat_bot),  cmocka_unit_test(all_were_tried),
  };
  return cmocka_run_group_tests_name("process.script_examples", tests, nullptr, nullptr);
}
