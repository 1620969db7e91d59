// A bulk transfer over a simulated link, for whoever works on congestion control: portolan_sim_bulk --rtt 100 --loss 0.05
#include "sim/network.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

using namespace portolan;
using namespace portolan::rudp;
using sim::Network;

namespace {

struct Far final : EndpointHandler, ConnectionHandler {
  ConnectionHandler* on_connection(Connection&) noexcept override { return this; }
  void on_readable(Connection& connection, StreamId stream) noexcept override {
    for (;;) {
      const auto data = connection.peek(stream);
      if (data.empty()) break;
      received += data.size();
      connection.consume(stream, data.size());
    }
    if (connection.ended(stream)) {
      ended = true;
      connection.finish(stream);
    }
  }
  std::uint64_t received = 0;
  bool ended = false;
};

struct Near final : EndpointHandler, ConnectionHandler {
  void on_connected(Connection& connection) noexcept override { write(connection); }
  void on_writable(Connection& connection, StreamId) noexcept override { write(connection); }
  void on_closed(Connection&, const CloseReason& why) noexcept override {
    std::printf("closed: %s\n", why.text.c_str());
  }
  void write(Connection& connection) {
    static std::byte block[65536];
    while (left > 0) {
      const std::size_t taken =
          connection.write(stream, std::span(block).first(std::min<std::uint64_t>(left, sizeof block)));
      left -= taken;
      if (taken == 0) return;
    }
    connection.finish(stream);
  }
  StreamId stream = 0;
  std::uint64_t left = 0;
};

}  // namespace

int main(int argc, char** argv) {
  sim::LinkSettings settings;
  double rtt = 20, seconds = 60;
  std::uint64_t bytes = 25'000'000, seed = 1;
  bool trace = false, key = true;
  ConnectionOptions options;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = argv[i];
    const double value = std::atof(argv[i + 1]);
    if (name == "--rtt") rtt = value;
    if (name == "--loss") settings.loss = value;
    if (name == "--rate") settings.rate = value * 1e6 / 8;
    if (name == "--queue") settings.queue = Duration(static_cast<long>(value * 1e6));
    if (name == "--bytes") bytes = static_cast<std::uint64_t>(value);
    if (name == "--seed") seed = static_cast<std::uint64_t>(value);
    if (name == "--trace") trace = value > 0;
    if (name == "--key") key = value > 0;
    if (name == "--reorder") settings.reorder = value;
    if (name == "--jitter") settings.jitter = Duration(static_cast<long>(value * 1e6));
    if (name == "--cc")
      options.congestion = std::string(argv[i + 1]) == "cubic" ? Congestion::cubic : Congestion::model;
  }
  settings.delay = Duration(static_cast<long>(rtt * 1e6 / 2));
  if (key) options.key = Secret::random();
  Network network(settings, settings, seed);
  Near near;
  Far far;
  near.left = bytes;
  network.put(Network::kNear, std::make_unique<rudp::Endpoint>(EndpointOptions{}, near));
  network.put(Network::kFar,
              std::make_unique<rudp::Endpoint>(EndpointOptions{.connection = options, .accepts = true}, far));
  const Duration begin = network.now();
  Connection* connection =
      network.endpoint(Network::kNear)->connect(network.address(Network::kFar), options, near, begin);
  near.stream = *connection->open_stream();
  if (trace) {
    for (int i = 1; i < 400; ++i)
      network.at(begin + std::chrono::milliseconds(50 * i), [&, i] {
        const auto s = connection->statistics();
        std::printf(
            "%5.2f rate %6.2f Mb/s rtt %6.2f min %6.2f cwnd %7zu flight %7zu loss %.3f got %9llu sent %llu lost %llu "
            "dropped %llu\n",
            i * 0.05, s.pacing_rate * 8e-6, s.smoothed_rtt.count() * 1e-6, s.min_rtt.count() * 1e-6,
            s.congestion_window, s.bytes_in_flight, s.loss, (unsigned long long)far.received,
            (unsigned long long)s.packets_sent, (unsigned long long)s.packets_lost,
            (unsigned long long)network.link(Network::kNear).counts().dropped_by_queue);
      });
  }
  const bool done = network.run(begin + Duration(static_cast<long>(seconds * 1e9)), [&] { return far.ended; });
  const double took = std::chrono::duration<double>(network.now() - begin).count();
  auto waits = network.link(Network::kNear).waits();
  std::ranges::sort(waits);
  const auto s = connection->statistics();
  const double ceiling = settings.rate * 8e-6 * 1450 / 1514 * (1 - settings.loss);
  std::printf(
      "%s rtt %3.0f loss %.2f: %6.2f Mb/s (%5.1f %% of %5.1f) wire %.4f (x(1-p) %.4f) back %.4f queue p50 %.1f p95 "
      "%.1f max %.1f ms, spurious %llu, dropped %llu mtu %zu\n",
      done ? "done" : "CUT ", rtt, settings.loss, far.received * 8e-6 / took,
      far.received * 8e-6 / took / ceiling * 100, ceiling, double(network.link(Network::kNear).counts().bytes) / bytes,
      double(network.link(Network::kNear).counts().bytes) / bytes * (1 - settings.loss),
      double(network.link(Network::kFar).counts().bytes) / bytes, waits[waits.size() / 2] * 1e-3,
      waits[waits.size() * 95 / 100] * 1e-3, waits.back() * 1e-3, (unsigned long long)s.packets_lost_spuriously,
      (unsigned long long)network.link(Network::kNear).counts().dropped_by_queue, s.datagram_size);
  return done ? 0 : 1;
}
