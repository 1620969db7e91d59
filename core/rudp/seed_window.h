// What both seed senders do: packets on their way, and how their loss is found out and made good.
//
// Acknowledgements repeat the number of a packet, so they are selective ones, and the machinery is that of a modern
// transport: round trips by RFC 6298 and Karn's rule; loss by RFC 8985 (RACK: a packet is lost when one that left later has
// been acknowledged for longer than the path reorders); a timeout repeats the oldest packet alone, whose acknowledgement then
// tells the fate of the others, and doubles; after `give_up_after` without an acknowledgement the sender fails and says why.
//
// When more than one packet may be in flight. A plain receiver may, to the letter of the format, (a) ignore what is not the
// expected number, (b) acknowledge everything and keep only the expected number, (c) take everything that differs from the
// number before, or (d) everything greater. With one packet in flight all four are right. With two, (b) to (d) acknowledge
// what they drop, misorder or repeat as soon as one is lost; no order in which data could be sent tells (b) from a
// receiver that keeps packets, and already the attempt costs (c) and (d) data. So evidence from data is never enough:
//   - `ask` (pipeline = "auto"): one packet in flight until the peer, asked as in seed_format.h, says how many it keeps. The
//     question is alone in flight and is a duplicate of the last packet, which all four acknowledge and drop.
//   - `window` (pipeline = N): so many from the start, for peers of which the operator knows that they keep N, or are (a).
//   - neither (pipeline = "off"): stop-and-wait.
// A peer that falls silent for several timeouts may come back as another: one packet in flight, and it is asked again.
//
// Owned by a sender, on its thread. No allocation once the ring and its packets have grown to what is in flight: bounded by
// max_window packets. Refuses acknowledgements of what was never sent.
#pragma once

#include "plugin/descriptor.h"
#include "rudp/seed_format.h"
#include "rudp/seed_rate.h"

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace portolan::rudp {

struct SeedSendOptions {
  bool ask = true;
  std::uint32_t window = 1;  // packets in flight without the peer's word
  std::uint32_t max_window =
      1024;  // packets in flight and queued, whatever the peer offers; a power of two is used whole
  std::uint32_t first_sequence = 0;
  Duration first_timeout = std::chrono::seconds(1);  // until a round trip has been measured
  Duration least_timeout = std::chrono::milliseconds(50);
  Duration greatest_timeout = std::chrono::seconds(5);
  Duration give_up_after = std::chrono::seconds(30);  // without an acknowledgement of anything new
};

struct SeedSendStats {
  std::uint64_t packets = 0;  // new ones, and
  std::uint64_t retransmissions = 0;
  std::uint64_t needless = 0;  // of the latter: both copies were acknowledged
  std::uint64_t timeouts = 0;
  std::uint64_t questions = 0;
  std::uint64_t rejected = 0;  // datagrams that were no acknowledgement of ours
};

// No acknowledgement of `sequence`, which was sent `transmissions` times, and of nothing else for `waited`.
struct SeedSilence {
  std::uint32_t sequence;
  std::uint32_t transmissions;
  Duration waited;
  std::string text() const;
};

class SeedWindow {
 public:
  SeedWindow(SeedFormat format, const SeedSendOptions& options);

  // The next packet: its payload is written into what prepare returns, and add queues that much of it. Only with room().
  bool room() const noexcept { return next_ - base_ < max_window_; }
  std::span<std::byte> prepare(std::size_t payload);
  void add(SeedKind kind, std::size_t payload) noexcept;

  void receive(std::span<const std::byte> datagram, Duration now) noexcept;
  // What is to be sent now; empty: nothing before deadline(). Valid until the next call.
  std::span<const std::byte> next_datagram(Duration now) noexcept;
  std::optional<Duration> deadline() const noexcept;

  bool starved() const noexcept;                          // all that is queued has been sent, and more could be
  bool empty() const noexcept { return base_ == next_; }  // everything was acknowledged
  std::size_t queued() const noexcept { return next_ - base_; }
  std::size_t queued_bytes() const noexcept { return queued_bytes_; }
  std::uint32_t window() const noexcept;  // packets that may be in flight
  const std::optional<SeedSilence>& silence() const noexcept { return silence_; }
  const SeedSendStats& stats() const noexcept { return stats_; }
  std::optional<Duration> round_trip() const noexcept { return smoothed_; }

 private:
  enum class State : std::uint8_t { unsent, in_flight, lost, acknowledged };
  static constexpr std::uint32_t kNone = UINT32_MAX;
  struct Slot {
    std::vector<std::byte> datagram;
    std::uint32_t sequence = 0;
    State state = State::acknowledged;
    std::uint32_t transmissions = 0;
    std::uint64_t order = 0;  // of its last transmission among all
    Duration sent{};          // the last time
    SeedRate::Mark mark;
    std::uint32_t before = kNone;  // in flight: of those that left before and after; lost: of those that wait
    std::uint32_t after = kNone;
  };
  struct List {
    std::uint32_t first = kNone;
    std::uint32_t last = kNone;
    std::uint32_t size = 0;
  };
  enum class Peer : std::uint8_t { unknown, asked, plain, keeps };

  Slot& slot(std::uint32_t sequence) noexcept { return ring_[sequence & (ring_.size() - 1)]; }
  const Slot& slot(std::uint32_t sequence) const noexcept { return ring_[sequence & (ring_.size() - 1)]; }
  void grow();
  void append(List& list, Slot& one) noexcept;
  void remove(List& list, Slot& one) noexcept;
  void on_acknowledgement(Slot& one, Duration now) noexcept;
  void on_round_trip(Duration sample) noexcept;
  void find_losses(Duration now) noexcept;
  void lose(Slot& one) noexcept;
  void on_timeout(Duration now) noexcept;
  std::span<const std::byte> transmit(Slot& one, Duration now) noexcept;
  bool may_ask() const noexcept;
  void on_answer(const SeedPacket& packet) noexcept;
  std::span<const std::byte> question(Duration now) noexcept;
  Duration timeout() const noexcept;
  Duration reordering() const noexcept;

  const SeedFormat format_;
  const SeedSendOptions options_;
  std::uint32_t max_window_;
  std::vector<Slot> ring_;
  std::uint32_t base_;    // the lowest that is not acknowledged
  std::uint32_t unsent_;  // the lowest that never left
  std::uint32_t next_;    // the number of the next packet
  std::size_t queued_bytes_ = 0;
  List in_flight_;
  List lost_;
  std::uint64_t order_ = 0;
  SeedRate rate_;

  std::optional<Duration> smoothed_;
  Duration variation_{};
  std::uint32_t backoff_ = 0;          // doublings of the timeout
  std::uint32_t silent_timeouts_ = 0;  // since an acknowledgement
  Duration timer_from_{};              // the last transmission or acknowledgement that the timeout counts from
  Duration progress_{};                // when something new was acknowledged, or sent while nothing was in flight

  struct {
    std::uint64_t order = 0;  // of the packet that left last among those acknowledged
    Duration sent{};
    Duration round_trip{};
    std::uint32_t quarters = 1;  // of the least round trip: how much the path reorders (RFC 8985, section 6.2)
    std::uint32_t clean = 0;     // packets acknowledged since the last needless retransmission
  } rack_;
  std::optional<Duration> rack_at_;  // when the next packet may have to be called lost

  Peer peer_ = Peer::unknown;
  std::uint32_t offered_ = 1;
  std::uint32_t ask_in_ = 1;  // acknowledgements until the next question
  std::uint32_t asked_ = 0;   // questions without an offer
  std::uint32_t asked_of_ = 0;
  Duration asked_at_{};
  std::uint32_t repeats_ = 0;  // of the same question
  std::vector<std::byte> question_;

  std::optional<SeedSilence> silence_;
  SeedSendStats stats_;
};

}  // namespace portolan::rudp
