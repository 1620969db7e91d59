// Two sockets of rudp on one loop: bytes go across, foreign datagrams pass by, and an address where nobody is, is told.
#include "net/rudp_socket.h"

#include "base/unique_fd.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <memory>
#include <cstdlib>
#include <string>
#include <vector>

#include "support/cmocka.h"

using namespace portolan;
using namespace std::chrono_literals;

namespace {

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}
std::string text_of(std::span<const std::byte> data) {
  return {reinterpret_cast<const char*>(data.data()), data.size()};
}

// Sends back what it gets, and the end.
class Echo final : public rudp::EndpointHandler, public rudp::ConnectionHandler {
 public:
  rudp::ConnectionHandler* on_connection(rudp::Connection&) noexcept override {
    ++connections;
    return this;
  }
  void on_readable(rudp::Connection& connection, rudp::StreamId id) noexcept override { pass(connection, id); }
  void on_writable(rudp::Connection& connection, rudp::StreamId id) noexcept override { pass(connection, id); }
  void on_closed(rudp::Connection&, const rudp::CloseReason&) noexcept override { ++closed; }
  void on_foreign_datagram(const Address& from, const Address& to, std::span<const std::byte> data) noexcept override {
    if (socket) socket->send_foreign(from, to, data);
  }
  static void pass(rudp::Connection& connection, rudp::StreamId id) noexcept {
    for (auto data = connection.peek(id); !data.empty(); data = connection.peek(id)) {
      const std::size_t taken = connection.write(id, data);
      connection.consume(id, taken);
      if (taken < data.size()) return;
    }
    if (connection.ended(id)) connection.finish(id);
  }
  RudpSocket* socket = nullptr;
  int connections = 0;
  int closed = 0;
};

class Asker final : public rudp::EndpointHandler, public rudp::ConnectionHandler {
 public:
  Asker(Loop& loop, std::string text) : text_(std::move(text)), loop_(loop) {}
  void begin(rudp::Connection& connection) {
    stream = connection.open_stream().value();
    send(connection);
  }
  void on_readable(rudp::Connection& connection, rudp::StreamId id) noexcept override {
    for (auto data = connection.peek(id); !data.empty(); data = connection.peek(id)) {
      got += text_of(data);
      connection.consume(id, data.size());
    }
    if (connection.ended(id)) connection.close(0, "done");
  }
  void on_writable(rudp::Connection& connection, rudp::StreamId) noexcept override { send(connection); }
  void on_closed(rudp::Connection&, const rudp::CloseReason& why) noexcept override {
    reason = why;
    ended = true;
    loop_.stop();
  }
  void send(rudp::Connection& connection) {
    sent += connection.write(stream, bytes_of(text_).subspan(sent));
    if (sent == text_.size()) connection.finish(stream);
  }
  rudp::StreamId stream = 0;
  std::size_t sent = 0;
  std::string got;
  rudp::CloseReason reason;
  bool ended = false;

 private:
  const std::string text_;
  Loop& loop_;
};

std::string noise(std::size_t size) {
  std::string text(size, '\0');
  std::uint64_t state = 88172645463325252ULL;
  for (char& one : text) {
    state ^= state << 13U;
    state ^= state >> 7U;
    state ^= state << 17U;
    one = static_cast<char>(state);
  }
  return text;
}

Address loopback(const char* host) { return Address::parse(host).value(); }

// A test that waits for ever ends with an error instead.
struct Limit {
  explicit Limit(Loop& loop) : timer(loop, [&loop] { loop.stop(); }) { timer.start(60s); }
  LoopTimer timer;
};

void bytes_go_there_and_back(void**) {
  for (const bool with_key : {false, true}) {
    for (const char* host : {"127.0.0.1:0", "[::1]:0", "0.0.0.0:0"}) {
      Loop loop;
      const Limit limit(loop);
      rudp::EndpointOptions options{.accepts = true};
      if (with_key) options.connection.key = rudp::Key::random();
      Echo echo;
      const auto server = RudpSocket::open(loop, loopback(host), options, echo).value();
      const std::string text = noise(8'000'000);
      Asker asker(loop, text);
      const auto client = RudpSocket::open(loop, loopback(host[0] == '[' ? "[::]:0" : "0.0.0.0:0"), {}, asker).value();
      Address target = server->local();
      // On all addresses, the one that was asked answers.
      if (target.scope() == AddressScope::unspecified) {
        target = loopback("127.0.0.5:1");
        target.set_port(server->local().port());
      }
      rudp::Connection* connection = client->connect(target, options.connection, asker);
      assert_non_null(connection);
      asker.begin(*connection);
      loop.run();
      assert_true(asker.ended);
      assert_true(asker.reason.kind == rudp::CloseReason::Kind::local);
      assert_int_equal(asker.got.size(), text.size());
      assert_true(asker.got == text);
      assert_int_equal(echo.connections, 1);
      // It has been told, and forgets the connection when what is late can no longer come.
      while (!echo.closed || server->endpoint().connections()) loop.turn(true);
    }
  }
}

void a_descriptor_is_taken_over(void**) {
  Loop loop;
  Echo echo;
  const int descriptor = ::socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  sockaddr_storage storage;
  const socklen_t length = loopback("127.0.0.1:0").to_sockaddr(storage);
  assert_return_code(bind(descriptor, reinterpret_cast<const sockaddr*>(&storage), length), errno);
  const auto socket = RudpSocket::adopt(loop, descriptor, {.accepts = true}, echo).value();
  assert_true(socket->local().port() != 0);
  const int copy = fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
  assert_true(copy >= 0);
  close(copy);
  assert_false(RudpSocket::adopt(loop, ::open("/dev/null", O_RDONLY | O_CLOEXEC), {}, echo).has_value());
}

void datagrams_of_another_protocol_pass_by(void**) {
  Loop loop;
  const Limit limit(loop);
  Echo echo;
  const auto server = RudpSocket::open(loop, loopback("127.0.0.1:0"), {.accepts = true}, echo).value();
  echo.socket = server.get();
  const UniqueFd stranger(::socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  sockaddr_storage storage;
  const socklen_t length = server->local().to_sockaddr(storage);
  assert_return_code(connect(stranger.get(), reinterpret_cast<const sockaddr*>(&storage), length), errno);
  // The seed formats' first bytes are below 0x40.
  const std::string text("\0\0\0\1\0hello", 10);
  assert_int_equal(send(stranger.get(), text.data(), text.size(), 0), text.size());
  char buffer[64];
  ssize_t count = -1;
  for (int turn = 0; turn < 1000 && count < 0; ++turn) {
    loop.turn(true);
    count = recv(stranger.get(), buffer, sizeof buffer, 0);
  }
  assert_int_equal(count, text.size());
  assert_memory_equal(buffer, text.data(), text.size());
}

void an_address_where_nobody_is_is_told(void**) {
  // QEMU hands no errors of the network to the programs that it runs.
  if (std::getenv("PORTOLAN_EMULATOR")) skip();
  Loop loop;
  const Limit limit(loop);
  Address nobody;
  {
    Echo echo;
    nobody = RudpSocket::open(loop, loopback("127.0.0.1:0"), {}, echo).value()->local();
  }
  Asker asker(loop, "hello");
  const auto client = RudpSocket::open(loop, loopback("0.0.0.0:0"), {}, asker).value();
  Address told;
  int error = 0;
  client->watch_unreachable([&](const Address& to, int error_number) {
    told = to;
    error = error_number;
    loop.stop();
  });
  rudp::Connection* connection = client->connect(nobody, {}, asker);
  asker.begin(*connection);
  loop.run();
  assert_true(told == nobody);
  assert_int_equal(error, ECONNREFUSED);
  // It goes on: what ICMP says is believed by nobody here.
  assert_int_equal(client->endpoint().connections(), 1);
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test(bytes_go_there_and_back),
      cmocka_unit_test(a_descriptor_is_taken_over),
      cmocka_unit_test(datagrams_of_another_protocol_pass_by),
      cmocka_unit_test(an_address_where_nobody_is_is_told),
  };
  return cmocka_run_group_tests_name("core.net.rudp_socket", tests, nullptr, nullptr);
}
