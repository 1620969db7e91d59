// Trains of datagrams: what is sent as one arrives as its datagrams, with segments or without, and nothing is lost that
// waits for room.
#include "net/datagram_train.h"

#include "base/unique_fd.h"
#include "net/packet_info.h"

#include <net/if.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "support/cmocka.h"

using namespace portolan;

namespace {

class Trouble final : public TrainTrouble {
 public:
  void on_too_long(const Address& to, std::size_t segment) noexcept override {
    assert_false(to.empty());
    too_long.push_back(segment);
  }
  void on_unreachable(const Address& to, int error_number) noexcept override {
    unreachable.push_back(to);
    error = error_number;
  }
  std::vector<std::size_t> too_long;
  std::vector<Address> unreachable;
  int error = 0;
};

Address name_of(const UniqueFd& socket) {
  sockaddr_storage storage{};
  socklen_t length = sizeof storage;
  auto* address = reinterpret_cast<sockaddr*>(&storage);
  assert_return_code(getsockname(socket.get(), address, &length), errno);
  return Address::from(address);
}

UniqueFd bound(const char* host) {
  const Address address = Address::parse(host).value();
  UniqueFd socket(::socket(address.is_v6() ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_storage storage;
  const socklen_t length = address.to_sockaddr(storage);
  assert_return_code(bind(socket.get(), reinterpret_cast<const sockaddr*>(&storage), length), errno);
  return socket;
}

// Everything that differs is noticed: each datagram begins with its number.
std::string datagram(std::size_t number, std::size_t size) {
  std::string text = std::to_string(number) + " ";
  text.resize(size, static_cast<char>('a' + number % 26));
  return text;
}

struct Sent {
  std::vector<std::string> datagrams;
  std::size_t number = 0;

  // A train of `count` datagrams, the last of them shorter.
  void add(TrainSender& sender, const Address& to, std::size_t count, std::size_t segment, const Address& from = {}) {
    std::span<std::byte> room = sender.room();
    if (room.empty()) {
      assert_true(sender.flush() == TrainSender::Result::sent);
      room = sender.room();
    }
    assert_int_equal(room.size(), TrainSender::kTrain);
    std::size_t used = 0;
    for (std::size_t i = 0; i < count; ++i) {
      datagrams.push_back(datagram(number++, i + 1 == count ? segment - 1 : segment));
      std::memcpy(room.data() + used, datagrams.back().data(), datagrams.back().size());
      used += datagrams.back().size();
    }
    sender.add({.to = to, .from = from, .data = room.first(used), .segment = segment});
  }
};

struct Arrived {
  std::vector<std::string> datagrams;
  std::vector<Address> to;
  std::size_t trains = 0;

  void read(TrainReader& reader) {
    for (;;) {
      const auto reception = reader.receive();
      if (reception.trains.empty()) return;
      for (const auto& train : reception.trains) {
        ++trains;
        to.push_back(train.to);
        for (std::size_t at = 0; at < train.data.size(); at += train.segment) {
          const auto one = train.data.subspan(at, std::min(train.segment, train.data.size() - at));
          datagrams.emplace_back(reinterpret_cast<const char*>(one.data()), one.size());
        }
      }
    }
  }
};

void assert_same(const std::vector<std::string>& expected, const std::vector<std::string>& got) {
  assert_int_equal(got.size(), expected.size());
  for (std::size_t i = 0; i < got.size(); ++i) assert_string_equal(got[i].c_str(), expected[i].c_str());
}

void trains_arrive_as_their_datagrams(void**) {
  for (const char* host : {"127.0.0.1:0", "[::1]:0"}) {
    // With segments and without, joined by the receiver or not.
    for (const bool segments : {true, false}) {
      for (const int gro : {1, 0}) {
        const UniqueFd from = bound(host);
        const UniqueFd to = bound(host);
        setsockopt(to.get(), SOL_UDP, UDP_GRO, &gro, sizeof gro);
        const int buffer = 4 * 1024 * 1024;
        setsockopt(to.get(), SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof buffer);
        // What has no checksum cannot be cut into segments: that is how this socket comes to refuse them.
        const int on = 1;
        const bool refuses = !segments && std::string_view(host).starts_with("127");
        if (refuses) setsockopt(from.get(), SOL_SOCKET, SO_NO_CHECK, &on, sizeof on);
        Trouble trouble;
        TrainSender sender(from.get(), trouble);
        TrainReader reader(to.get(), false);
        Sent sent;
        Arrived arrived;
        const Address target = name_of(to);
        sent.add(sender, target, 1, 100);
        sent.add(sender, target, 40, 1200);
        sent.add(sender, target, 2, 1200);
        sent.add(sender, target, 100, 20);   // more segments than a message may have
        sent.add(sender, target, 54, 1213);  // 64 KiB: more than the kernel passes on in one piece
        for (int i = 0; i < 40; ++i) sent.add(sender, target, 3, 500);
        assert_true(sender.flush() == TrainSender::Result::sent);
        assert_true(sender.empty());
        arrived.read(reader);
        assert_same(sent.datagrams, arrived.datagrams);
        assert_int_equal(sender.segments(), !refuses);
        assert_int_equal(trouble.too_long.size() + trouble.unreachable.size(), 0);
        if (gro && !refuses) assert_true(arrived.trains < 60);
        if (!gro) assert_int_equal(arrived.trains, arrived.datagrams.size());
        const auto& last = arrived.to.back();
        assert_true(last.empty());
      }
    }
  }
}

void the_address_that_was_asked_answers(void**) {
  const UniqueFd asked = bound("0.0.0.0:0");
  ask_for_packet_info(asked.get(), false);
  const int on = 1;
  setsockopt(asked.get(), SOL_UDP, UDP_GRO, &on, sizeof on);
  const UniqueFd asking = bound("127.0.0.1:0");
  Address target = Address::parse("127.0.0.3:0").value();
  target.set_port(name_of(asked).port());
  Trouble trouble;
  TrainSender question(asking.get(), trouble);
  TrainSender answer(asked.get(), trouble);
  TrainReader reader(asked.get(), true);
  Sent sent;
  sent.add(question, target, 3, 300);
  assert_true(question.flush() == TrainSender::Result::sent);
  const auto reception = reader.receive();
  assert_int_equal(reception.trains.size(), 1);
  assert_string_equal(reception.trains[0].to.host().c_str(), "127.0.0.3");
  assert_true(reception.trains[0].from == name_of(asking));
  Sent back;
  back.add(answer, reception.trains[0].from, 3, 300, reception.trains[0].to);
  assert_true(answer.flush() == TrainSender::Result::sent);
  TrainReader answers(asking.get(), false);
  const auto answered = answers.receive();
  assert_int_equal(answered.trains.size(), 3);
  assert_true(answered.trains[0].from == target);
}

void what_finds_no_room_is_sent_later(void**) {
  // Of this kind, sockets say at once that there is no room.
  int pair[2];
  assert_return_code(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), errno);
  const UniqueFd from(pair[0]);
  const UniqueFd to(pair[1]);
  Trouble trouble;
  TrainSender sender(from.get(), trouble);
  TrainReader reader(to.get(), false);
  Sent sent;
  Arrived arrived;
  bool was_full = false;
  for (int round = 0; round < 50; ++round) {
    for (int i = 0; i < 20; ++i) {
      if (sender.room().empty() && sender.flush() == TrainSender::Result::full) {
        was_full = true;
        break;
      }
      sent.add(sender, {}, 1, 1000);
    }
    if (round % 25 == 24) arrived.read(reader);
  }
  while (sender.flush() == TrainSender::Result::full) arrived.read(reader);
  arrived.read(reader);
  assert_true(was_full);
  assert_same(sent.datagrams, arrived.datagrams);
}

void nobody_there_is_reported_and_costs_nothing_else(void**) {
  // QEMU hands no errors of the network to the programs that it runs.
  if (std::getenv("PORTOLAN_EMULATOR")) skip();
  const UniqueFd from = bound("127.0.0.1:0");
  const int on = 1;
  setsockopt(from.get(), IPPROTO_IP, IP_RECVERR, &on, sizeof on);
  const UniqueFd to = bound("127.0.0.1:0");
  Address nobody;
  {
    const UniqueFd gone = bound("127.0.0.1:0");
    nobody = name_of(gone);
  }
  Trouble trouble;
  TrainSender sender(from.get(), trouble);
  TrainReader errors(from.get(), false);
  TrainReader reader(to.get(), false);
  Sent lost;
  lost.add(sender, nobody, 1, 100);
  assert_true(sender.flush() == TrainSender::Result::sent);
  // ICMP's answer comes with the next one that is sent, which is to somebody else.
  Sent sent;
  sent.add(sender, name_of(to), 2, 100);
  assert_true(sender.flush() == TrainSender::Result::sent);
  Arrived arrived;
  arrived.read(reader);
  assert_same(sent.datagrams, arrived.datagrams);
  assert_int_equal(trouble.unreachable.size(), 0);
  errors.read_errors(trouble);
  assert_int_equal(trouble.unreachable.size(), 1);
  assert_true(trouble.unreachable[0] == nobody);
  assert_int_equal(trouble.error, ECONNREFUSED);
}

// In a network of its own, whose only device takes 1400 bytes.
int too_long_for_the_device() {
  ifreq request{};
  std::strcpy(request.ifr_name, "lo");
  const UniqueFd from = bound("0.0.0.0:0");
  request.ifr_mtu = 1400;
  if (ioctl(from.get(), SIOCSIFMTU, &request) != 0) return 2;
  request.ifr_flags = IFF_UP;
  if (ioctl(from.get(), SIOCSIFFLAGS, &request) != 0) return 2;
  const UniqueFd to = bound("127.0.0.1:0");
  const int discover = IP_PMTUDISC_PROBE;
  setsockopt(from.get(), IPPROTO_IP, IP_MTU_DISCOVER, &discover, sizeof discover);
  Trouble trouble;
  TrainSender sender(from.get(), trouble);
  TrainReader reader(to.get(), false);
  Sent sent;
  Sent lost;
  Arrived arrived;
  lost.add(sender, name_of(to), 1, 1400);
  sent.add(sender, name_of(to), 5, 1300);
  lost.add(sender, name_of(to), 5, 1400);
  sent.add(sender, name_of(to), 5, 1300);
  if (sender.flush() != TrainSender::Result::sent || !sender.empty()) return 3;
  arrived.read(reader);
  // Trains go on as trains: it was the length.
  if (arrived.datagrams.size() != 10 || !sender.segments()) return 4;
  return trouble.too_long == std::vector<std::size_t>{1400, 1400} ? 0 : 5;
}

void what_is_too_long_for_the_device_is_reported(void**) {
  const pid_t child = fork();
  if (child == 0) {
    if (unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0 && unshare(CLONE_NEWNET) != 0) _exit(2);
    _exit(too_long_for_the_device());
  }
  int status = 0;
  assert_true(waitpid(child, &status, 0) == child && WIFEXITED(status));
  if (WEXITSTATUS(status) == 2) skip();
  assert_int_equal(WEXITSTATUS(status), 0);
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test(trains_arrive_as_their_datagrams),
      cmocka_unit_test(the_address_that_was_asked_answers),
      cmocka_unit_test(what_finds_no_room_is_sent_later),
      cmocka_unit_test(nobody_there_is_reported_and_costs_nothing_else),
      cmocka_unit_test(what_is_too_long_for_the_device_is_reported),
  };
  return cmocka_run_group_tests_name("core.net.datagram_train", tests, nullptr, nullptr);
}
