#include "sim/bulk_run.h"

#include "sim/network.h"

#include <algorithm>
#include <array>
#include <memory>
#include <utility>

namespace portolan::sim {

namespace {

using namespace portolan::rudp;

constexpr Duration kWatch = std::chrono::milliseconds(50);

class Far final : public EndpointHandler, public ConnectionHandler {
 public:
  explicit Far(bool answers) : answers_(answers) {}
  ConnectionHandler* on_connection(Connection&) noexcept override { return this; }
  void on_readable(Connection& connection, StreamId stream) noexcept override {
    for (std::size_t size = 0; (size = connection.peek(stream).size()) > 0;) {
      received += size;
      connection.consume(stream, size);
      const std::byte answer{};
      if (std::exchange(answers_, false)) connection.write(stream, std::span(&answer, 1));
    }
    ended = connection.ended(stream);
    if (ended) connection.finish(stream);
  }
  std::uint64_t received = 0;
  bool ended = false;

 private:
  bool answers_;
};

class Near final : public EndpointHandler, public ConnectionHandler {
 public:
  Near(std::uint64_t bytes, bool asks) : left_(bytes), asks_(asks) {}
  void begin(Connection& connection) { stream_ = *connection.open_stream(); }
  void on_connected(Connection& connection) noexcept override {
    if (!asks_) return write(connection);
    constexpr std::array<std::byte, 100> kQuestion{};
    connection.write(stream_, kQuestion);
  }
  void on_readable(Connection& connection, StreamId stream) noexcept override {
    const std::size_t size = connection.peek(stream).size();
    connection.consume(stream, size);
    if (size > 0) write(connection);
  }
  void on_writable(Connection& connection, StreamId) noexcept override { write(connection); }

 private:
  void write(Connection& connection) {
    static constexpr std::array<std::byte, 65536> kBlock{};
    while (left_ > 0) {
      const auto block =
          std::span(kBlock).first(static_cast<std::size_t>(std::min<std::uint64_t>(left_, kBlock.size())));
      const std::size_t taken = connection.write(stream_, block);
      left_ -= taken;
      if (taken == 0) return;
    }
    connection.finish(stream_);
  }
  std::uint64_t left_;
  bool asks_;
  StreamId stream_ = 0;
};

double ms(std::uint32_t microseconds) { return microseconds * 1e-3; }

}  // namespace

BulkResult run_bulk(const BulkPlan& plan) {
  Network network(plan.link, plan.link, plan.seed);
  Near near(plan.bytes, plan.asks);
  Far far(plan.asks);
  network.put(Network::kNear, std::make_unique<rudp::Endpoint>(EndpointOptions{}, near));
  network.put(Network::kFar,
              std::make_unique<rudp::Endpoint>(EndpointOptions{.connection = plan.options, .accepts = true}, far));
  const Duration begin = network.now();
  Connection* connection =
      network.endpoint(Network::kNear)->connect(network.address(Network::kFar), plan.options, near, begin);
  near.begin(*connection);
  const auto seconds = [&] { return std::chrono::duration<double>(network.now() - begin).count(); };
  if (plan.watch)
    for (Duration at = kWatch; at < plan.patience; at += kWatch)
      network.at(begin + at, [&] { plan.watch(seconds(), connection->statistics(), far.received); });

  BulkResult result;
  result.done = network.run(begin + plan.patience, [&] { return far.ended; });
  result.megabits = static_cast<double>(far.received) * 8e-6 / seconds();
  result.ceiling = plan.link.rate * 8e-6 * 1450 / 1514 * (1 - plan.link.loss);
  const auto payload = static_cast<double>(plan.bytes);
  result.wire_there = static_cast<double>(network.link(Network::kNear).counts().bytes) / payload;
  result.wire_back = static_cast<double>(network.link(Network::kFar).counts().bytes) / payload;
  result.dropped = network.link(Network::kNear).counts().dropped_by_queue;
  auto waits = network.link(Network::kNear).waits();
  std::ranges::sort(waits);
  if (!waits.empty()) {
    result.queue_p50_ms = ms(waits[waits.size() / 2]);
    result.queue_p95_ms = ms(waits[waits.size() * 95 / 100]);
    result.queue_max_ms = ms(waits.back());
  }
  result.sender = connection->statistics();
  return result;
}

}  // namespace portolan::sim
