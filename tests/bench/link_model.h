// One direction of an emulated link, without I/O: packets and the time go in, packets come out when they have arrived.
// The order is that of a real path: policer, drop-tail queue, serialisation at the rate, then loss, and after it the
// propagation delay. So loss costs the sender what it costs on a radio link: the bottleneck has carried the packet.
//
// Owned by the emulator's loop, one thread. Time is since the link's start. Everything random is drawn from generators
// that the seed fixes, one for each kind: the n-th packet to leave the bottleneck is lost or not whatever else is on.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <random>
#include <vector>

namespace portolan::bench {

using LinkTime = std::chrono::nanoseconds;

struct RateStep {
  LinkTime at{};
  double bits_per_second = 0;
};

struct Outage {
  LinkTime from{};
  LinkTime until{};
};

struct LinkShape {
  double bits_per_second = 50e6;
  std::vector<RateStep> steps;                     // in the order of their times
  LinkTime queue = std::chrono::milliseconds(50);  // as bytes at the first rate: a buffer does not grow with a step
  std::uint64_t queue_bytes = 0;                   // instead, when not 0
  double policed_bits_per_second = 0;              // 0: no policer
  std::uint64_t policer_burst_bytes = 0;
  double loss = 0;        // share of packets; with a burst of 1 each for itself
  double loss_burst = 1;  // mean length of a run of losses in packets (Gilbert-Elliott, bad state loses all)
  LinkTime delay = std::chrono::milliseconds(10);
  LinkTime jitter{};   // up to so much more, evenly spread; keeps the order
  double reorder = 0;  // share of packets that come later by reorder_by, behind those that left after them
  LinkTime reorder_by = std::chrono::milliseconds(5);
  double duplicate = 0;
  double corrupt = 0;
  std::vector<Outage> outages;  // what leaves the bottleneck meanwhile is lost

  std::uint64_t queue_limit() const;
};

// Counts in buckets of equal width; what a quantile answers is the upper edge of its bucket.
class Histogram {
 public:
  explicit Histogram(LinkTime width) : width_(width) {}

  void add(LinkTime value);
  LinkTime quantile(double share) const;  // 0 of nothing
  LinkTime max() const { return max_; }

 private:
  LinkTime width_;
  LinkTime max_{};
  std::uint64_t count_ = 0;
  std::vector<std::uint32_t> buckets_;
};

// What both ends and the reader of a report know a flow by.
struct FlowKey {
  std::uint8_t protocol = 0;
  std::uint16_t source_port = 0;
  std::uint16_t destination_port = 0;

  bool operator==(const FlowKey&) const = default;
};
// Of an IPv4 or IPv6 packet; ports are 0 where there are none.
FlowKey flow_of(const std::byte* ip_packet, std::size_t size);

// Bytes are those of the wire: the IP packet and the 14 of an Ethernet header.
inline constexpr std::size_t kEthernetBytes = 14;

struct LinkCounts {
  std::uint64_t offered_packets = 0;
  std::uint64_t offered_bytes = 0;
  std::uint64_t delivered_packets = 0;
  std::uint64_t delivered_bytes = 0;
  std::uint64_t queue_drops = 0;
  std::uint64_t policer_drops = 0;
  std::uint64_t losses = 0;
  std::uint64_t outage_losses = 0;
  std::uint64_t duplicates = 0;
  std::uint64_t corrupted = 0;
  std::uint64_t reordered = 0;
  Histogram queueing{
      std::chrono::microseconds(100)};            // of every packet that the queue took, without its own serialisation
  std::vector<std::uint64_t> delivered_by_tenth;  // bytes in each tenth of a second

  void delivered(LinkTime at, std::size_t bytes);
};

struct FlowCounts {
  FlowKey key;
  LinkCounts counts;
};

struct Packet {
  std::vector<std::byte> bytes;  // as the ends hand it over; the model does not look inside
  std::size_t wire_bytes = 0;
  FlowKey flow;
  bool corrupt = false;  // the emulator damages it before it hands it over
};

class LinkDirection {
 public:
  LinkDirection(const LinkShape& shape, std::uint64_t seed);

  void offer(LinkTime now, Packet packet);
  // The next packet that has arrived by now; `due` tells when it did.
  struct Arrival {
    LinkTime due{};
    Packet packet;
  };
  std::optional<Arrival> take(LinkTime now);
  std::optional<LinkTime> deadline() const;

  const LinkCounts& counts() const { return total_; }
  const std::vector<FlowCounts>& flows() const { return flows_; }

 private:
  struct Queued {
    LinkTime arrived{};
    LinkTime started{};
    Packet packet;
    std::size_t flow = 0;
  };
  struct OnTheWay {
    LinkTime due{};
    std::uint64_t number = 0;
    Packet packet;
    std::size_t flow = 0;

    bool operator<(const OnTheWay& other) const {  // so that a heap has the earliest on top
      return due != other.due ? due > other.due : number > other.number;
    }
  };

  class Chance {
   public:
    explicit Chance(std::uint64_t seed) : generator_(seed) {}
    double draw() { return std::uniform_real_distribution<double>(0, 1)(generator_); }
    bool happens(double share) { return share > 0 && draw() < share; }

   private:
    std::mt19937_64 generator_;
  };

  void advance(LinkTime now);
  void leave_bottleneck(Queued queued);
  void send_on_the_way(LinkTime due, Packet packet, std::size_t flow);
  void start_head(LinkTime at);
  bool is_lost();
  bool policed(LinkTime now, std::size_t bytes);
  double rate_at(LinkTime at) const;
  std::size_t find_flow(const FlowKey& key);

  LinkShape shape_;
  std::uint64_t queue_limit_;
  std::deque<Queued> queue_;  // the head is being serialised
  std::uint64_t queued_bytes_ = 0;
  LinkTime head_done_{};
  std::vector<OnTheWay> heap_;
  std::uint64_t numbers_ = 0;
  LinkTime latest_due_{};
  double policer_tokens_;
  LinkTime policer_filled_{};
  bool losing_ = false;
  Chance loss_chance_;
  Chance jitter_chance_;
  Chance reorder_chance_;
  Chance duplicate_chance_;
  Chance corrupt_chance_;
  LinkCounts total_;
  std::vector<FlowCounts> flows_;
};

}  // namespace portolan::bench
