// The plugin rudp as a plain stop-and-wait peer sees it, written here from the formats alone.
#include "net/rudp_socket.h"
#include "support/daemon.h"
#include "support/relay.h"

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "support/cmocka.h"  // last: it defines fail()

using namespace portolan::testing;

namespace {

namespace fs = std::filesystem;

std::string number(std::uint32_t value) {
  return {static_cast<char>(value >> 24U), static_cast<char>(value >> 16U), static_cast<char>(value >> 8U),
          static_cast<char>(value)};
}

// The client speaks UDP to the port of rudp://.
std::string udp_of(const std::string& address) { return "udp" + address.substr(4); }

std::string configuration(const std::string& keys) {
  return fmt::format(
      "return {{ services = {{ {{ plugin = 'rudp', name = 'r', listen = 'rudp://127.0.0.1:0', {} }} }} }}", keys);
}

void messages_are_acknowledged_and_answered_once(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(
      configuration("on_message = function(text, session) "
                    "if text == 'quiet' then return nil end "
                    "return session.transport .. ' ' .. text:upper() end"));
  Client peer(udp_of(daemon.address("r", "rudp")));
  for (std::uint32_t sequence = 0; sequence < 5; ++sequence) {
    const std::string packet = number(sequence) + '\0' + "hello";
    bool acknowledged = false;
    bool answered = false;
    assert_true(peer.send(packet));
    while (!acknowledged || !answered) {
      const std::string got = peer.receive_datagram();
      assert_true(got.size() >= 5);
      if (got[4] == 1) {
        assert_true(got == number(sequence) + '\1');
        acknowledged = true;
      } else if (got.substr(5) == "udp HELLO") {
        // Ours are acknowledged as the format says.
        answered = true;
        assert_true(peer.send(got.substr(0, 4) + '\1'));
      }
    }
    // Again: acknowledged again, and not delivered twice.
    assert_true(peer.send(packet));
    for (std::string got = peer.receive_datagram(); got != number(sequence) + '\1'; got = peer.receive_datagram()) {
      assert_int_equal(got[4], 0);  // an answer whose acknowledgement came late
      assert_true(peer.send(got.substr(0, 4) + '\1'));
    }
  }
  assert_true(peer.send(number(5) + '\0' + "quiet"));
  assert_true(peer.receive_datagram() == number(5) + '\1');
  const Json sessions = daemon.query({"sessions"}).at("sessions");
  assert_int_equal(sessions.size(), 1);
  assert_string_equal(sessions[0].at("transport").get<std::string>().c_str(), "udp");
}

// Sends a message of rudp's own, and keeps what comes.
class Speaker final : public portolan::rudp::EndpointHandler, public portolan::rudp::ConnectionHandler {
 public:
  Speaker(portolan::Loop& loop, std::string text) : loop_(loop), text_(std::move(text)) {}
  // Before, it is not known how long a message the peer takes.
  void on_connected(portolan::rudp::Connection& connection) noexcept override {
    sent = connection.send_message(std::as_bytes(std::span(text_.data(), text_.size())));
  }
  void on_message(portolan::rudp::Connection&, std::span<const std::byte> data) noexcept override {
    got.assign(reinterpret_cast<const char*>(data.data()), data.size());
    loop_.stop();
  }
  void on_closed(portolan::rudp::Connection&, const portolan::rudp::CloseReason&) noexcept override { loop_.stop(); }
  bool sent = false;
  std::string got;

 private:
  portolan::Loop& loop_;
  const std::string text_;
};

void messages_of_its_own_protocol_reach_the_same_hook(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(configuration("on_message = function(text, session) return session.transport .. ' ' .. #text end"));
  portolan::Loop loop;
  // Longer than a packet.
  Speaker speaker(loop, noise(50'000, 13));
  const auto socket =
      portolan::RudpSocket::open(loop, portolan::Address::parse("0.0.0.0:0").value(), {}, speaker).value();
  const auto address = portolan::Address::parse(daemon.address("r", "rudp").substr(7)).value();
  assert_non_null(socket->connect(address, {}, speaker));
  portolan::LoopTimer limit(loop, [&] { loop.stop(); });
  limit.start(kPatience);
  loop.run();
  assert_true(speaker.sent);
  assert_string_equal(speaker.got.c_str(), "rudp 50000");
  const Json sessions = daemon.query({"sessions"}).at("sessions");
  assert_int_equal(sessions.size(), 1);
  assert_string_equal(sessions[0].at("transport").get<std::string>().c_str(), "rudp");
}

// Stop-and-wait, to the letter: data from 0 on, each until its acknowledgement, and a fin behind them.
bool send_file(Client& peer, const std::string& content) {
  std::uint32_t sequence = 0;
  const auto exchange = [&](char type, std::string_view payload) {
    const std::string packet = std::string(1, type) + number(sequence) + std::string(payload);
    for (int attempt = 0; attempt < 50; ++attempt) {
      if (!peer.send(packet)) return false;
      const std::string got = peer.receive_datagram();
      if (got == std::string(1, '\2') + number(sequence)) {
        ++sequence;
        return true;
      }
    }
    return false;
  };
  for (std::size_t at = 0; at < content.size(); at += 1019)
    if (!exchange('\1', std::string_view(content).substr(at, 1019))) return false;
  return exchange('\3', {});
}

void a_file_is_whole_when_its_end_is_acknowledged(void** state) {
  Daemon& daemon = daemon_of(state);
  const std::string folder = daemon.folder().file("inbox");
  fs::create_directory(folder);
  daemon.start(configuration(fmt::format("mode = 'files', folder = '{}', max_file = '300KiB', keep_free = 0", folder)));
  const std::string content = noise(200'000, 11);
  Client peer(udp_of(daemon.address("r", "rudp")));
  assert_true(send_file(peer, content));
  int files = 0;
  for (const auto& entry : fs::directory_iterator(folder)) {
    std::ifstream file(entry.path(), std::ios::binary);
    std::ostringstream got;
    got << file.rdbuf();
    assert_true(got.str() == content);
    assert_true(entry.path().filename().string().find("127.0.0.1") != std::string::npos);
    ++files;
  }
  assert_int_equal(files, 1);
  assert_int_equal(daemon.counter("r", "files"), 1);
  // One that is too long leaves nothing behind.
  Client second(udp_of(daemon.address("r", "rudp")), {.patience = Milliseconds(300)});
  const std::string longer = noise(400'000, 12);
  std::uint32_t sequence = 0;
  for (; sequence * 1019 < longer.size(); ++sequence) {
    assert_true(second.send('\1' + number(sequence) + longer.substr(sequence * 1019, 1019)));
    if (second.receive_datagram().empty()) break;
  }
  assert_int_equal(sequence, 300 * 1024 / 1019);
  assert_int_equal(daemon.counter("r", "files_failed"), 1);
  assert_true(daemon.log_has("longer than max_file"));
  files = 0;
  for ([[maybe_unused]] const auto& entry : fs::directory_iterator(folder)) ++files;
  assert_int_equal(files, 1);
}

void other_services_do_not_answer_foreign_datagrams(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start("return { services = { { plugin = 'echo', name = 'r', listen = 'rudp://127.0.0.1:0' } } }");
  Client peer(udp_of(daemon.address("r", "rudp")), {.patience = Milliseconds(300)});
  assert_true(peer.send(number(0) + '\0' + "hello"));
  assert_string_equal(peer.receive_datagram().c_str(), "");
  assert_int_equal(daemon.counter("r", "sessions"), 0);
}

}  // namespace

int main() {
#define DAEMON_TEST(name) cmocka_unit_test_setup_teardown(name, make_daemon, end_daemon)
  const CMUnitTest tests[] = {
      DAEMON_TEST(messages_are_acknowledged_and_answered_once),
      DAEMON_TEST(messages_of_its_own_protocol_reach_the_same_hook),
      DAEMON_TEST(a_file_is_whole_when_its_end_is_acknowledged),
      DAEMON_TEST(other_services_do_not_answer_foreign_datagrams),
  };
#undef DAEMON_TEST
  return cmocka_run_group_tests_name("process.rudp_plugin", tests, nullptr, nullptr);
}
