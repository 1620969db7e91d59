// A chat and a group of UDP, on the loopback interface: what goes across, and what must not.
#include "support/daemon.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>

#include "support/cmocka.h"  // last: it defines fail()

using namespace portolan::testing;

namespace {

constexpr const char* kGroup = "239.255.77.7";

// A port that nobody has at this moment.
std::uint16_t free_port() {
  const int descriptor = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  bind(descriptor, reinterpret_cast<const sockaddr*>(&address), sizeof address);
  socklen_t length = sizeof address;
  getsockname(descriptor, reinterpret_cast<sockaddr*>(&address), &length);
  close(descriptor);
  return ntohs(address.sin_port);
}

// Somebody in the group who is no daemon.
class Neighbour {
 public:
  explicit Neighbour(std::uint16_t port) : descriptor_(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    group_.sin_family = AF_INET;
    group_.sin_port = htons(port);
    inet_pton(AF_INET, kGroup, &group_.sin_addr);
    const int on = 1;
    setsockopt(descriptor_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    ip_mreqn request{};
    request.imr_multiaddr = group_.sin_addr;
    request.imr_address.s_addr = htonl(INADDR_LOOPBACK);
    joined_ = bind(descriptor_, reinterpret_cast<const sockaddr*>(&group_), sizeof group_) == 0 &&
              setsockopt(descriptor_, IPPROTO_IP, IP_ADD_MEMBERSHIP, &request, sizeof request) == 0 &&
              setsockopt(descriptor_, IPPROTO_IP, IP_MULTICAST_IF, &request, sizeof request) == 0;
  }
  ~Neighbour() { close(descriptor_); }
  bool joined() const { return joined_; }
  void send(const std::string& text) {
    sendto(descriptor_, text.data(), text.size(), 0, reinterpret_cast<const sockaddr*>(&group_), sizeof group_);
  }
  // What he sent himself comes, too.
  std::string receive() {
    pollfd wait{.fd = descriptor_, .events = POLLIN, .revents = 0};
    if (poll(&wait, 1, static_cast<int>(kPatience.count())) != 1) return {};
    char block[65536];
    const ssize_t got = recv(descriptor_, block, sizeof block, 0);
    return {block, static_cast<std::size_t>(got > 0 ? got : 0)};
  }

 private:
  const int descriptor_;
  sockaddr_in group_{};
  bool joined_ = false;
};

std::string configuration(std::uint16_t port, const std::string& more = "") {
  return fmt::format(
      "return {{ workers = 2, services = {{ {{ plugin = 'chat', name = 'lobby', listen = 'tcp://127.0.0.1:0', "
      "bridge = {{ address = 'udp://{}:{}', interface = '127.0.0.1', room = 'den', rate = '1000/s' }}, user_rate = 0, "
      "{} }} }} }}",
      kGroup, port, more);
}

// Enters the room of the bridge.
void enter(Client& client, const std::string& name) {
  client.send(name + "\n/join den\n");
  while (!client.receive_line().starts_with("* You are in den")) {
    assert_true(client.connected());
  }
}

std::string said(Client& client) {
  for (;;) {
    std::string line = client.receive_line();
    if (line.empty() || line.starts_with("[")) return line;
  }
}

void what_is_said_goes_across_once(void** state) {
  Daemon& daemon = daemon_of(state);
  const std::uint16_t port = free_port();
  Neighbour neighbour(port);
  if (!neighbour.joined()) skip();  // a machine without multicast on its loopback
  daemon.start(configuration(port));
  Client alice(daemon.address("lobby"));
  enter(alice, "alice");
  Client bob(daemon.address("lobby"));
  enter(bob, "bob");
  for (int reload = 0; reload < 2; ++reload) {
    alice.send("hello \"all\"\n");
    const Json out = Json::parse(neighbour.receive());
    assert_true(out["from"] == "alice" && out["content"] == "hello \"all\"" && out.contains("time"));
    assert_string_equal(said(bob).c_str(), "[alice] hello \"all\"\n");
    // In; what is no message of a chat, and our own once more, is not heard.
    neighbour.send("junk");
    neighbour.send(R"({"from":"a]b","content":"forged"})");
    neighbour.send(out.dump());
    neighbour.send(R"({"from":"carol","content":"hi\nthere","time":"now"})");
    assert_string_equal(said(alice).c_str(), "[carol@lan] hi there\n");
    assert_string_equal(said(bob).c_str(), "[carol@lan] hi there\n");
    for (int own = 0; own < 4; ++own) neighbour.receive();
    // Who writes from afar has no name that one here can have.
    alice.send("/nick carol@lan\n");
    assert_int_equal(daemon.command({"reload"}).code, 0);
  }
  // Had carol's words gone back, they would have come before these.
  alice.send("last\n");
  assert_true(Json::parse(neighbour.receive())["content"] == "last");
  assert_string_equal(said(bob).c_str(), "[alice] last\n");
  assert_int_equal(daemon.counter("lobby", "bridge_dropped"), 4);
}

void two_daemons_share_a_room(void** state) {
  Daemon& first = daemon_of(state);
  const std::uint16_t port = free_port();
  {
    Neighbour neighbour(port);
    if (!neighbour.joined()) skip();
  }
  first.start(configuration(port));
  auto* second = new Daemon;  // a failing assert jumps over destructors
  second->start(configuration(port));
  Client alice(first.address("lobby"));
  enter(alice, "alice");
  Client bob(second->address("lobby"));
  enter(bob, "bob");
  for (int number = 0; number < 20; ++number) {
    alice.send(fmt::format("{}\n", number));
    assert_string_equal(said(bob).c_str(), fmt::format("[alice@lan] {}\n", number).c_str());
    bob.send(fmt::format("{}\n", number));
    assert_string_equal(said(alice).c_str(), fmt::format("[bob@lan] {}\n", number).c_str());
  }
  const std::string wrong = second->end();
  assert_string_equal(wrong.c_str(), "");
  delete second;
}

void a_group_that_cannot_be_is_said_so(void** state) {
  Daemon& daemon = daemon_of(state);
  const std::string file = daemon.configure(
      "return { services = { { plugin = 'chat', name = 'lobby', listen = 'tcp://127.0.0.1:0', "
      "bridge = 'tcp://239.1.2.3:5000' } } }");
  const CommandResult checked = run_portolan({"check", file});
  assert_true(checked.code != 0);
  assert_non_null(strstr((checked.errors + checked.output).c_str(), "expected a group of IPv4"));
  daemon.start(configuration(free_port()));
  daemon.configure(
      "return { workers = 2, services = { { plugin = 'chat', name = 'lobby', listen = 'tcp://127.0.0.1:0', "
      "bridge = { address = 'udp://239.1.2.3:5000', interface = 'nosuch0' } } } }");
  const CommandResult reloaded = daemon.command({"reload"});
  assert_true(reloaded.code != 0);
  assert_non_null(strstr((reloaded.errors + reloaded.output).c_str(), "there is no interface \"nosuch0\""));
}

}  // namespace

int main() {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_daemon, end_daemon)
  const CMUnitTest tests[] = {
      TEST(what_is_said_goes_across_once),
      TEST(two_daemons_share_a_room),
      TEST(a_group_that_cannot_be_is_said_so),
  };
  return cmocka_run_group_tests_name("process.chat_bridge", tests, nullptr, nullptr);
}
