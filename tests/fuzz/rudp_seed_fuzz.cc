// The engines of both seed formats: two of ours with a hostile path between them, and datagrams of anybody's among
// theirs. What they keep is bounded, no deadline lies in the past when all that was due has been sent, and messages are
// delivered once and files in order, as long as the path does not forge them, or repeat old ones as a peer does that
// began again. Input: settings, then steps of an operation, and what it needs.
#include "fuzz_target.h"
#include "rudp/seed_file.h"
#include "rudp/seed_message.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <vector>

using namespace portolan;
using namespace portolan::rudp;
using fuzz::check;

namespace {

using Bytes = std::vector<std::byte>;

constexpr std::uint32_t kWindow = 8;
constexpr std::size_t kMostKept = 512;
constexpr std::size_t kMostQueued = 1024;
constexpr std::size_t kMostOnWay = 64;

struct MessageSink final : SeedMessageSink {
  void message(std::span<const std::byte> payload) noexcept override {
    if (payload.size() != 4 || forged || receiver->stats().restarts > 0) return;
    std::uint32_t number = 0;
    std::memcpy(&number, payload.data(), 4);
    check(seen.insert(number).second, "a message is delivered once");
    if (ordered && receiver->stats().given_up == 0) check(seen.size() == number + 1U, "and in order");
  }
  const SeedMessageReceiver* receiver = nullptr;
  std::set<std::uint32_t> seen;
  bool ordered = true;
  bool forged = false;
};

struct FileEnds final : SeedFileSource, SeedFileSink {
  std::expected<std::size_t, int> read(std::span<std::byte> into) noexcept override {
    const std::size_t size = std::min(into.size(), left);
    for (std::size_t i = 0; i < size; ++i) into[i] = static_cast<std::byte>((at++ * 2654435761U) >> 24U);
    left -= size;
    return size;
  }
  bool begin() noexcept override {
    check(!open, "a file ends, or is abandoned, before the next begins");
    written = 0;
    return open = true;
  }
  bool write(std::span<const std::byte> block) noexcept override {
    check(open, "blocks are of a file");
    for (const std::byte one : block)
      check(forged || one == static_cast<std::byte>((written++ * 2654435761U) >> 24U), "a file has its bytes in order");
    return true;
  }
  bool finish() noexcept override {
    check(open, "a file has begun before it ends");
    open = false;
    return true;
  }
  void abandon() noexcept override {
    check(open, "only what was begun is abandoned");
    open = false;
  }
  std::uint32_t at = 0;
  std::size_t left = 20'000;
  std::uint32_t written = 0;
  bool open = false;
  bool forged = false;
};

// A path that the input rules: datagrams wait on it, to be delivered, doubled or dropped in any order.
class Path {
 public:
  void add(std::span<const std::byte> datagram) {
    if (waiting_.size() < kMostOnWay) waiting_.emplace_back(datagram.begin(), datagram.end());
  }
  Bytes take(std::uint8_t which, bool stays) {
    if (waiting_.empty()) return {};
    const auto at = waiting_.begin() + which % static_cast<std::ptrdiff_t>(waiting_.size());
    Bytes datagram = *at;
    if (!stays) waiting_.erase(at);
    return datagram;
  }

 private:
  std::vector<Bytes> waiting_;
};

template <typename Sender>
void send_due(Sender& sender, Path& path, Duration now) {
  std::size_t sent = 0;
  for (auto datagram = sender.next_datagram(now); !datagram.empty(); datagram = sender.next_datagram(now)) {
    path.add(datagram);
    check(++sent <= 4 * kWindow, "a sender comes to an end");
  }
  const auto at = sender.deadline();
  check(!at || *at > now, "what was due has been sent");
  check(sender.window().queued() <= kWindow && sender.window().window() <= kWindow, "a sender is bounded");
}

void send_replies(SeedMessageReceiver& receiver, Path& path, Duration now) {
  const auto reply = receiver.next_datagram(now);
  check(reply.size() <= kSeedLongestReply, "a reply is short");
  path.add(reply);
  check(receiver.next_datagram(now).empty(), "and one");
  check(receiver.reorder().kept_bytes() <= kMostKept && receiver.reorder().ahead() < kWindow, "a receiver is bounded");
}

void send_replies(SeedFileReceiver& receiver, Path& path, Duration) {
  int replies = 0;
  for (auto reply = receiver.next_datagram(); !reply.empty(); reply = receiver.next_datagram(), ++replies)
    path.add(reply);
  check(replies <= 2 && receiver.reorder().ahead() < kWindow, "a receiver is bounded");
}

template <typename Sender, typename Receiver, typename Push>
void play(fuzz::Input input, Sender& sender, Receiver& receiver, bool& forged, const Push& push) {
  Path there;
  Path back;
  Duration now = std::chrono::seconds(1);
  for (int step = 0; step < 2000 && !input.rest().empty(); ++step) {
    const std::uint8_t operation = input.byte();
    const std::uint8_t argument = input.byte();
    Bytes datagram;
    switch (operation % 8) {
      case 0: push(argument); break;
      case 1: now += std::chrono::microseconds(100) * argument; break;
      case 2: now += std::chrono::milliseconds(25) * argument; break;
      case 3:
      case 4:
        if (datagram = there.take(argument, operation % 8 == 4); !datagram.empty()) receiver.receive(datagram, now);
        break;
      case 5:
      case 6:
        if (datagram = back.take(argument, operation % 8 == 6); !datagram.empty()) sender.receive(datagram, now);
        break;
      default: {
        datagram.resize(argument % 48);
        for (std::byte& one : datagram) one = static_cast<std::byte>(input.byte());
        forged = true;
        if (argument < 128) {
          receiver.receive(datagram, now);
        } else {
          sender.receive(datagram, now);
        }
      }
    }
    send_due(sender, there, now);
    send_replies(receiver, back, now);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input input(data, size);
  const std::uint8_t choice = input.byte();
  const std::uint32_t first = (choice & 1U) != 0 ? 0U : -3U;
  SeedSendOptions send{.ask = (choice & 2U) != 0, .max_window = kWindow, .first_sequence = first};
  if ((choice & 4U) != 0) send.window = kWindow;
  if ((choice & 8U) != 0) {
    FileEnds ends;
    SeedFileSender sender(send, ends);
    SeedFileReceiver receiver({.window = kWindow, .first_sequence = first}, ends);
    play(input, sender, receiver, ends.forged, [](std::uint8_t) {});
    return 0;
  }
  MessageSink sink;
  sink.ordered = (choice & 16U) != 0;
  SeedMessageSender sender({.send = send, .max_queued = kMostQueued});
  SeedMessageReceiver receiver(
      {.ordered = sink.ordered, .window = kWindow, .max_kept = kMostKept, .first_sequence = first}, sink);
  sink.receiver = &receiver;
  std::uint32_t pushed = 0;
  play(input, sender, receiver, sink.forged, [&](std::uint8_t argument) {
    if (argument % 4 == 0) {
      sender.push(Bytes(5 + argument));
      return;
    }
    Bytes message(4);
    std::memcpy(message.data(), &pushed, 4);
    if (sender.push(message)) ++pushed;
  });
  return 0;
}
