// Two endpoints of rudp with a hostile network between them, which can also forge: without a key anybody who has seen the
// handshake can make packets that open. What the fuzzer writes is a list of steps: packets are delivered, lost, repeated, spoilt
// or made up of any frames, time passes, the users write, read and close.
#include "base/random.h"
#include "base/crc32c.h"
#include "rudp/endpoint.h"
#include "rudp/frames.h"
#include "rudp/wire.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <deque>
#include <memory>
#include <vector>

namespace {

using namespace portolan;
using namespace portolan::rudp;

constexpr std::size_t kMostQueued = 64;
constexpr std::size_t kMostHeld = 64 * 1024;
constexpr unsigned kMostStreams = 8;

// Takes what the fuzzer has left; zeros when there is nothing more.
class Steps {
 public:
  Steps(const std::uint8_t* data, std::size_t size) : data_(data), left_(size) {}
  bool empty() const { return left_ == 0; }
  unsigned next() {
    if (left_ == 0) return 0;
    --left_;
    return *data_++;
  }
  std::vector<std::byte> bytes(std::size_t count) {
    std::vector<std::byte> taken(std::min(count, left_));
    for (std::byte& byte : taken) byte = static_cast<std::byte>(next());
    return taken;
  }

 private:
  const std::uint8_t* data_;
  std::size_t left_;
};

struct Packet {
  bool to_far;
  std::vector<std::byte> data;
};

class User final : public EndpointHandler, public ConnectionHandler {
 public:
  ConnectionHandler* on_connection(Connection&) noexcept override { return this; }
  void on_connected(Connection& its) noexcept override { connection = &its; }
  void on_readable(Connection& its, StreamId stream) noexcept override {
    const std::size_t there = its.peek(stream).size();
    its.consume(stream, reads_all ? there : there / 2);
  }
  void on_closed(Connection&, const CloseReason&) noexcept override { connection = nullptr; }
  Connection* connection = nullptr;
  bool reads_all = true;
};

class World {
 public:
  World() {
    options_.send_buffer = options_.stream_window = options_.receive_window = kMostHeld;
    options_.max_streams = kMostStreams;
    options_.max_message = 4096;
    near_ = std::make_unique<rudp::Endpoint>(EndpointOptions{.connection = options_}, near_user_);
    far_ = std::make_unique<rudp::Endpoint>(EndpointOptions{.connection = options_, .accepts = true}, far_user_);
    near_->connect(far_address_, options_, near_user_, now_);
    for (int i = 0; i < 6; ++i) {
      move();
      while (!queue_.empty()) deliver(0, false);
    }
    queue_.clear();
  }

  void play(Steps& steps) {
    while (!steps.empty()) {
      const unsigned step = steps.next();
      const bool to_far = (step & 1U) != 0;
      User& user = to_far ? near_user_ : far_user_;
      switch ((step >> 1U) % 12) {
        case 0:
        case 1: deliver(steps.next(), false); break;
        case 2: deliver(steps.next(), true); break;
        case 3:
          if (!queue_.empty()) queue_.pop_front();
          break;
        case 4: spoil(steps.next(), steps.next(), steps.next()); break;
        case 5: forge(to_far, steps.next(), steps.bytes(steps.next())); break;
        case 6: {
          std::vector<std::byte> any = steps.bytes(steps.next());
          (to_far ? *far_ : *near_).receive(to_far ? near_address_ : far_address_, {}, any, now_);
          break;
        }
        case 7: now_ += std::chrono::milliseconds(1U << steps.next() % 16); break;
        case 8: write(user, steps.next(), steps.next() * 64); break;
        case 9: {
          const std::vector<std::byte> text(steps.next() * 8);
          if (user.connection)
            user.connection->send_message(text, {.delivery = static_cast<Delivery>(steps.next() % 3),
                                                 .lifetime = std::chrono::milliseconds(steps.next())});
          break;
        }
        case 10: end(user, steps.next()); break;
        default: user.reads_all = !user.reads_all; break;
      }
      move();
    }
  }

 private:
  void move() {
    for (const bool to_far : {true, false}) {
      rudp::Endpoint& from = to_far ? *near_ : *far_;
      if (from.deadline() <= now_) from.on_timeout(now_);
      Train train;
      unsigned trains = 0;
      while (from.transmit(train, buffer_, now_)) {
        if (++trains > 100'000) std::abort();  // it would never end
        for (std::size_t at = 0; at < train.data.size(); at += train.segment) {
          const auto one = train.data.subspan(at, std::min(train.segment, train.data.size() - at));
          sniff(one);
          if (queue_.size() < kMostQueued) queue_.push_back({to_far, {one.begin(), one.end()}});
        }
      }
    }
  }
  void give(const Packet& packet) {
    std::vector<std::byte> data = packet.data;
    (packet.to_far ? *far_ : *near_).receive(packet.to_far ? near_address_ : far_address_, {}, data, now_);
  }
  void deliver(std::size_t which, bool keep) {
    if (queue_.empty()) return;
    const auto at = queue_.begin() + static_cast<std::ptrdiff_t>(which % queue_.size());
    const Packet packet = *at;
    if (!keep) queue_.erase(at);
    give(packet);
  }
  void spoil(std::size_t which, std::size_t where, unsigned value) {
    if (queue_.empty()) return;
    Packet& packet = queue_[which % queue_.size()];
    packet.data[where % packet.data.size()] = static_cast<std::byte>(value);
    if (packet.data.size() > kDataHeader + 4) seal(packet);
  }
  // A packet of any frames, with a number that was not used yet.
  void forge(bool to_far, unsigned ahead, const std::vector<std::byte>& frames) {
    Packet packet{to_far, std::vector<std::byte>(kDataHeader)};
    Writer out(packet.data);
    out.u8(packet_type::kData);
    out.u64(ids_[to_far]);
    out.u32(static_cast<std::uint32_t>(next_[to_far] += 1 + ahead % 4));
    packet.data.insert(packet.data.end(), frames.begin(), frames.end());
    packet.data.resize(packet.data.size() + 4);
    seal(packet);
    give(packet);
  }
  // As PROTOCOL.md has it, for connections without a key.
  void seal(Packet& packet) const {
    Reader in(packet.data);
    in.u8();
    in.u64();
    std::array<std::byte, 12> before;
    Writer out(before);
    out.u32(seeds_[packet.to_far]);
    out.u64(in.u32());
    const std::span<std::byte> body = std::span(packet.data).first(packet.data.size() - 4);
    Writer(std::span(packet.data).last(4)).u32(crc32c(body, crc32c(before)));
  }
  void sniff(std::span<const std::byte> packet) {
    Reader in(packet);
    const std::uint8_t type = in.u8();
    if (type == packet_type::kInitial && transcript_.empty()) {
      const auto prologue = packet.subspan(1, 12);
      transcript_.assign(prologue.begin(), prologue.end());
      in.bytes(12);
      in.bytes(in.u8());
      add_message(in);
    } else if (type == packet_type::kAccept && !known_) {
      in.bytes(4);
      ids_[0] = in.u64();
      add_message(in);
      for (const bool to_far : {true, false}) {
        const std::byte direction = to_far ? std::byte{0} : std::byte{1};
        seeds_[to_far] = crc32c(std::span(&direction, 1), crc32c(transcript_));
      }
      known_ = true;
    } else if ((type & packet_type::kDataMask) == packet_type::kData) {
      const std::uint64_t id = in.u64();
      const bool to_far = id != ids_[0];
      ids_[to_far] = id;
      next_[to_far] = std::max<std::uint64_t>(next_[to_far], in.u32());
    }
  }
  void add_message(Reader& in) {
    const auto message = in.bytes(in.u16());
    if (message.size() > 4) transcript_.insert(transcript_.end(), message.begin(), message.end() - 4);
  }
  static void write(User& user, unsigned which, std::size_t size) {
    if (!user.connection) return;
    const std::vector<std::byte> text(size);
    if (which % 4 == 0) {
      if (const auto opened = user.connection->open_stream(which)) user.connection->write(*opened, text);
    } else {
      user.connection->write(which % 16, text);
    }
  }
  static void end(User& user, unsigned how) {
    if (!user.connection) return;
    switch (how % 8) {
      case 0: user.connection->close(how, "enough"); break;
      case 1:
      case 2: user.connection->reset(how >> 3U, how); break;
      case 3: user.connection->stop(how >> 3U, how); break;
      default: user.connection->finish(how >> 3U);
    }
  }

  ConnectionOptions options_;
  Duration now_ = std::chrono::seconds(1000);
  Address near_address_ = *Address::parse("192.0.2.1:1");
  Address far_address_ = *Address::parse("192.0.2.2:2");
  User near_user_, far_user_;
  std::unique_ptr<rudp::Endpoint> near_, far_;
  std::vector<std::byte> buffer_ = std::vector<std::byte>(64 * 1024);
  std::deque<Packet> queue_;
  std::vector<std::byte> transcript_;
  bool known_ = false;
  std::array<std::uint64_t, 2> ids_{};
  std::array<std::uint32_t, 2> seeds_{};
  std::array<std::uint64_t, 2> next_{};
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Steps steps(data, size);
  World world;
  world.play(steps);
  return 0;
}
