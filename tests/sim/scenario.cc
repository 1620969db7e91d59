#include "sim/scenario.h"

#include "sim/network.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <random>
#include <set>

namespace portolan::sim {

namespace {

using namespace portolan::rudp;
using std::chrono::milliseconds;
using std::chrono::seconds;

// How long a scenario may take that has no outage: retries on the worst links drawn are slow.
constexpr Duration kPatience = seconds(300);

class Draw {
 public:
  explicit Draw(std::uint64_t seed) : random_(seed) {}
  double uniform(double from, double to) { return std::uniform_real_distribution<double>(from, to)(random_); }
  // Each order of magnitude as likely as the other.
  double scale(double from, double to) { return from * std::pow(to / from, uniform(0, 1)); }
  std::uint64_t integer(std::uint64_t from, std::uint64_t to) {
    return std::uniform_int_distribution<std::uint64_t>(from, to)(random_);
  }
  bool chance(double probability) { return uniform(0, 1) < probability; }
  Duration time(double from_ms, double to_ms) {
    return Duration(static_cast<Duration::rep>(uniform(from_ms, to_ms) * 1e6));
  }

 private:
  std::mt19937_64 random_;
};

// The byte at an offset of a stream: no two streams, and no two places in one, look the same.
std::byte content(std::uint64_t stream, bool from_near, std::uint64_t offset) {
  std::uint64_t mixed = (stream * 2 + (from_near ? 1 : 0)) * 0x9e3779b97f4a7c15ULL + offset / 8;
  mixed = (mixed ^ (mixed >> 31U)) * 0xbf58476d1ce4e5b9ULL;
  return static_cast<std::byte>(mixed >> (8 * (offset % 8)));
}

struct StreamPlan {
  std::uint64_t bytes = 0;
  unsigned weight = 16;
  std::optional<std::uint64_t> reset_after;  // bytes written
};

struct MessagePlan {
  Duration at{};
  std::size_t size = 0;
  MessageOptions options;
};

struct SidePlan {
  std::vector<StreamPlan> streams;
  std::vector<MessagePlan> messages;
  Duration reads_after{};  // a slow reader looks so long after something came
};

// One side's user.
class User final : public EndpointHandler, public ConnectionHandler {
 public:
  User(Network& network, bool near, const SidePlan& plan, std::string& problem)
      : network_(network), near_(near), plan_(plan), problem_(problem) {}

  ConnectionHandler* on_connection(Connection&) noexcept override { return connection_ ? nullptr : this; }
  void on_connected(Connection& connection) noexcept override {
    connection_ = &connection;
    for (const StreamPlan& stream : plan_.streams) {
      const auto id = connection.open_stream(stream.weight);
      if (!id) return fail(fmt::format("a stream was refused: {}", id.error()));
      Outgoing& out = outgoing_[*id];
      out.plan = stream;
      write(*id, out);
    }
    for (const MessagePlan& message : plan_.messages)
      network_.at(network_.now() + message.at, [this, &message] { send(message); });
  }
  void on_stream(Connection&, StreamId id) noexcept override {
    if (!peer_streams_.insert(id).second) fail("a stream was opened twice");
  }
  void on_readable(Connection&, StreamId id) noexcept override {
    if (plan_.reads_after == Duration::zero()) return read(id);
    network_.at(network_.now() + plan_.reads_after, [this, id] { read(id); });
  }
  void on_writable(Connection&, StreamId id) noexcept override {
    if (const auto found = outgoing_.find(id); found != outgoing_.end()) write(id, found->second);
  }
  void on_delivered(Connection& connection, StreamId id) noexcept override {
    Outgoing& out = outgoing_[id];
    if (out.delivered) fail("a stream was delivered twice");
    out.delivered = true;
    if (connection.unacknowledged(id) != 0) fail("a delivered stream has something unacknowledged");
  }
  void on_reset(Connection&, StreamId id, std::uint64_t code) noexcept override {
    if (code != 7) fail("another code than the reset had");
    incoming_[id].reset = true;
  }
  void on_message(Connection&, std::span<const std::byte> data) noexcept override {
    if (data.size() < 16) return fail("a message that nobody sent");
    std::uint64_t number = 0;
    for (std::size_t i = 0; i < 8; ++i) number = number << 8U | std::to_integer<std::uint64_t>(data[i]);
    if (!messages_.insert(number).second) return fail(fmt::format("message {} came twice", number));
    for (std::size_t i = 8; i < data.size(); ++i)
      if (data[i] != content(number, !near_, i)) return fail(fmt::format("message {} is spoilt at {}", number, i));
  }
  void on_closed(Connection&, const CloseReason& why) noexcept override {
    if (closed) fail("closed twice");
    closed = why;
    connection_ = nullptr;
  }

  // All that this side sends has arrived at the other, as far as it must.
  bool delivered_to(const User& other) const {
    for (const auto& [id, out] : outgoing_) {
      const auto in = other.incoming_.find(id);
      if (out.was_reset) {
        if (in != other.incoming_.end() && !in->second.reset && in->second.ended) continue;  // the end was quicker
        if (in == other.incoming_.end() || !in->second.reset) return false;
        continue;
      }
      if (!out.delivered || in == other.incoming_.end() || !in->second.ended) return false;
      if (in->second.offset != out.plan.bytes) return false;
    }
    if (outgoing_.size() < plan_.streams.size() || sent_ < plan_.messages.size()) return false;
    return std::ranges::all_of(must_arrive_, [&](std::uint64_t number) { return other.messages_.contains(number); });
  }
  std::string missing(const User& other) const {
    std::string text;
    for (const auto& [id, out] : outgoing_) {
      const auto in = other.incoming_.find(id);
      text += fmt::format(" stream {}: {} of {} written, {}{};", id, out.written, out.plan.bytes,
                          in == other.incoming_.end() ? "nothing came" : fmt::format("{} came", in->second.offset),
                          out.delivered ? ", delivered" : "");
    }
    std::size_t lacking = 0;
    for (const std::uint64_t number : must_arrive_) lacking += other.messages_.contains(number) ? 0 : 1;
    return text + fmt::format(" {} of {} reliable messages lack", lacking, must_arrive_.size());
  }
  Connection* connection() const noexcept { return connection_; }
  void forget_connection() noexcept { connection_ = nullptr; }
  std::optional<CloseReason> closed;

 private:
  struct Outgoing {
    StreamPlan plan;
    std::uint64_t written = 0;
    bool finished = false;
    bool was_reset = false;
    bool delivered = false;
  };
  struct Incoming {
    std::uint64_t offset = 0;
    bool ended = false;
    bool reset = false;
  };

  void fail(std::string what) {
    if (problem_.empty()) problem_ = fmt::format("{}: {}", near_ ? "near" : "far", what);
  }
  void write(StreamId id, Outgoing& out) {
    if (!connection_ || out.finished) return;
    std::array<std::byte, 4096> block;
    while (out.written < out.plan.bytes) {
      const std::size_t size = std::min<std::uint64_t>(block.size(), out.plan.bytes - out.written);
      for (std::size_t i = 0; i < size; ++i) block[i] = content(id, near_, out.written + i);
      const std::size_t taken = connection_->write(id, std::span(block).first(size));
      out.written += taken;
      if (out.plan.reset_after && out.written >= *out.plan.reset_after) {
        connection_->reset(id, 7);
        out.finished = out.was_reset = true;
        return;
      }
      if (taken < size) return;
    }
    connection_->finish(id);
    out.finished = true;
  }
  void read(StreamId id) {
    if (!connection_) return;
    Incoming& in = incoming_[id];
    for (;;) {
      const std::span<const std::byte> data = connection_->peek(id);
      if (data.empty()) break;
      for (std::size_t i = 0; i < data.size(); ++i)
        if (data[i] != content(id, !near_, in.offset + i))
          return fail(fmt::format("stream {} is spoilt at {}", id, in.offset + i));
      in.offset += data.size();
      connection_->consume(id, data.size());
    }
    if (in.ended || in.reset || !connection_->ended(id)) return;
    in.ended = true;
    connection_->finish(id);  // of those that the peer opened: nothing goes back
  }
  void send(const MessagePlan& plan) {
    ++sent_;
    if (!connection_) return;
    const std::uint64_t number = ++next_message_;
    std::vector<std::byte> data(std::max<std::size_t>(plan.size, 16));
    for (std::size_t i = 0; i < data.size(); ++i) data[i] = content(number, near_, i);
    for (std::size_t i = 0; i < 8; ++i) data[i] = static_cast<std::byte>(number >> (56 - 8 * i));
    if (connection_->send_message(data, plan.options) && plan.options.delivery == Delivery::reliable)
      must_arrive_.insert(number);
  }

  Network& network_;
  bool near_;
  const SidePlan& plan_;
  std::string& problem_;
  Connection* connection_ = nullptr;
  std::map<StreamId, Outgoing> outgoing_;
  std::map<StreamId, Incoming> incoming_;
  std::set<StreamId> peer_streams_;
  std::set<std::uint64_t> messages_, must_arrive_;
  std::uint64_t next_message_ = 0;
  std::size_t sent_ = 0;
};

LinkSettings draw_link(Draw& draw) {
  LinkSettings link;
  link.rate = draw.scale(40e3, 20e6);
  link.delay = draw.time(0.1, 120);
  link.queue = draw.time(5, 200);
  switch (draw.integer(0, 3)) {
    case 0: break;
    case 1: link.loss = draw.uniform(0, 0.25); break;
    case 2: link.loss = draw.uniform(0, 0.02); break;
    default:
      link.burst_begin = draw.uniform(0, 0.02);
      link.burst_end = draw.uniform(0.1, 0.5);
      link.burst_loss = draw.uniform(0.3, 1);
  }
  if (draw.chance(0.3)) link.jitter = draw.time(0, 30);
  if (draw.chance(0.3)) {
    link.reorder = draw.uniform(0, 0.1);
    link.reorder_by = draw.time(0, 40);
  }
  if (draw.chance(0.3)) link.duplicate = draw.uniform(0, 0.1);
  if (draw.chance(0.3)) link.corrupt = draw.uniform(0, 0.03);
  if (draw.chance(0.2)) link.mtu = draw.integer(1228, 1500);
  return link;
}

SidePlan draw_side(Draw& draw) {
  SidePlan side;
  const std::uint64_t streams = draw.integer(0, 3);
  for (std::uint64_t i = 0; i < streams; ++i) {
    StreamPlan stream;
    stream.bytes = draw.chance(0.1) ? 0 : static_cast<std::uint64_t>(draw.scale(1, 60'000));
    stream.weight = static_cast<unsigned>(draw.integer(1, 64));
    if (draw.chance(0.1)) stream.reset_after = draw.integer(0, stream.bytes);
    if (stream.reset_after && stream.bytes == 0) stream.reset_after.reset();
    side.streams.push_back(stream);
  }
  const std::uint64_t messages = draw.chance(0.5) ? draw.integer(0, 20) : 0;
  for (std::uint64_t i = 0; i < messages; ++i) {
    MessagePlan message;
    message.at = draw.time(0, 1000);
    message.size = static_cast<std::size_t>(draw.scale(16, 8000));
    message.options.delivery = static_cast<Delivery>(draw.integer(0, 2));
    message.options.lifetime = draw.time(20, 500);
    side.messages.push_back(message);
  }
  if (draw.chance(0.2)) side.reads_after = draw.time(1, 200);
  return side;
}

}  // namespace

Verdict play_scenario(std::uint64_t seed) {
  Draw draw(seed);
  Verdict verdict;
  const LinkSettings there = draw_link(draw);
  LinkSettings back = draw_link(draw);
  if (draw.chance(0.5)) back = there;
  Network network(there, back, seed);

  ConnectionOptions options;
  if (draw.chance(0.7)) options.key = Secret::random();
  options.congestion = draw.chance(0.3) ? Congestion::cubic : Congestion::model;
  if (draw.chance(0.1)) {
    options.congestion = Congestion::fixed;
    options.rate = std::min(there.rate, back.rate) * 0.8;
  }
  options.redundancy = static_cast<Redundancy>(draw.integer(0, 2));
  options.idle_timeout = seconds(60);
  options.handshake_timeout = seconds(60);
  if (draw.chance(0.3)) {
    options.send_buffer = static_cast<std::size_t>(draw.scale(2'000, 100'000));
    options.stream_window = static_cast<std::size_t>(draw.scale(2'000, 100'000));
    options.receive_window = static_cast<std::size_t>(draw.scale(2'000, 200'000));
  }
  const SidePlan near_plan = draw_side(draw);
  const SidePlan far_plan = draw_side(draw);
  User near(network, true, near_plan, verdict.problem);
  User far(network, false, far_plan, verdict.problem);
  EndpointOptions far_options{.connection = options, .accepts = true};
  if (draw.chance(0.3)) far_options.half_open = 0;
  network.put(Network::kNear, std::make_unique<rudp::Endpoint>(EndpointOptions{}, near));
  network.put(Network::kFar, std::make_unique<rudp::Endpoint>(far_options, far));

  const Duration begin = network.now();
  std::string events;
  Duration patience = kPatience;
  if (draw.chance(0.25)) {
    const Duration at = draw.time(0, 2000), lasts = draw.time(10, 5000);
    patience += 20 * lasts;
    events += fmt::format(", outage of {} ms at {} ms", lasts / milliseconds(1), at / milliseconds(1));
    for (const bool down : {true, false})
      network.at(begin + at + (down ? Duration::zero() : lasts), [&network, down] {
        network.link(Network::kNear).set_down(down);
        network.link(Network::kFar).set_down(down);
      });
  }
  if (draw.chance(0.25)) {
    const Duration at = draw.time(0, 2000);
    const double factor = draw.scale(0.1, 10);
    events += fmt::format(", rate x{:.2f} at {} ms", factor, at / milliseconds(1));
    network.at(begin + at, [&network, factor] { network.link(Network::kNear).settings().rate *= factor; });
  }
  if (draw.chance(0.25)) {
    // Before the handshake is done there is nothing that could follow.
    const Duration at = draw.time(0, 2000);
    const bool host = draw.chance(0.5);
    events += fmt::format(", near moves to another {} at {} ms", host ? "host" : "port", at / milliseconds(1));
    network.at(begin + at, [&network, &near, host] {
      if (near.connection())
        network.move(Network::kNear, *Address::parse(host ? "198.51.100.9:1111" : "192.0.2.1:3333"));
    });
  }
  bool restarted = false;
  if (draw.chance(0.05)) {
    const Duration at = draw.time(0, 2000);
    events += fmt::format(", far begins anew at {} ms", at / milliseconds(1));
    network.at(begin + at, [&] {
      restarted = true;
      far.forget_connection();
      network.put(Network::kFar, std::make_unique<rudp::Endpoint>(far_options, far));
    });
  }
  verdict.story = fmt::format(
      "{:.2f}/{:.2f} Mbit/s, delay {}/{} ms, queue {} ms, loss {:.3f}/{:.3f}, bursts {:.3f}, jitter {} ms, reorder "
      "{:.2f}, "
      "duplicate {:.2f}, corrupt {:.3f}, MTU {}/{}, {}, congestion {}, redundancy {}{}",
      there.rate * 8e-6, back.rate * 8e-6, there.delay / milliseconds(1), back.delay / milliseconds(1),
      there.queue / milliseconds(1), there.loss, back.loss, there.burst_begin, there.jitter / milliseconds(1),
      there.reorder, there.duplicate, there.corrupt, there.mtu, back.mtu, options.key ? "key" : "no key",
      static_cast<int>(options.congestion), static_cast<int>(options.redundancy), events);

  network.endpoint(Network::kNear)->connect(network.address(Network::kFar), options, near, begin);
  const auto over = [&] {
    if (!verdict.problem.empty() || near.closed) return true;
    return near.connection() && (far.connection() || restarted) && near.delivered_to(far) && far.delivered_to(near);
  };
  const bool done = network.run(begin + patience, over);
  if (network.stuck()) verdict.problem = "a deadline that nothing comes of";
  if (!verdict.problem.empty()) return verdict;
  if (restarted && (near.closed || !done)) {
    // What the old one had is gone; near must have been told, at the latest when nothing was heard for so long.
    if (!near.closed && !network.run(network.now() + 3 * options.idle_timeout, [&] { return near.closed.has_value(); }))
      verdict.problem = "near was not told that far had begun anew";
    return verdict;
  }
  if (near.closed) {
    verdict.problem = fmt::format("closed: {}", near.closed->text);
    return verdict;
  }
  if (!done) {
    verdict.problem = fmt::format("no end after {} s; near:{}; far:{}", (network.now() - begin) / seconds(1),
                                  near.missing(far), far.missing(near));
    return verdict;
  }
  if (near.connection()) near.connection()->close(0, "done");
  const bool ended = network.run(network.now() + 2 * options.idle_timeout, [&] {
    return network.endpoint(Network::kNear)->connections() == 0 && network.endpoint(Network::kFar)->connections() == 0;
  });
  if (verdict.problem.empty() && !ended) verdict.problem = "a connection was left";
  if (verdict.problem.empty() && (!near.closed || (!far.closed && !restarted))) verdict.problem = "an end was not told";
  return verdict;
}

}  // namespace portolan::sim
