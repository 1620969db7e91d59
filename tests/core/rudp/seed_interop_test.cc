// The seed formats' engines over a socket of loopback, against stop-and-wait peers in another language: seed_peer.py,
// written from the formats alone.
#include "rudp/seed_file.h"
#include "rudp/seed_message.h"

#include "base/clock.h"

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "support/child_process.h"
#include "support/cmocka.h"
#include "support/temporary_folder.h"

using namespace portolan;
using namespace portolan::rudp;
using namespace portolan::testing;

namespace {

struct Fixture {
  TemporaryFolder folder;
  ChildProcess peer;
  int descriptor = -1;
};

int set_up(void** state) {
  auto* fixture = new Fixture;
  fixture->descriptor = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  sockaddr_in here{};
  here.sin_family = AF_INET;
  here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  *state = fixture;
  return ::bind(fixture->descriptor, reinterpret_cast<const sockaddr*>(&here), sizeof here);
}

int tear_down(void** state) {
  auto* fixture = static_cast<Fixture*>(*state);
  ::close(fixture->descriptor);
  delete fixture;
  return 0;
}

std::string port_of(int descriptor) {
  sockaddr_in address{};
  socklen_t size = sizeof address;
  assert_int_equal(::getsockname(descriptor, reinterpret_cast<sockaddr*>(&address), &size), 0);
  return std::to_string(ntohs(address.sin_port));
}

void start_peer(Fixture& fixture, std::vector<std::string> arguments, const LaunchOptions& options = {}) {
  if (run_to_end({"python3", "--version"}).code != 0) {
    if (std::getenv("PORTOLAN_EMULATOR")) skip();
    fail_msg("python3 is missing: install what [test-peers] in packages.txt lists (./dev test does)");
  }
  const char* source = std::getenv("PORTOLAN_SOURCE");
  std::vector<std::string> command = {"python3", std::string(source ? source : ".") + "/tests/support/seed_peer.py"};
  command.insert(command.end(), arguments.begin(), arguments.end());
  fixture.peer.start(command, options);
}

// A peer that receives; the socket is connected to it.
void start_receiver(Fixture& fixture, const std::vector<std::string>& arguments) {
  int ends[2];
  assert_int_equal(::pipe2(ends, O_CLOEXEC), 0);
  LaunchOptions options;
  options.standard_output = ends[1];
  start_peer(fixture, arguments, options);
  ::close(ends[1]);
  std::string port;
  for (char one = 0; ::read(ends[0], &one, 1) == 1 && one != '\n';) port += one;
  ::close(ends[0]);
  sockaddr_in there{};
  there.sin_family = AF_INET;
  there.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  there.sin_port = htons(static_cast<std::uint16_t>(std::atoi(port.c_str())));
  assert_int_equal(::connect(fixture.descriptor, reinterpret_cast<const sockaddr*>(&there), sizeof there), 0);
}

template <typename Engine>
void send_all(Engine& engine, int descriptor, const sockaddr_in& to) {
  const auto* address = to.sin_port == 0 ? nullptr : reinterpret_cast<const sockaddr*>(&to);
  const auto next = [&] {
    if constexpr (requires { engine.next_datagram(Duration{}); }) {
      return engine.next_datagram(monotonic_now());
    } else {
      return engine.next_datagram();
    }
  };
  for (auto datagram = next(); !datagram.empty(); datagram = next())
    ::sendto(descriptor, datagram.data(), datagram.size(), 0, address, address ? sizeof to : 0);
}

// False: not within a minute.
template <typename Engine>
bool run(Engine& engine, int descriptor, const std::function<bool()>& stop) {
  const Duration end = monotonic_now() + std::chrono::minutes(1);
  std::vector<std::byte> buffer(65536);
  sockaddr_in from{};
  for (send_all(engine, descriptor, from); !stop(); send_all(engine, descriptor, from)) {
    const Duration now = monotonic_now();
    if (now >= end) return false;
    Duration wait = std::chrono::milliseconds(20);
    if constexpr (requires { engine.deadline(); })
      if (const auto at = engine.deadline()) wait = std::clamp(*at - now, Duration::zero(), wait);
    pollfd waiting{.fd = descriptor, .events = POLLIN, .revents = 0};
    ::poll(&waiting, 1, static_cast<int>(std::chrono::ceil<std::chrono::milliseconds>(wait).count()));
    for (;;) {
      sockaddr_in sender{};
      socklen_t length = sizeof sender;
      const ssize_t size =
          ::recvfrom(descriptor, buffer.data(), buffer.size(), 0, reinterpret_cast<sockaddr*>(&sender), &length);
      if (size < 0) break;
      from = sender;
      engine.receive(std::span(buffer).first(static_cast<std::size_t>(size)), monotonic_now());
      send_all(engine, descriptor, from);
    }
  }
  return true;
}

std::string random_text(std::size_t size, unsigned seed) {
  std::mt19937 random(seed);
  std::string text(size, '\0');
  for (char& one : text) one = static_cast<char>(random());
  return text;
}

std::vector<std::string> some_messages() {
  std::vector<std::string> messages;
  for (unsigned i = 0; i < 60; ++i) messages.push_back(random_text(i * i % 1200, i));
  messages.push_back(random_text(60'000, 99));  // as long as a datagram gets, nearly
  return messages;
}

// As the peer reads and writes them.
std::string listed(const std::vector<std::string>& messages) {
  std::string all;
  for (const std::string& one : messages) {
    for (int shift = 24; shift >= 0; shift -= 8) all += static_cast<char>(one.size() >> static_cast<unsigned>(shift));
    all += one;
  }
  return all;
}

struct TextSource final : SeedFileSource {
  explicit TextSource(const std::string& content) : left(content) {}
  std::expected<std::size_t, int> read(std::span<std::byte> into) noexcept override {
    const std::size_t size = std::min(into.size(), left.size());
    std::ranges::copy(std::as_bytes(std::span(left.substr(0, size))), into.begin());
    left.remove_prefix(size);
    return size;
  }
  std::string_view left;
};

struct TextSink final : SeedFileSink, SeedMessageSink {
  bool begin() noexcept override { return true; }
  bool write(std::span<const std::byte> block) noexcept override {
    text.append(reinterpret_cast<const char*>(block.data()), block.size());
    return true;
  }
  bool finish() noexcept override {
    ++files;
    return true;
  }
  void abandon() noexcept override { text.clear(); }
  void message(std::span<const std::byte> payload) noexcept override {
    messages.emplace_back(reinterpret_cast<const char*>(payload.data()), payload.size());
  }
  std::string text;
  int files = 0;
  std::vector<std::string> messages;
};

constexpr const char* kLosses[] = {"0", "0.2"};

void a_file_is_sent_to_a_plain_receiver(void** state) {
  auto& fixture = *static_cast<Fixture*>(*state);
  for (const char* loss : kLosses) {
    const std::string path = fixture.folder.file(loss);
    start_receiver(fixture, {"--loss", loss, "receive", "files", path});
    const std::string content = random_text(100'000, 1);
    TextSource source(content);
    SeedFileSender sender({}, source);
    assert_true(run(sender, fixture.descriptor, [&] { return sender.done() || sender.failure(); }));
    assert_true(sender.done());
    fixture.peer.kill();
    assert_true(read_whole_file(path) == content);
    assert_true((sender.window().stats().retransmissions > 0) == (loss != kLosses[0]));
    assert_int_equal(sender.window().window(), 1);
  }
}

void a_file_is_received_from_a_plain_sender(void** state) {
  auto& fixture = *static_cast<Fixture*>(*state);
  for (const char* loss : kLosses) {
    const std::string content = random_text(100'000, 2);
    const std::string path = fixture.folder.write("sent", content);
    start_peer(fixture, {"--loss", loss, "send", "files", path, port_of(fixture.descriptor)});
    TextSink sink;
    SeedFileReceiver receiver({}, sink);
    assert_true(run(receiver, fixture.descriptor, [&] { return !fixture.peer.running(); }));
    assert_true(fixture.peer.wait() == 0);
    assert_true(sink.text == content && sink.files == 1);
  }
}

void messages_are_sent_to_a_plain_receiver(void** state) {
  auto& fixture = *static_cast<Fixture*>(*state);
  for (const char* loss : kLosses) {
    const auto messages = some_messages();
    const std::string path = fixture.folder.file(loss);
    start_receiver(fixture, {"--loss", loss, "--count", std::to_string(messages.size()), "receive", "messages", path});
    SeedMessageSender sender({});
    for (const std::string& one : messages) assert_true(sender.push(std::as_bytes(std::span(one))));
    assert_true(run(sender, fixture.descriptor, [&] { return sender.all_acknowledged() || sender.failure(); }));
    assert_true(sender.all_acknowledged());
    fixture.peer.kill();
    assert_true(read_whole_file(path) == listed(messages));
  }
}

void messages_are_received_from_a_plain_sender(void** state) {
  auto& fixture = *static_cast<Fixture*>(*state);
  for (const char* loss : kLosses) {
    const auto messages = some_messages();
    const std::string path = fixture.folder.write("sent", listed(messages));
    start_peer(fixture, {"--loss", loss, "send", "messages", path, port_of(fixture.descriptor)});
    TextSink sink;
    SeedMessageReceiver receiver({}, sink);
    assert_true(run(receiver, fixture.descriptor, [&] { return !fixture.peer.running(); }));
    assert_true(fixture.peer.wait() == 0);
    assert_true(sink.messages == messages);
  }
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(a_file_is_sent_to_a_plain_receiver, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_file_is_received_from_a_plain_sender, set_up, tear_down),
      cmocka_unit_test_setup_teardown(messages_are_sent_to_a_plain_receiver, set_up, tear_down),
      cmocka_unit_test_setup_teardown(messages_are_received_from_a_plain_sender, set_up, tear_down),
  };
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
