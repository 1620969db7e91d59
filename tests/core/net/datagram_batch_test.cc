// A worker's batch of datagrams: what was received stays what it was until it has been sent on.
#include "net/datagram_batch.h"

#include "base/unique_fd.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <string>
#include <vector>

#include "support/cmocka.h"

using namespace portolan;

namespace {

class CountingSender final : public DatagramSender {
 public:
  void sent(std::size_t) noexcept override { ++count; }
  void not_sent(int) noexcept override {}
  int count = 0;
};

// Two sockets on loopback, the first connected to the second.
struct Pair {
  Pair() {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    auto* raw = reinterpret_cast<sockaddr*>(&address);
    assert_return_code(bind(to.get(), raw, length), errno);
    assert_return_code(getsockname(to.get(), raw, &length), errno);
    assert_return_code(connect(from.get(), raw, length), errno);
  }
  void send(const std::string& text) const {
    assert_int_equal(::send(from.get(), text.data(), text.size(), 0), text.size());
  }
  std::vector<std::string> received() const {
    std::vector<std::string> all;
    char buffer[64];
    for (;;) {
      const ssize_t count = recv(to.get(), buffer, sizeof buffer, MSG_DONTWAIT);
      if (count < 0) return all;
      all.emplace_back(buffer, static_cast<std::size_t>(count));
    }
  }
  UniqueFd from{socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  UniqueFd to{socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
};

struct Fixture {
  Loop loop;
  DatagramBatch batch{loop};
  CountingSender sender;
  Pair one, two, out;
};

void what_was_received_stays_although_the_queue_fills(void** state) {
  Fixture& f = *static_cast<Fixture*>(*state);
  std::vector<std::string> expected;
  // All but the last places of the queue: it is emptied in the middle of what follows.
  for (int i = 0; i < 124; ++i) {
    expected.push_back("copy " + std::to_string(i));
    f.batch.send(f.out.from.get(), std::as_bytes(std::span(expected.back())), {}, {}, f.sender);
  }
  for (const Pair* pair : {&f.one, &f.two}) {
    for (int i = 0; i < 8; ++i) {
      expected.push_back((pair == &f.one ? "one " : "two ") + std::to_string(i));
      pair->send(expected.back());
    }
    const auto reception = f.batch.receive(pair->to.get(), DatagramBatch::Addresses::none, 8);
    assert_int_equal(reception.datagrams.size(), 8);
    for (const auto& datagram : reception.datagrams) f.batch.send(f.out.from.get(), datagram.data, {}, {}, f.sender);
  }
  f.batch.flush();
  const auto received = f.out.received();
  assert_int_equal(received.size(), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) assert_string_equal(received[i].c_str(), expected[i].c_str());
  assert_int_equal(f.sender.count, expected.size());
}

void without_a_slot_nothing_is_received_before_the_next_turn(void** state) {
  Fixture& f = *static_cast<Fixture*>(*state);
  for (int i = 0; i < 65; ++i) f.one.send(std::to_string(i));
  std::size_t count = 0;
  for (int i = 0; i < 3; ++i) count += f.batch.receive(f.one.to.get(), DatagramBatch::Addresses::none).datagrams.size();
  assert_int_equal(count, 64);
  f.loop.turn(false);
  assert_int_equal(f.batch.receive(f.one.to.get(), DatagramBatch::Addresses::none).datagrams.size(), 1);
}

int make(void** state) {
  *state = new Fixture;
  return 0;
}
int end(void** state) {
  delete static_cast<Fixture*>(*state);
  return 0;
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(what_was_received_stays_although_the_queue_fills, make, end),
      cmocka_unit_test_setup_teardown(without_a_slot_nothing_is_received_before_the_next_turn, make, end),
  };
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
