// What a connection remembers of the packets that it has sent, by packet number, until their fate is known.
//
// A ring that grows to a power of two with the flight: to find a packet is O(1), and in the steady state nothing is allocated.
#pragma once

#include "plugin/descriptor.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace portolan::rudp {

// A frame of a packet that is sent again when it is lost, by reference: its content is where it came from.
struct SentFrame {
  enum class Kind : std::uint8_t {
    stream,           // id, offset, length, end
    reset_stream,     // id
    stop_sending,     // id
    max_data,         // of these three the newest value is sent, not the lost one
    max_stream_data,  // id
    max_streams,
    message,  // id, offset, length
  };
  Kind kind{};
  bool end = false;
  std::uint32_t length = 0;
  std::uint64_t id = 0;
  std::uint64_t offset = 0;
};

struct SentPacket {
  enum class State : std::uint8_t {
    in_flight,
    acknowledged,
    lost,
    other,  // not counted in flight: it asks for no acknowledgement
  };
  static constexpr std::size_t kMostFrames = 4;

  Duration sent_at{};
  std::uint32_t bytes = 0;  // of the datagram
  State state = State::other;
  std::uint8_t frame_count = 0;
  std::uint8_t phase = 0;  // of the congestion controller
  bool app_limited = false;
  bool mtu_probe = false;
  bool delivered = false;  // what was in it has arrived, if by another way
  bool datagrams = false;  // it holds unreliable messages
  // As it was when it was sent (draft-cheng-iccrg-delivery-rate-estimation, section 3.3).
  std::uint64_t prior_sent = 0;
  std::uint64_t prior_delivered = 0;
  std::uint64_t prior_lost = 0;
  Duration prior_delivered_at{};
  Duration first_sent_at{};
  std::array<SentFrame, kMostFrames> frames;
};

class SentPackets {
 public:
  std::uint64_t begin() const noexcept { return begin_; }
  std::uint64_t end() const noexcept { return end_; }  // the next packet number
  bool empty() const noexcept { return begin_ == end_; }
  bool contains(std::uint64_t number) const noexcept { return number >= begin_ && number < end_; }
  SentPacket& operator[](std::uint64_t number) noexcept { return ring_[number & (ring_.size() - 1)]; }
  const SentPacket& operator[](std::uint64_t number) const noexcept { return ring_[number & (ring_.size() - 1)]; }

  SentPacket& push() {
    if (end_ - begin_ == ring_.size()) grow();
    SentPacket& fresh = (*this)[end_++];
    fresh = SentPacket{};
    return fresh;
  }
  void pop() noexcept { ++begin_; }

 private:
  void grow() {
    std::vector<SentPacket> larger(ring_.empty() ? 64 : ring_.size() * 2);
    for (std::uint64_t number = begin_; number < end_; ++number) larger[number & (larger.size() - 1)] = (*this)[number];
    ring_ = std::move(larger);
  }

  std::vector<SentPacket> ring_;
  std::uint64_t begin_ = 0;
  std::uint64_t end_ = 0;
};

}  // namespace portolan::rudp
