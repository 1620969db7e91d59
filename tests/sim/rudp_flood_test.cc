// A flood of handshakes from addresses that nobody answers at, while a connection lives: what is kept for them is bounded, no
// answer is longer than what asked for it, and the connection is served.
#include "sim/network.h"

#include <array>
#include <cstdio>
#include <memory>
#include <vector>

using namespace portolan;
using namespace portolan::rudp;
using sim::Network;

namespace {

constexpr unsigned kForged = 5000;
constexpr std::size_t kHalfOpen = 32;
constexpr std::size_t kBytes = 200'000;

class User final : public EndpointHandler, public ConnectionHandler {
 public:
  ConnectionHandler* on_connection(Connection&) noexcept override { return this; }
  void on_connected(Connection& its) noexcept override { connection = &its; }
  void on_readable(Connection& its, StreamId stream) noexcept override {
    received += its.peek(stream).size();
    its.consume(stream, its.peek(stream).size());
  }
  Connection* connection = nullptr;
  std::size_t received = 0;
};

int failures = 0;
void check(bool holds, const char* what) {
  if (holds) return;
  std::printf("does not hold: %s\n", what);
  ++failures;
}

void play(bool with_key) {
  ConnectionOptions options;
  if (with_key) options.key = Secret::random();
  Network network({}, {}, 1);
  User near, far;
  network.put(Network::kNear, std::make_unique<rudp::Endpoint>(EndpointOptions{}, near));
  network.put(Network::kFar, std::make_unique<rudp::Endpoint>(
                                 EndpointOptions{.connection = options, .accepts = true, .half_open = kHalfOpen}, far));
  network.endpoint(Network::kNear)->connect(network.address(Network::kFar), options, near, network.now());
  check(network.run(network.now() + std::chrono::seconds(5), [&] { return near.connection && far.connection; }),
        "the connection begins");

  // Each from a port of its own; those of the last thousand have another key, or none.
  rudp::Endpoint& target = *network.endpoint(Network::kFar);
  std::vector<std::byte> buffer(64 * 1024);
  std::size_t asked = 0, answered = 0;
  for (unsigned i = 0; i < kForged; ++i) {
    ConnectionOptions theirs = options;
    if (i + 1000 > kForged) theirs.key = Secret::random();
    User nobody;
    rudp::Endpoint attacker(EndpointOptions{}, nobody);
    attacker.connect(network.address(Network::kFar), theirs, nobody, network.now());
    Train train;
    if (!attacker.transmit(train, buffer, network.now())) continue;
    asked += train.data.size();
    std::vector<std::byte> initial(train.data.begin(), train.data.end());
    Address from = *Address::parse("203.0.113.7:1");
    from.set_port(static_cast<std::uint16_t>(1024 + i));
    target.receive(from, {}, initial, network.now());
    while (target.transmit(train, buffer, network.now())) answered += train.to == from ? train.data.size() : 0;
  }
  check(answered < asked, "less is answered than was asked");
  check(target.connections() <= 1 + kHalfOpen, "half-open handshakes are bounded");

  const std::vector<std::byte> data(kBytes);
  const auto stream = near.connection->open_stream();
  check(stream.has_value() && near.connection->write(*stream, data) == kBytes, "the connection takes bytes");
  check(network.run(network.now() + std::chrono::seconds(5), [&] { return far.received == kBytes; }),
        "the connection is served");
  check(!network.run(network.now() + std::chrono::seconds(15), [] { return false; }) && target.connections() == 1,
        "what was half open is forgotten");
}

}  // namespace

int main() {
  play(false);
  play(true);
  return failures ? 1 : 0;
}
