// What became of the packets that were sent: acknowledgements, loss, the round trip, and how much may be sent now.
//
// Loss is detected by RACK (RFC 8985) as RFC 9002, section 6.1, has it: a packet is lost when one that was sent 3 packets
// later has arrived, or one that was sent a reordering window earlier than now. Where a packet that was called lost arrives
// after all, the path reorders: then time alone counts, and the window grows by what was seen; it shrinks back when no more is
// seen. Packet numbers are in the order of sending, so that the first packet that is not lost yet ends the search: the work
// for each packet is O(1). When nothing is heard, probes are sent (RFC 9002, section 6.2).
//
// It belongs to its connection. What is in the packets it knows by reference alone, and tells their owner of their fate.
#pragma once

#include "rudp/congestion.h"
#include "rudp/options.h"
#include "rudp/pacer.h"
#include "rudp/range_set.h"
#include "rudp/rtt.h"
#include "rudp/sent_packets.h"

#include <memory>
#include <span>

namespace portolan::rudp {

// Told what became of the frames that were sent. Each frame is acknowledged or lost once; one that was lost may be
// acknowledged after that.
class FrameOwner {
 public:
  virtual void on_frame_acknowledged(const SentFrame& frame) = 0;
  virtual void on_frame_lost(const SentFrame& frame) = 0;
  virtual void on_mtu_probe(std::size_t bytes, bool acknowledged) = 0;
  virtual void on_large_packet_fate(bool acknowledged) = 0;  // of one longer than kBaseDatagram

 protected:
  ~FrameOwner() = default;
};

class Recovery {
 public:
  static constexpr Duration kMaxAckDelay = std::chrono::milliseconds(5);

  Recovery(const ConnectionOptions& options, FrameOwner& owner);

  // ---- Sending ----
  std::uint64_t next_number() const noexcept { return sent_.end(); }
  // The packet with the next number leaves. `counts`: it asks for an acknowledgement and is in flight until then.
  void on_sent(const SentPacket& packet, bool counts, Duration now);
  // There was nothing more to send, though more might have been: what is under way says nothing of the path's rate.
  void on_app_limited() noexcept;
  bool window_open() const noexcept { return probes_ > 0 || in_flight_ < congestion_->window(); }
  bool probing() const noexcept { return probes_ > 0; }
  Duration next_send_at() const noexcept { return probes_ > 0 ? Duration::zero() : pacer_.next(); }
  // How many bytes may leave in one go now.
  std::size_t train_bytes(Duration now) const noexcept { return pacer_.train_bytes(rate(), now); }

  // ---- What the peer tells ----
  // Ranges of packet numbers, the highest first. False: one of them was never sent.
  bool on_acknowledged(std::span<const Range> ranges, Duration ack_delay, Duration now);
  // Their content was recovered by forward error correction: it has arrived, though the packets were lost.
  bool on_recovered(std::span<const Range> ranges, Duration now);

  // ---- Time ----
  Duration deadline() const noexcept;
  void on_timeout(Duration now);

  // ---- What is known ----
  const RttEstimator& rtt() const noexcept { return rtt_; }
  Duration probe_timeout() const noexcept { return rtt_.probe_timeout(kMaxAckDelay); }
  std::uint64_t in_flight() const noexcept { return in_flight_; }
  double rate() const noexcept;  // that packets are paced at
  CongestionController& congestion() noexcept { return *congestion_; }
  const CongestionController& congestion() const noexcept { return *congestion_; }
  double loss() const noexcept { return loss_; }              // share of packets, lately
  double loss_burst() const noexcept { return loss_burst_; }  // packets lost in a row, on average
  // Packets sent since the last one that asked for an acknowledgement.
  unsigned uncounted_in_row() const noexcept { return uncounted_; }
  void fill(ConnectionStatistics& statistics) const noexcept;

  // The first round trip, of the handshake.
  void on_handshake(Duration sample, Duration now) noexcept;
  void on_new_path(const ConnectionOptions& options, std::size_t datagram_size);
  void on_datagram_size(std::size_t bytes) noexcept { congestion_->on_datagram_size(bytes); }

 private:
  static constexpr std::uint64_t kNone = ~std::uint64_t{0};
  static constexpr std::uint64_t kPacketThreshold = 3;

  void acknowledge(std::uint64_t number, Duration now, CongestionEvent& event, std::uint64_t& newest);
  void detect_losses(Duration now, CongestionEvent& event);
  void lose(std::uint64_t number, CongestionEvent& event);
  void forget_settled(Duration now) noexcept;
  void tell_congestion(CongestionEvent& event, Duration now) noexcept;
  void note_fate(bool lost) noexcept;
  void note_spurious(std::uint64_t number, Duration now) noexcept;
  Duration reordering_window() const noexcept;

  FrameOwner& owner_;
  double max_rate_;
  std::unique_ptr<CongestionController> congestion_;
  Pacer pacer_;
  RttEstimator rtt_;
  SentPackets sent_;
  RangeSet acknowledged_;        // of the packets that are remembered
  RangeSet recovered_;           // likewise
  std::uint64_t undecided_ = 0;  // every packet below is acknowledged or lost
  std::uint64_t largest_acknowledged_ = kNone;
  Duration largest_sent_at_{};  // of the packets acknowledged, the one sent last
  std::uint64_t in_flight_ = 0;
  std::uint64_t counted_in_flight_ = 0;  // packets
  Duration last_counted_sent_at_{};
  Duration loss_at_ = Duration::max();  // when the next packet is lost by time
  unsigned uncounted_ = 0;
  unsigned probe_count_ = 0;
  unsigned probes_ = 0;  // that may leave now, whatever the window
  // Reordering.
  bool reorders_ = false;
  unsigned reordering_quarters_ = 0;  // of the shortest round trip, on top of an eighth
  Duration reordering_seen_at_{};
  // Delivery.
  std::uint64_t sent_bytes_ = 0;
  std::uint64_t delivered_ = 0;
  std::uint64_t lost_bytes_ = 0;
  Duration delivered_at_{};
  Duration first_sent_at_{};
  std::uint64_t app_limited_until_ = 0;
  std::uint64_t app_limited_from_ = 0;  // packets below are marked as far as they are
  std::uint64_t round_ends_at_ = 0;     // by delivered_
  double delivery_rate_ = 0;
  // Loss.
  double loss_ = 0;
  double loss_burst_ = 1;
  double run_ = 0;
  std::uint64_t packets_lost_ = 0;
  std::uint64_t packets_spurious_ = 0;
};

}  // namespace portolan::rudp
