// How large a datagram the path takes: packetization-layer path MTU discovery (RFC 8899).
//
// A probe is a packet of its own, filled up to the size that is tried. The sizes are those that paths have, the largest
// first: most paths take it, and a transfer is not over before the right one is found. What is in use is believed until
// several packets of more than the base size are lost in a row with nothing else lost (a black hole).
#pragma once

#include "rudp/frames.h"
#include "rudp/options.h"

#include <algorithm>
#include <array>

namespace portolan::rudp {

class PathMtu {
 public:
  explicit PathMtu(std::size_t largest) noexcept : largest_(std::clamp(largest, kBaseDatagram, kLargestDatagram)) {
    begin_search(kUnprobed);
  }

  std::size_t size() const noexcept { return size_; }

  // The size to be probed now; 0: none. One probe at a time.
  std::size_t probe(Duration now) const noexcept { return !under_way_ && now >= next_at_ ? candidate_ : 0; }
  Duration deadline() const noexcept { return under_way_ || candidate_ == 0 ? Duration::max() : next_at_; }
  void on_probe_sent() noexcept { under_way_ = true; }

  // True: size() has changed.
  bool on_probe(std::size_t bytes, bool acknowledged, Duration now) noexcept {
    if (!under_way_) return false;  // of a path that is no longer used
    under_way_ = false;
    if (acknowledged) {
      const bool larger = bytes > size_;
      size_ = std::max(size_, bytes);
      black_hole_ = 0;
      candidate_ = 0;
      if (size_ < largest_) raise_later(now);  // what is larger has failed
      return larger;
    }
    if (++failures_ < kProbes) return false;
    next_candidate(now);
    return false;
  }
  // The kernel says that datagrams of this size do not leave at all.
  bool too_long(std::size_t bytes, Duration now) noexcept {
    if (bytes <= kBaseDatagram) return false;
    under_way_ = false;
    largest_ = kBaseDatagram;
    for (const std::size_t known : kSizes)
      if (known < bytes) largest_ = std::max(largest_, known);
    const bool shrinks = size_ >= bytes;
    if (shrinks) size_ = kBaseDatagram;
    begin_search(size_);
    next_at_ = now;
    return shrinks;
  }
  bool on_large_packet(bool acknowledged, Duration now) noexcept {
    if (acknowledged) {
      black_hole_ = 0;
      heard_at_ = now;
      return false;
    }
    if (size_ == kBaseDatagram || ++black_hole_ < kBlackHole || now - heard_at_ < kBlackHoleTime) return false;
    black_hole_ = 0;
    size_ = kBaseDatagram;
    begin_search(kUnprobed);
    next_at_ = now + kAgain;
    return true;
  }
  void reset(Duration now) noexcept {
    size_ = kBaseDatagram;
    under_way_ = false;
    black_hole_ = 0;
    begin_search(kUnprobed);
    next_at_ = now;
  }
  void limit(std::size_t largest) noexcept {  // the peer takes no larger ones
    largest_ = std::clamp(largest, kBaseDatagram, largest_);
    begin_search(kUnprobed);
  }

 private:
  // UDP payloads: Ethernet's 1500 over IPv4 and IPv6, PPPoE, tunnels of several kinds, jumbo frames.
  static constexpr std::array<std::size_t, 9> kSizes = {8972, 8952, 4052, 1472, 1452, 1444, 1420, 1372, 1280};
  static constexpr unsigned kProbes = 3;
  static constexpr unsigned kBlackHole = 16;  // with loss of 20 % all of so many are lost once in 10^11 times
  static constexpr Duration kBlackHoleTime =
      std::chrono::seconds(1);  // a full queue drops as many, but not for so long
  static constexpr std::size_t kUnprobed = kBaseDatagram;
  static constexpr Duration kAgain = std::chrono::minutes(5);

  void begin_search(std::size_t above) noexcept {
    failures_ = 0;
    at_ = 0;
    candidate_ = largest_ > above ? largest_ : 0;
  }
  void next_candidate(Duration now) noexcept {
    failures_ = 0;
    while (at_ < kSizes.size() && kSizes[at_] >= candidate_) ++at_;
    candidate_ = at_ < kSizes.size() && kSizes[at_] > size_ ? kSizes[at_] : 0;
    if (candidate_ == 0) raise_later(now);
  }
  // The path may become another one (RFC 8899, section 5.2: PMTU_RAISE_TIMER).
  void raise_later(Duration now) noexcept {
    begin_search(size_);
    next_at_ = now + kAgain;
  }

  std::size_t largest_;
  std::size_t size_ = kBaseDatagram;
  std::size_t candidate_ = 0;
  std::size_t at_ = 0;
  unsigned failures_ = 0;
  unsigned black_hole_ = 0;
  bool under_way_ = false;
  Duration next_at_{};
  Duration heard_at_{};  // a packet of more than the base size was acknowledged
};

}  // namespace portolan::rudp
