// How fast a connection may send, and how much may be under way: the interface of congestion controllers.
//
// A controller belongs to one path of one connection. It is told of every packet that counts and of every acknowledgement,
// and answers with a pacing rate and a window. Pure arithmetic: no clock, no allocation after it was made.
#pragma once

#include "rudp/options.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace portolan::rudp {

// What one acknowledgement, or the timer of losses, has brought.
struct CongestionEvent {
  // A mark that the controller gave packets when they were sent (phase()), to tell its own doings apart.
  static constexpr std::size_t kPhases = 4;

  Duration now{};
  std::uint64_t acknowledged = 0;                        // bytes, newly
  std::uint64_t lost = 0;                                // bytes, newly
  std::array<std::uint64_t, kPhases> acknowledged_in{};  // the same by the phase that they were sent in
  std::array<std::uint64_t, kPhases> lost_in{};
  std::uint64_t in_flight = 0;        // bytes, after this
  std::uint64_t prior_in_flight = 0;  // before
  Duration rtt{};                     // of the newest packet acknowledged; zero: no sample
  Duration min_rtt{};
  Duration smoothed_rtt{};
  // A round trip has passed: a packet was acknowledged that was sent after the last round had ended.
  bool round = false;
  // Over the flight of the newest packet acknowledged: what the path delivered and lost from its sending on, in which
  // time (draft-cheng-iccrg-delivery-rate-estimation). Interval zero: no sample.
  std::uint64_t delivered_in_flight = 0;
  std::uint64_t lost_in_flight = 0;
  Duration interval{};
  bool app_limited = false;  // the sample: there was not enough to send
  // Of the newest packet acknowledged: when it was sent, and how many bytes had been before it.
  Duration newest_sent_at{};
  std::uint64_t newest_sent_offset = 0;
  Duration newest_lost_sent_at{};
};

class CongestionController {
 public:
  virtual ~CongestionController() = default;

  virtual void on_sent(Duration now, std::size_t bytes, std::uint64_t in_flight) noexcept = 0;
  virtual void on_event(const CongestionEvent& event) noexcept = 0;
  // Nothing came back for several probe timeouts (RFC 9002, section 7.6).
  virtual void on_persistent_loss(Duration now) noexcept = 0;
  // Packets that were called lost have arrived after all.
  virtual void on_spurious_loss(std::uint64_t bytes) noexcept { (void)bytes; }
  // Datagrams have another size now.
  virtual void on_datagram_size(std::size_t bytes) noexcept = 0;

  virtual double pacing_rate() const noexcept = 0;  // bytes a second
  virtual std::uint64_t window() const noexcept = 0;
  virtual std::uint8_t phase() const noexcept { return 0; }
};

std::unique_ptr<CongestionController> make_congestion_controller(const ConnectionOptions& options,
                                                                 std::size_t datagram_size);

// Each in its own file.
std::unique_ptr<CongestionController> make_congestion_model(std::size_t datagram_size);
std::unique_ptr<CongestionController> make_congestion_cubic(std::size_t datagram_size);
std::unique_ptr<CongestionController> make_congestion_fixed(double rate);

}  // namespace portolan::rudp
