// What reliable UDP makes of a path, in virtual time: so the figures are the same on every machine. 50 Mbit/s, a queue of 50 ms,
// loss in both directions.
#include "sim/bulk_run.h"
#include "sim/network.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

using namespace portolan;
using namespace portolan::rudp;
using sim::Network;

namespace {

int failures = 0;
void check(bool holds, const char* what, double rtt_ms, double loss, double figure) {
  if (holds) return;
  std::printf("RTT %.0f ms, loss %.2f: %s: %.3f\n", rtt_ms, loss, what, figure);
  ++failures;
}

sim::LinkSettings path(double rtt_ms, double loss) {
  sim::LinkSettings link;
  link.delay = Duration(static_cast<Duration::rep>(rtt_ms * 1e6 / 2));
  link.loss = loss;
  return link;
}

void files_fill_the_link() {
  struct {
    double rtt_ms, loss, megabits, megabits_after_question;
  } const cases[] = {
      {20, 0, 45.5, 45}, {20, 0.05, 43.3, 42.5}, {20, 0.2, 34.9, 32.5},
      {100, 0, 41, 40},  {100, 0.05, 38, 36},    {100, 0.2, 30, 28},
  };
  for (const auto& one : cases) {
    for (const bool asks : {false, true}) {
      const sim::BulkResult got = sim::run_bulk({.link = path(one.rtt_ms, one.loss), .options = {}, .asks = asks});
      const double least = asks ? one.megabits_after_question : one.megabits;
      check(got.done && got.megabits >= least, "too slow (Mbit/s)", one.rtt_ms, one.loss, got.megabits);
      check(got.wire_there * (1 - one.loss) <= 1.06, "too many bytes for one", one.rtt_ms, one.loss, got.wire_there);
      check(got.queue_p95_ms <= 25, "too long a queue (ms, p95)", one.rtt_ms, one.loss, got.queue_p95_ms);
      check(got.dropped == 0, "the queue overflowed", one.rtt_ms, one.loss, static_cast<double>(got.dropped));
    }
  }
}

// ---- Messages ------------------------------------------------------------------------------------------------

constexpr int kMessages = 2000;
constexpr Duration kEvery = std::chrono::milliseconds(10);
constexpr std::size_t kSize = 200;

class User final : public EndpointHandler, public ConnectionHandler {
 public:
  explicit User(Network& network) : network_(network) {}
  ConnectionHandler* on_connection(Connection&) noexcept override { return this; }
  void on_connected(Connection& its) noexcept override { connection = &its; }
  void on_message(Connection&, std::span<const std::byte> data) noexcept override {
    Duration sent{};
    std::memcpy(&sent, data.data(), sizeof sent);
    late.push_back(network_.now() - sent);
  }
  Connection* connection = nullptr;
  std::vector<Duration> late;

 private:
  Network& network_;
};

// The latency that 99 of 100 messages keep, in ms; those that never came are infinitely late.
double p99(Redundancy redundancy, double rtt_ms, double loss) {
  Network network(path(rtt_ms, loss), path(rtt_ms, loss), 1);
  User near(network), far(network);
  ConnectionOptions options;
  options.redundancy = redundancy;
  network.put(Network::kNear, std::make_unique<rudp::Endpoint>(EndpointOptions{}, near));
  network.put(Network::kFar,
              std::make_unique<rudp::Endpoint>(EndpointOptions{.connection = options, .accepts = true}, far));
  network.endpoint(Network::kNear)->connect(network.address(Network::kFar), options, near, network.now());
  const Duration begin = network.now() + std::chrono::seconds(2);
  for (int i = 0; i < kMessages; ++i)
    network.at(begin + i * kEvery, [&] {
      std::vector<std::byte> data(kSize);
      const Duration now = network.now();
      std::memcpy(data.data(), &now, sizeof now);
      if (near.connection)
        near.connection->send_message(data,
                                      {.delivery = Delivery::deadline, .lifetime = std::chrono::milliseconds(200)});
    });
  network.run(begin + kMessages * kEvery + std::chrono::seconds(1), [] { return false; });
  far.late.resize(kMessages, Duration::max());
  std::ranges::sort(far.late);
  return std::chrono::duration<double, std::milli>(far.late[kMessages * 99 / 100]).count();
}

void repairs_keep_messages_in_time() {
  for (const double loss : {0.01, 0.05}) {
    const double with_repairs = p99(Redundancy::fec, 100, loss);
    check(with_repairs <= 1.2 * 50 + 10, "late, with repairs (ms, p99)", 100, loss, with_repairs);
  }
  const double twice = p99(Redundancy::twice, 100, 0.05);
  check(twice <= 1.2 * 50 + 10, "late, sent twice (ms, p99)", 100, 0.05, twice);
  const double once = p99(Redundancy::none, 100, 0.05);
  check(once > 120, "in time without repairs: what is tested above?", 100, 0.05, once);
}

}  // namespace

int main() {
  files_fill_the_link();
  repairs_keep_messages_in_time();
  return failures ? 1 : 0;
}
