// The frames that streams send: windows, resets, and data by turns.
#include "rudp/frames.h"
#include "rudp/streams.h"

#include <algorithm>
#include <iterator>

namespace portolan::rudp {

namespace {

constexpr std::int64_t kTurnBytes = 1500;  // of a stream of weight 1, before the next has its turn
constexpr std::size_t kLargestControl = 1 + 8 + 8 + 8;

SentFrame* next_record(SentPacket& packet) noexcept {
  return packet.frame_count < SentPacket::kMostFrames ? &packet.frames[packet.frame_count++] : nullptr;
}

}  // namespace

bool Streams::sendable(const Stream& stream) const noexcept {
  const std::uint64_t left = peer_.max_data - std::min(peer_.max_data, data_sent_);
  return stream.out.wants_to_send(std::min(stream.peer_window, stream.out.sent() + left));
}

void Streams::make_ready(Stream& stream) {
  if (stream.ready) return;
  stream.ready = true;
  stream.credit = stream.weight * kTurnBytes;
  ready_.push_back(&stream);
}

void Streams::want_control(Stream& stream) {
  if (stream.in_control) return;
  stream.in_control = true;
  control_.push_back(&stream);
}

bool Streams::wants_to_send() const noexcept {
  return has_control() || std::ranges::any_of(ready_, [this](const Stream* stream) { return sendable(*stream); });
}

bool Streams::tail(std::uint64_t bytes) const noexcept {
  std::uint64_t left = 0;
  bool any = false;
  for (const Stream* stream : ready_) {
    if (!stream->out.finishing() && !stream->out.lost_something()) return false;
    left += stream->out.unsent();
    any = true;
  }
  return any && left <= bytes;
}

void Streams::write_control(Writer& out, SentPacket& packet) {
  const auto put = [&](FrameType type, SentFrame::Kind kind, StreamId id) -> bool {
    if (out.room() < kLargestControl) return false;
    SentFrame* record = next_record(packet);
    if (!record) return false;
    *record = {.kind = kind, .id = id};
    out.u8(static_cast<std::uint8_t>(type));
    return true;
  };
  if (max_data_due_ && put(FrameType::max_data, SentFrame::Kind::max_data, 0)) {
    out.varint(max_data_);
    max_data_due_ = false;
  }
  if (max_streams_due_ && put(FrameType::max_streams, SentFrame::Kind::max_streams, 0)) {
    out.varint(max_streams_);
    max_streams_due_ = false;
  }
  while (!control_.empty()) {
    Stream& stream = *control_.back();
    if (stream.reset_due && put(FrameType::reset_stream, SentFrame::Kind::reset_stream, stream.id)) {
      out.varint(stream.id);
      out.varint(*stream.out.reset_code());
      out.varint(stream.out.sent());
      stream.reset_due = false;
    }
    if (stream.stop_due && put(FrameType::stop_sending, SentFrame::Kind::stop_sending, stream.id)) {
      out.varint(stream.id);
      out.varint(stream.stop_code);
      stream.stop_due = false;
    }
    if (stream.window_due && put(FrameType::max_stream_data, SentFrame::Kind::max_stream_data, stream.id)) {
      out.varint(stream.id);
      out.varint(stream.window);
      stream.window_due = false;
    }
    if (stream.reset_due || stream.stop_due || stream.window_due) return;  // no room
    stream.in_control = false;
    control_.pop_back();
  }
}

void Streams::write_data(Writer& out, SentPacket& packet) {
  while (!ready_.empty()) {
    if (turn_ >= ready_.size()) turn_ = 0;
    Stream& stream = *ready_[turn_];
    if (!sendable(stream)) {
      stream.ready = false;
      ready_.erase(ready_.begin() + static_cast<std::ptrdiff_t>(turn_));
      continue;
    }
    if (stream.credit <= 0) {
      stream.credit += stream.weight * kTurnBytes;
      ++turn_;
      continue;
    }
    const std::uint64_t left = peer_.max_data - std::min(peer_.max_data, data_sent_);
    const SendHalf::Piece piece = stream.out.next(out.room(), std::min(stream.peer_window, stream.out.sent() + left));
    if (!put_piece(out, packet, stream, piece, false)) return;
  }
}

bool Streams::put_piece(Writer& out, SentPacket& packet, Stream& stream, SendHalf::Piece piece, bool again) {
  const std::size_t header = 1 + varint_size(stream.id) + varint_size(piece.offset);
  if (out.room() < header + 2 || packet.frame_count == SentPacket::kMostFrames) return false;
  const std::size_t room = out.room() - header;
  if (piece.length > room) {
    piece.length = room;
    piece.end = false;
  }
  std::uint8_t type = static_cast<std::uint8_t>(FrameType::stream) | (piece.end ? kStreamEnd : 0);
  const bool to_the_end = piece.length + varint_size(piece.length) >= room;
  if (to_the_end) {
    out.zeros(room - piece.length);  // PADDING, where a length would not fit
  } else {
    type |= kStreamLength;
  }
  out.u8(type);
  out.varint(stream.id);
  out.varint(piece.offset);
  if (!to_the_end) out.varint(piece.length);
  stream.out.copy(piece, out.take(piece.length));
  packet.frames[packet.frame_count++] = {.kind = SentFrame::Kind::stream,
                                         .end = piece.end,
                                         .length = static_cast<std::uint32_t>(piece.length),
                                         .id = stream.id,
                                         .offset = piece.offset};
  if (!piece.fresh) retransmitted_ += piece.length;
  if (again) return true;
  if (piece.fresh) data_sent_ += piece.length;
  stream.out.taken(piece);
  stream.credit -= static_cast<std::int64_t>(piece.length + header);
  return true;
}

bool Streams::write_probe(Writer& out, SentPacket& packet) {
  for (auto& [id, stream] : streams_) {
    const SendHalf::Piece piece = stream->out.oldest_unacknowledged(0, out.room());
    if (piece.length == 0 && !piece.end) continue;
    return put_piece(out, packet, *stream, piece, true);
  }
  return false;
}

}  // namespace portolan::rudp
