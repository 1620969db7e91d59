// What a connection of rudp may be told, with the defaults, and why one ends.
//
// The protocol itself: plugins/rudp/PROTOCOL.md. Plain values.
#pragma once

#include "plugin/descriptor.h"
#include "rudp/primitives.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace portolan::rudp {

// A stream of a connection. Bit 0 tells who opened it: 0 the side that connected, 1 the other (as RFC 9000, section 2.1,
// with bidirectional streams alone).
using StreamId = std::uint64_t;

// A pre-shared key of both sides. See key_of in pre_shared_key.h for how one is made from a text.
using Key = Secret;

enum class Congestion : std::uint8_t {
  model,  // the default: a model of the path in BBR's family, which tells random loss from congestion (congestion_model.h)
  cubic,  // RFC 9438: what TCP does; any loss is congestion
  fixed,  // `rate`, whatever happens: for links that are the operator's alone
};

// What is done against loss beside sending again.
enum class Redundancy : std::uint8_t {
  none,
  twice,  // every message with a deadline, and the end of a stream, goes twice
  fec,    // forward error correction of messages with a deadline and of the end of a stream, by the measured loss
};

struct ConnectionOptions {
  std::optional<Key> key;  // none: corruption is noticed, but nobody is kept out and nothing is kept secret
  Congestion congestion = Congestion::model;
  double rate = 0;      // bytes a second: of Congestion::fixed (required there)
  double max_rate = 0;  // bytes a second that are never exceeded, headers included; 0: no bound
  Redundancy redundancy = Redundancy::fec;
  // Repair packets for each protected one, at most; rounded up in a block, so that a message alone may have one.
  double redundancy_budget = 0.5;

  Duration idle_timeout = std::chrono::seconds(30);       // without a packet from the peer; 1 s to 1 h
  Duration handshake_timeout = std::chrono::seconds(10);  // from connect to the peer's answer
  // The side that connected sends a PING when it has sent nothing for so long: so that a NAT does not forget it, and that the
  // peer learns of its new address where it did. 0: none.
  Duration keep_alive = std::chrono::seconds(10);

  std::size_t send_buffer = 4 * 1024 * 1024;  // bytes written and not yet acknowledged, over all streams
  // Most that one stream receives ahead of its reader, once that has read as much, and all streams together (messages have
  // a bound of 4 MiB of their own). Memory is taken as it is needed; a path of rate R and round trip T, with loss, needs
  // about 4 RT.
  std::size_t stream_window = 8 * 1024 * 1024;
  std::size_t receive_window = 32 * 1024 * 1024;
  std::uint64_t max_streams = 128;      // that the peer may have open at a time
  std::size_t max_message = 64 * 1024;  // bytes of one message, sent or received
  std::size_t max_datagram = 1472;      // UDP payload that path MTU discovery goes up to; 1200 to 8972

  friend bool operator==(const ConnectionOptions&, const ConnectionOptions&) = default;
};

struct CloseReason {
  enum class Kind : std::uint8_t {
    local,      // this side closed it
    peer,       // the peer closed it, with `code` and `text`
    forgotten,  // the peer does not know it any more, and says so
    idle,       // nothing was heard for idle_timeout
    no_answer,  // to the handshake
    refused,    // the peer takes no connections, or not ours
    key,        // keys do not match, or one side has none
    version,    // no version in common
    protocol,   // the peer broke the protocol: `text` says how
    limit,      // of the cipher: too many packets that could not be opened
  };
  Kind kind = Kind::local;
  std::uint64_t code = 0;  // of the application, 0: in order
  std::string text;
};
std::string_view to_string(CloseReason::Kind kind) noexcept;

enum class Delivery : std::uint8_t {
  reliable,    // sent until it is acknowledged; not ordered
  deadline,    // the same, until its time is over; redundancy protects it
  unreliable,  // sent once
};

struct MessageOptions {
  Delivery delivery = Delivery::reliable;
  Duration lifetime{};  // of Delivery::deadline: from now on
};

struct ConnectionStatistics {
  Duration smoothed_rtt{};
  Duration min_rtt{};
  Duration latest_rtt{};
  double pacing_rate = 0;    // bytes a second
  double delivery_rate = 0;  // bytes a second
  double loss = 0;           // 0 to 1: packets lost, lately
  std::size_t congestion_window = 0;
  std::size_t bytes_in_flight = 0;
  std::size_t datagram_size = 0;  // the path takes datagrams of this size
  std::uint64_t packets_sent = 0;
  std::uint64_t packets_received = 0;
  std::uint64_t packets_lost = 0;
  std::uint64_t packets_lost_spuriously = 0;  // acknowledged after all
  std::uint64_t packets_recovered = 0;        // by forward error correction, on this side
  std::uint64_t bytes_sent = 0;               // UDP payload
  std::uint64_t bytes_received = 0;
  std::uint64_t stream_bytes_retransmitted = 0;
  std::uint64_t messages_expired = 0;
  std::uint64_t path_changes = 0;
};

}  // namespace portolan::rudp
