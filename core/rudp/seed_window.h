// What both seed senders do: packets on their way, and how their loss is found out and made good.
//
// Acknowledgements repeat the number of a packet, so they are selective ones, and the machinery is that of a modern
// transport: round trips by RFC 6298 and Karn's rule; loss by RFC 8985 (RACK: a packet is lost when one that left later
// was acknowledged, and for longer than the path reorders); a timeout repeats the lowest packet alone, whose
// acknowledgement then tells the fate of the others, and doubles. After `give_up_after` without an acknowledgement of
// anything new the sender fails and says of what.
//
// When may more than one packet be in flight? A plain receiver may, to the letter of the format, (a) ignore all but the
// expected number, (b) acknowledge all and keep the expected number, (c) take whatever differs from the number before,
// or (d) whatever is greater. With one packet in flight all four are right. With two, (b) to (d) acknowledge what they
// drop, misorder or repeat as soon as one is lost; no order of sending tells (b) from a receiver that keeps packets,
// and the attempt already costs (c) and (d) data. Acknowledgements of data are never evidence enough. So:
//   - `ask` (pipeline = "auto"): one in flight until the peer says how many it keeps, asked as seed_format.h describes.
//     The question is a duplicate of the last packet, alone in flight: all four acknowledge it and drop it.
//   - `window` over 1 (pipeline = N): for peers of which the operator knows that they keep N, or are (a).
//   - neither (pipeline = "off"): stop-and-wait.
// A peer that was silent for several timeouts may come back as another: one in flight again, and it is asked again.
//
// Owned by a sender, on its thread. Bounded by max_window packets; no allocation once the ring has grown to what is in
// flight, but for packets over 2 KiB. Refuses acknowledgements of what was never sent.
#pragma once

#include "plugin/descriptor.h"
#include "rudp/seed_format.h"
#include "rudp/seed_rate.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace portolan::rudp {

struct SeedSendOptions {
  bool ask = true;
  std::uint32_t window = 1;         // packets in flight without the peer's word
  std::uint32_t max_window = 4096;  // packets in flight and queued; rounded up to a power of two, 16384 at most
  std::uint32_t first_sequence = 0;
  Duration first_timeout = std::chrono::seconds(1);  // until a round trip was measured (RFC 6298)
  Duration least_timeout = std::chrono::milliseconds(50);
  Duration greatest_timeout = std::chrono::seconds(3);  // by doubling
  Duration give_up_after = std::chrono::seconds(30);
};

struct SeedSendStats {
  std::uint64_t packets = 0;          // sent for the first time
  std::uint64_t retransmissions = 0;  // and
  std::uint64_t needless = 0;         // of these: the packet was acknowledged once more
  std::uint64_t timeouts = 0;
  std::uint64_t questions = 0;
  std::uint64_t rejected = 0;  // datagrams that acknowledged nothing of ours
};

// The peer acknowledged nothing new for `waited`; the lowest packet that it owes was sent `transmissions` times.
struct SeedSilence {
  std::uint32_t sequence;
  std::uint32_t transmissions;
  Duration waited;
  std::string text() const;
};

class SeedWindow {
 public:
  SeedWindow(SeedFormat format, const SeedSendOptions& options);

  // The next packet: its payload is written into what prepare returns, and add queues the first bytes of it. Only with
  // room().
  bool room() const noexcept { return next_ - base_ < max_window_; }
  std::span<std::byte> prepare(std::size_t payload);
  void add(SeedKind kind, std::size_t payload) noexcept;

  void receive(std::span<const std::byte> datagram, Duration now) noexcept;
  // What is to be sent now; empty: nothing before deadline(). Valid until the next call.
  std::span<const std::byte> next_datagram(Duration now);
  std::optional<Duration> deadline() const noexcept;

  std::uint32_t unsent() const noexcept { return next_ - unsent_; }
  std::uint32_t queued() const noexcept { return next_ - base_; }  // and what is in flight
  std::size_t queued_bytes() const noexcept { return queued_bytes_; }
  bool empty() const noexcept { return base_ == next_; }  // everything was acknowledged
  std::uint32_t window() const noexcept;                  // packets that may be in flight
  const std::optional<SeedSilence>& silence() const noexcept { return silence_; }
  std::optional<Duration> round_trip() const noexcept { return smoothed_; }
  const SeedSendStats& stats() const noexcept { return stats_; }

 private:
  enum class State : std::uint8_t { unsent, in_flight, lost, acknowledged };
  struct Slot {
    std::vector<std::byte> datagram;
    std::uint32_t sequence = 0;
    State state = State::acknowledged;
    std::uint32_t transmissions = 0;
    std::uint64_t order = 0;  // of its last transmission among all
    Duration sent{};          // the last time
    SeedRate::Mark mark;
    std::optional<std::uint32_t> before;  // the numbers of its neighbours in its list
    std::optional<std::uint32_t> after;
  };
  struct List {
    std::optional<std::uint32_t> first;
    std::optional<std::uint32_t> last;
    std::uint32_t size = 0;
  };
  enum class Peer : std::uint8_t {
    unknown,
    asked,  // the question is in flight
    plain,  // as far as it answered
    keeps,  // as many as it offered
  };

  Slot& slot(std::uint32_t sequence) noexcept { return ring_[sequence & (ring_.size() - 1)]; }
  const Slot& slot(std::uint32_t sequence) const noexcept { return ring_[sequence & (ring_.size() - 1)]; }
  void append(List& list, Slot& one) noexcept;
  void remove(List& list, Slot& one) noexcept;
  std::uint32_t span() const noexcept;  // numbers from base_ on that may have left
  bool may_send_lost() const noexcept { return lost_.first && in_flight_.size < window(); }
  bool may_send_new() const noexcept;
  void on_acknowledgement(Slot& one, Duration now) noexcept;
  void on_repeated_acknowledgement(Slot& one) noexcept;
  void on_round_trip(Duration sample) noexcept;
  void find_losses(Duration now) noexcept;
  void lose(Slot& one) noexcept;
  void on_timeout(Duration now) noexcept;
  void fall_back() noexcept;
  std::span<const std::byte> transmit(Slot& one, Duration now) noexcept;
  bool may_ask() const noexcept;
  std::span<const std::byte> question(Duration now) noexcept;
  bool on_answer(const SeedPacket& packet, Duration now) noexcept;  // it was one
  std::optional<Duration> timeout_at() const noexcept;
  Duration timeout(unsigned doublings) const noexcept;
  Duration reordering() const noexcept;

  const SeedFormat format_;
  const SeedSendOptions options_;
  const std::uint32_t max_window_;
  std::vector<Slot> ring_;
  std::uint32_t base_;    // the lowest that is not acknowledged
  std::uint32_t unsent_;  // the lowest that never left
  std::uint32_t next_;    // the number of the next packet
  std::size_t queued_bytes_ = 0;
  List in_flight_;  // in the order of their transmission
  List lost_;       // in the order in which they are to be sent again
  std::uint64_t order_ = 0;
  SeedRate rate_;
  Duration pace_at_{};  // when the next packet may leave

  std::optional<Duration> smoothed_;
  Duration variation_{};
  unsigned doublings_ = 0;        // of the timeout
  unsigned silent_timeouts_ = 0;  // since the last acknowledgement
  bool probe_ = false;            // a timeout's packet leaves whatever the window is
  Duration timer_from_{};         // the last acknowledgement of something new, or timeout
  Duration progress_{};           // the former, or the first packet after everything was acknowledged

  struct {
    std::uint64_t order = 0;  // of the packet that left last of those acknowledged
    Duration round_trip{};    // of it
    int quarters = 1;         // of the least round trip, that the path reorders by (RFC 8985, section 6.2)
    std::uint32_t clean = 0;  // packets acknowledged since that was last too little
  } rack_;
  std::optional<Duration> rack_at_;  // when the next packet will have to be called lost

  Peer peer_ = Peer::unknown;
  std::uint32_t offered_ = 1;
  std::uint32_t acknowledgements_ = 0;  // since the peer became unknown
  std::uint32_t ask_at_ = 1;            // so many of them
  std::uint32_t last_acknowledged_ = 0;
  bool asked_ever_ = false;
  std::uint32_t asked_of_ = 0;  // the number that the question repeats
  Duration asked_at_{};
  unsigned asked_times_ = 0;
  std::array<std::byte, kSeedHeader + kSeedQuestion.size()> question_{};

  std::optional<SeedSilence> silence_;
  SeedSendStats stats_;
};

}  // namespace portolan::rudp
