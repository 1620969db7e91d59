// What comes: a packet is opened, its frames are read, and their parts are told.
#include "base/callback.h"
#include "rudp/endpoint.h"
#include "rudp/engine.h"

#include <algorithm>

namespace portolan::rudp {

namespace {

constexpr std::size_t kDecoderBytes = 1024 * 1024;

// A number that is out of its range stays so where std::size_t has 32 bits.
std::size_t small(std::uint64_t number) noexcept {
  return static_cast<std::size_t>(std::min<std::uint64_t>(number, UINT32_MAX));
}

// The whole number of a packet that shows its lowest 32 bits (RFC 9000, appendix A.3).
std::uint64_t whole_number(std::uint32_t shown, std::uint64_t expected) noexcept {
  constexpr std::uint64_t kSpan = std::uint64_t{1} << 32U;
  std::uint64_t number = (expected & ~(kSpan - 1)) | shown;
  if (number + kSpan / 2 <= expected && number < kPacketNumberLimit - kSpan) return number + kSpan;
  if (number > expected + kSpan / 2 && number >= kSpan) return number - kSpan;
  return number;
}

}  // namespace

void ConnectionEngine::on_data_packet(const Address& from, const Address& to, std::span<std::byte> packet,
                                      Duration now) {
  now_ = now;
  if (!opener_ || state_ == State::closed || state_ == State::draining) return;
  if (packet.size() < kDataHeader + opener_->overhead()) return;
  const Bytes header = packet.first(kDataHeader);
  Reader fields(header);
  const bool key_phase = (fields.u8() & 1U) != 0;
  fields.u64();
  const std::uint64_t number = whole_number(fields.u32(), received_any_ ? largest_received_ + 1 : 0);
  if (!replay_.is_new(number)) return;
  const auto opened = opener_->open(now, number, key_phase, header, packet.subspan(kDataHeader));
  if (!opened) {
    if (opened.error() == OpenError::limit) end(CloseReason::Kind::limit, 0, "too many forged packets");
    return;
  }
  if (state_ == State::closing) {
    // It has not heard: every power of two is answered, so that two who close do not talk for ever.
    ++heard_closing_;
    if ((heard_closing_ & (heard_closing_ - 1)) == 0) close_due_ = true;
    return;
  }
  replay_.accept(number);
  ++packets_received_;
  bytes_received_ += packet.size();
  const bool newest = !received_any_ || number > largest_received_;
  largest_received_ = newest ? number : largest_received_;
  received_any_ = true;
  last_received_at_ = now;
  if (state_ == State::half_open) become_open(now);
  note_address(from, to, packet.size(), newest);

  bool counts = false;
  Bytes frames = *opened;
  Problem problem = nullptr;
  if (!frames.empty() && frames[0] == static_cast<std::byte>(FrameType::fec_source)) {
    Reader in(frames);
    in.u8();
    problem = read_fec_source(in, number);
    counts = true;
    frames = in.rest();
  }
  if (!problem) problem = read_frames(frames, from, counts, false);
  if (problem) return close_with(CloseReason::Kind::protocol, close_code::kProtocol, problem);
  if (state_ == State::open) acknowledger_.on_packet(number, counts, now);
}

void ConnectionEngine::note_address(const Address& from, const Address& to, std::size_t bytes, bool newest) {
  arrived_at_ = to;
  if (from == peer_) {
    if (newest) local_ = to;
    return;
  }
  // Only the newest packet tells where the peer is now: an old one may have been kept back and sent from elsewhere.
  if (candidate_ && candidate_->peer == from) candidate_->received += bytes;
  if (!newest || (candidate_ && candidate_->peer == from)) return;
  candidate_ = Path{.peer = from, .local = to, .due_at = now_, .received = bytes};
  const Secret secret = Secret::random();
  Reader in(secret.bytes());
  candidate_->challenge = in.u64();
}

void ConnectionEngine::on_path_response(std::uint64_t challenge, const Address& from) {
  if (!candidate_ || candidate_->challenge != challenge || candidate_->peer != from) return;
  const bool another_host = candidate_->peer.bytes().size() != peer_.bytes().size() ||
                            !std::ranges::equal(candidate_->peer.bytes(), peer_.bytes());
  peer_ = candidate_->peer;
  local_ = candidate_->local;
  candidate_.reset();
  ++path_changes_;
  if (!another_host) return;  // another port: a NAT forgot, and the path is the same
  mtu_.reset(now_);
  recovery_.on_new_path(options_, mtu_.size());
}

ConnectionEngine::Problem ConnectionEngine::read_frames(Bytes frames, const Address& from, bool& counts,
                                                        bool recovered) {
  constexpr Problem kShort = "a frame that ends early";
  Reader in(frames);
  Problem problem = nullptr;
  while (!in.empty() && !problem) {
    const std::uint8_t type = in.u8();
    switch (static_cast<FrameType>(type)) {
      case FrameType::padding: break;
      case FrameType::ping: counts = true; break;
      case FrameType::ack:
      case FrameType::recovered: {
        const std::uint64_t largest = in.varint();
        const bool ack = static_cast<FrameType>(type) == FrameType::ack;
        const std::uint64_t delay = ack ? in.varint() : 0;
        std::array<Range, Acknowledger::kMostRanges> room;
        const std::span<const Range> ranges = read_ranges(in, largest, room);
        if (in.failed() || ranges.empty()) return "an acknowledgement that is malformed";
        if (recovered) break;  // it is old, and says nothing about the round trip
        const Duration held = std::chrono::microseconds(std::min<std::uint64_t>(delay, 1'000'000));
        if (ack ? !recovery_.on_acknowledged(ranges, held, now_) : !recovery_.on_recovered(ranges, now_))
          return "an acknowledgement of what was not sent";
        if (ack && sealer_) sealer_->acknowledged(largest);
        break;
      }
      case FrameType::reset_stream: {
        const StreamId id = in.varint();
        const std::uint64_t code = in.varint();
        const std::uint64_t size = in.varint();
        counts = true;
        problem = in.failed() ? kShort : streams_.on_reset_stream(id, code, size);
        break;
      }
      case FrameType::stop_sending: {
        const StreamId id = in.varint();
        const std::uint64_t code = in.varint();
        counts = true;
        problem = in.failed() ? kShort : streams_.on_stop_sending(id, code);
        break;
      }
      case FrameType::max_data: {
        const std::uint64_t limit = in.varint();
        counts = true;
        if (in.failed()) return kShort;
        streams_.on_max_data(limit);
        break;
      }
      case FrameType::max_stream_data: {
        const StreamId id = in.varint();
        const std::uint64_t limit = in.varint();
        counts = true;
        problem = in.failed() ? kShort : streams_.on_max_stream_data(id, limit);
        break;
      }
      case FrameType::max_streams: {
        const std::uint64_t limit = in.varint();
        counts = true;
        if (in.failed()) return kShort;
        streams_.on_max_streams(limit);
        break;
      }
      case FrameType::path_challenge: {
        const std::uint64_t data = in.u64();
        if (in.failed()) return kShort;
        if (!recovered) response_ = Response{.to = from, .from = arrived_at_, .data = data};
        break;
      }
      case FrameType::path_response: {
        const std::uint64_t data = in.u64();
        if (in.failed()) return kShort;
        if (!recovered) on_path_response(data, from);
        break;
      }
      case FrameType::close: {
        const std::uint64_t code = in.varint();
        const Bytes text = in.bytes(in.varint());
        if (in.failed()) return kShort;
        const bool ours = code < close_code::kApplication;
        const CloseReason::Kind kind = code == close_code::kRefused        ? CloseReason::Kind::refused
                                       : ours && code != close_code::kNone ? CloseReason::Kind::protocol
                                                                           : CloseReason::Kind::peer;
        reason_ = {.kind = kind,
                   .code = ours ? code : code - close_code::kApplication,
                   .text = std::string(reinterpret_cast<const char*>(text.data()), text.size())};
        state_ = State::draining;
        close_until_ = now_ + 3 * recovery_.probe_timeout();
        return nullptr;
      }
      case FrameType::message:
      case FrameType::message_deadline:
        counts = true;
        problem = messages_.on_message(in, static_cast<FrameType>(type) == FrameType::message_deadline);
        break;
      case FrameType::datagram:
        counts = true;
        problem = messages_.on_datagram(in);
        break;
      case FrameType::fec_repair:
        counts = true;
        if (recovered) return "a repair in a packet that was recovered";
        problem = read_fec_repair(in);
        break;
      default: {
        constexpr auto kStream = static_cast<std::uint8_t>(FrameType::stream);
        if ((type & ~(kStreamEnd | kStreamLength)) != kStream) return "a frame of an unknown type";
        const StreamId id = in.varint();
        const std::uint64_t offset = in.varint();
        const Bytes data = (type & kStreamLength) ? in.bytes(in.varint()) : in.bytes(in.left());
        counts = true;
        if (in.failed()) return kShort;
        if (offset > kMaxVarint - data.size()) return "an offset beyond all streams";
        problem = streams_.on_stream(id, offset, data, (type & kStreamEnd) != 0);
      }
    }
  }
  return problem ? problem : in.failed() ? kShort : nullptr;
}

ConnectionEngine::Problem ConnectionEngine::read_fec_source(Reader& in, std::uint64_t number) {
  FecSource source;
  source.block = in.varint();
  source.index = small(in.varint());
  if (in.failed()) return "a frame that ends early";
  if (!fec_decoder_) fec_decoder_.emplace(FecDecoder::Options{.max_bytes = kDecoderBytes});
  const auto recovered = fec_decoder_->on_source(source, number, in.rest());
  if (!recovered) return "a protected packet that contradicts its block";
  return take_recovered(*recovered);
}

ConnectionEngine::Problem ConnectionEngine::read_fec_repair(Reader& in) {
  FecRepair repair;
  repair.block = in.varint();
  repair.sources = small(in.varint());
  repair.repairs = small(in.varint());
  repair.index = small(in.varint());
  repair.symbol = in.bytes(in.varint());
  if (in.failed()) return "a frame that ends early";
  if (!fec_decoder_) fec_decoder_.emplace(FecDecoder::Options{.max_bytes = kDecoderBytes});
  const auto recovered = fec_decoder_->on_repair(repair);
  if (!recovered) return "a repair that contradicts its block";
  return take_recovered(*recovered);
}

ConnectionEngine::Problem ConnectionEngine::take_recovered(std::span<const FecDecoder::Packet> packets) {
  for (const FecDecoder::Packet& packet : packets) {
    if (packet.number >= kPacketNumberLimit) return "a repair of a packet that cannot be";
    // It may have been received before its block was known; and should it still come, it is not read again.
    if (!replay_.accept(packet.number)) continue;
    ++packets_recovered_;
    acknowledger_.on_recovered(packet.number, now_);
    bool counts = false;
    if (const Problem problem = read_frames(packet.frames, peer_, counts, true)) return problem;
  }
  return nullptr;
}

}  // namespace portolan::rudp
